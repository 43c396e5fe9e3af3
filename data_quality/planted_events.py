"""The events that `planted_future` plants in world `b|`: each a copy of a real one, altered."""

import random
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

LATE = (
    "like",
    "share",
    "comment",
    "view_end",
    "scroll_pass",
    "seek",
    "replay",
    "view_start",
    "pause",
    "resume",
)
"""Kinds of events that reach sessions that had begun before."""
REDELIVERY = "redelivery"
NEW_SESSION = "new session"
STRANGER = "stranger"
KINDS = (*LATE, REDELIVERY, NEW_SESSION, STRANGER)
_HOUR_MS = 3_600_000
_NEW_SESSION_EVENTS = (("view_start", 0), ("like", 2_000), ("view_end", 9_000))

# Sessions that had begun before T, those that go on over it first: some that began in T's hour, some older ones `near`
# to them (of the same people and videos), some others. What is planted near, and in that hour, is what a feature that
# sees a bit too far sees.
_SESSIONS = """
WITH nearby AS (
    SELECT user_id, video_id FROM playback_events
    WHERE startsWith(user_id, 'b|')
      AND impression_timestamp >= fromUnixTimestamp64Milli({hour_ms:Int64}, 'UTC')
      AND impression_timestamp < fromUnixTimestamp64Milli({cut_ms:Int64}, 'UTC')
)
SELECT
    e.user_id, e.session_id, e.video_id,
    argMin(e.event_id, (e.impression_timestamp, e.event_id)) AS source,
    e.user_id IN (SELECT nearby.user_id FROM nearby) OR e.video_id IN (SELECT nearby.video_id FROM nearby) AS near,
    toUnixTimestamp64Milli(min(e.impression_timestamp)) >= {hour_ms:Int64} AS of_the_hour
FROM playback_events AS e
WHERE startsWith(e.user_id, 'b|')
GROUP BY e.user_id, e.session_id, e.video_id
HAVING toUnixTimestamp64Milli(min(e.impression_timestamp)) < {cut_ms:Int64}
ORDER BY
    toUnixTimestamp64Milli(max(e.impression_timestamp)) >= {cut_ms:Int64} DESC,
    cityHash64(e.session_id, {seed:UInt64}), e.user_id, e.session_id, e.video_id
LIMIT {limit:UInt64} BY near, of_the_hour
"""
# Events of T or later, half of them of T's hour.
_DELIVERED = """
SELECT * FROM (
    SELECT
        user_id, session_id, video_id, event_id, toString(event_type),
        toUnixTimestamp64Milli(impression_timestamp) AS ms
    FROM playback_events
    WHERE startsWith(user_id, 'b|') AND ms >= {cut_ms:Int64} AND ms <= {end_ms:Int64}
    ORDER BY created_at DESC, ms
    LIMIT 1 BY user_id, session_id, video_id, event_id
)
ORDER BY cityHash64(event_id, {seed:UInt64}), user_id, session_id, video_id
LIMIT {limit:UInt64} BY ms < {soon_ms:Int64}
"""
_PLAN = """
CREATE TABLE planted_events (
    kind String, source_user String, source_session String, source_event UUID, event_id UUID, user_id String,
    session_id String, video_id String, event_type String, at_ms Int64, position_ms Int64
) ENGINE = Memory
"""
_PLANT = """
INSERT INTO playback_events
SELECT e.* REPLACE (
    p.event_id AS event_id, p.user_id AS user_id, p.session_id AS session_id, p.event_type AS event_type,
    fromUnixTimestamp64Milli(p.at_ms, 'UTC') AS impression_timestamp, p.position_ms AS playback_position_ms,
    e.created_at + INTERVAL 1 HOUR AS created_at
)
FROM planted_events AS p
INNER JOIN (
    SELECT * FROM playback_events
    WHERE user_id IN (SELECT planted_events.source_user FROM planted_events)
    ORDER BY created_at DESC LIMIT 1 BY user_id, session_id, video_id, event_id
) AS e ON e.user_id = p.source_user AND e.session_id = p.source_session AND e.event_id = p.source_event
    AND e.video_id = p.video_id
SETTINGS max_partitions_per_insert_block = 0
"""


@dataclass(frozen=True)
class _Planted:
    """An event to be: the one it copies, and what is its own."""

    kind: str
    source_user: str
    source_session: str
    source_event: uuid.UUID
    event_id: uuid.UUID
    user_id: str
    session_id: str
    video_id: str
    event_type: str
    at_ms: int
    position_ms: int


def plant(
    client: "Client", *, cut_ms: int, end_ms: int, events: int, seed: int
) -> tuple[dict[str, int], set[tuple[str, str, str]]]:
    """Plant about `events` events of [`cut_ms`, `end_ms`] in world `b|`.

    Returns how many of each kind, and the sessions that have one: (session, user, video) without the prefix.
    """
    hour_ms = cut_ms - cut_ms % _HOUR_MS
    soon_ms = min(hour_ms + _HOUR_MS, end_ms + 1)
    times = {"cut_ms": cut_ms, "end_ms": end_ms, "hour_ms": hour_ms, "soon_ms": soon_ms}
    each = max(events // len(KINDS), 1)
    chosen = {**times, "seed": seed}
    sessions = client.query(_SESSIONS, parameters={**chosen, "limit": max(each // 3, 1)}).result_rows
    delivered = client.query(_DELIVERED, parameters={**chosen, "limit": max(each // 2, 1)}).result_rows
    planted = list(_planted(sessions, delivered, each, times, random.Random(seed)))  # noqa: S311 - no secret
    client.command(_PLAN)
    if planted:
        columns = [column.name for column in fields(_Planted)]
        client.insert("planted_events", [astuple(event) for event in planted], columns)
        client.command(_PLANT)
    counts = Counter(event.kind for event in planted)
    touched = {(p.session_id[2:], p.user_id[2:], p.video_id[2:]) for p in planted}
    return {kind: counts[kind] for kind in KINDS}, touched


def _planted(
    sessions: Any, delivered: Any, each: int, times: dict[str, int], rng: random.Random
) -> Iterator[_Planted]:
    def moment(near: bool) -> int:
        return rng.randint(times["cut_ms"], times["soon_ms"] - 1 if near else times["end_ms"])

    def new_id() -> uuid.UUID:
        return uuid.UUID(int=rng.getrandbits(128))

    for kind in LATE if sessions else ():
        for turn in range(each):
            user, session, video, source, near, _ = sessions[turn % len(sessions)]
            position = 0 if kind == "seek" else rng.randrange(60_000)
            at = moment(bool(near) and turn // len(sessions) % 2 == 0)
            yield _Planted(kind, user, session, source, new_id(), user, session, video, kind, at, position)
    for user, session, video, event, kind, at in delivered:
        yield _Planted(
            REDELIVERY, user, session, event, event, user, session, video, kind, at, rng.randrange(60_000)
        )
    for kind in (NEW_SESSION, STRANGER) if sessions else ():
        for turn in range(-(-each // len(_NEW_SESSION_EVENTS))):
            user, session, video, source, near, _ = sessions[-1 - turn % len(sessions)]
            who = user if kind == NEW_SESSION else f"b|planted|{turn}"
            began = moment(bool(near))
            for event_type, after in _NEW_SESSION_EVENTS:
                at = min(began + after, times["end_ms"])
                new = f"b|planted|{kind}|{turn}"
                yield _Planted(kind, user, session, source, new_id(), who, new, video, event_type, at, after)

"""Five minutes of events on top of a day, and late events for old sessions: what the 5-minute job costs."""

from dataclasses import dataclass

from orchestration.bench.data.dbt_run import dbt_run
from orchestration.bench.data.generate import INCREMENT_MS, LAST_START_MS, PLAYS_PER_USER, insert_events
from orchestration.bench.data.meter import Meter
from orchestration.bench.data.plan import Plan
from orchestration.bench.data.stores import Stores

SESSIONS = ("--select", "tag:sessions")
"""What the 5-minute job builds."""

_NEW_PLAYS = """
    SELECT
        {round:UInt64} * 1000000000 + number AS play,
        sipHash64(play, 2) % {users:UInt64} AS u,
        toUInt32(pow((sipHash64(play) % 1000003) / 1000003., 2) * {videos:UInt32}) AS v,
        concat('evening_', toString(play)) AS session,
        toInt32(number % 10) AS rank,
        {from:UInt64} + sipHash64(play, 3) % 300000 AS start,
        toString(reinterpretAsUUID(sipHash128(play))) AS request
    FROM numbers({sessions:UInt64})
"""
# Sessions of the last minutes of the day's load: their first events are in the big table.
_CONTINUED_PLAYS = """
    SELECT
        {round:UInt64} * 1000000000 + 500000000 + rowNumberInAllBlocks() AS play,
        toUInt64(substring(user_id, 6)) AS u,
        toUInt32(substring(video_id, 7)) AS v,
        session_id AS session,
        0::Int32 AS rank,
        {from:UInt64} + sipHash64(play, 3) % 300000 AS start,
        '' AS request
    FROM (
        SELECT user_id, session_id, video_id
        FROM playback_events
        WHERE
            event_type = 'view_start'
            AND session_id LIKE 'session\\_%'
            AND impression_timestamp >= {day:DateTime64(3, 'UTC')} + toIntervalMillisecond({since:Int64})
        ORDER BY impression_timestamp DESC, event_id
        LIMIT 1 BY session_key
        LIMIT {sessions:UInt64}
    )
"""
# One more event, a second after the start, for sessions spread over the whole table.
_LATE_EVENTS = """
INSERT INTO playback_events
SELECT * EXCEPT session_key REPLACE (
    reinterpretAsUUID(sipHash128(event_id, {round:UInt64})) AS event_id,
    'save' AS event_type,
    impression_timestamp + toIntervalSecond(1) AS impression_timestamp,
    NULL AS playback_position_ms,
    now64(3, 'UTC') AS created_at
)
FROM (
    SELECT *, session_key
    FROM playback_events
    WHERE event_type = 'view_start' AND sipHash64(session_key, {round:UInt64}) % {one_in:UInt64} = 0
    LIMIT 1 BY session_key
    LIMIT {sessions:UInt64}
)
"""


class WrongSessionsError(Exception):
    """The sessions after an increment are not what the events say."""


@dataclass(frozen=True)
class Increment:
    """What arrived, and what it took to have it in the sessions.

    `model_s` is int_session_states with its hooks; `cpu_s` is ClickHouse's, as everywhere.
    """

    events: int
    sessions: int
    model_s: float
    command_s: float
    cpu_s: float
    peak_gb: float


def insert_next_minutes(stores: Stores, plan: Plan, users: int, round_: int) -> None:
    """The next five minutes: new sessions, and some that go on."""
    common = {"round": round_, "from": INCREMENT_MS}
    # The time before in which three times as many began; the last minutes of the day's load are thinner.
    sessions = users * PLAYS_PER_USER
    since = max(0, LAST_START_MS - 700_000 - 3 * LAST_START_MS * plan.continued_sessions // sessions)
    insert_events(stores, _NEW_PLAYS, **common, users=users, videos=plan.videos, sessions=plan.new_sessions)
    insert_events(stores, _CONTINUED_PLAYS, **common, sessions=plan.continued_sessions, since=since)


def insert_late_events(stores: Stores, plan: Plan, round_: int) -> None:
    """One late event for each of as many old sessions as the five minutes touch."""
    sessions = stores.value("SELECT count() FROM watch_sessions")
    one_in = max(1, int(0.9 * sessions / plan.late_sessions))  # a few more than needed
    stores.command(_LATE_EVENTS, round=round_, one_in=one_in, sessions=plan.late_sessions)


def build_increment(stores: Stores, events_before: int, new_sessions: int) -> Increment:
    """Run what the 5-minute job builds.

    Raises `WrongSessionsError` unless there are `new_sessions` more, and all of them hold every event once.
    """
    before = stores.value("SELECT count() FROM watch_sessions")
    touched = stores.value("SELECT uniqExact(session_key) FROM session_inbox")
    with Meter(stores.clickhouse) as meter:
        run = dbt_run(stores.settings, *SESSIONS)
    events = stores.value("SELECT count() FROM playback_events")
    after, in_sessions = stores.row("SELECT count(), sum(num_events) FROM watch_sessions")
    if (after, in_sessions) != (before + new_sessions, events):
        raise WrongSessionsError(
            f"{after:,} sessions with {in_sessions:,} events, not {before + new_sessions:,} with {events:,}"
        )
    return Increment(
        events=events - events_before,
        sessions=touched,
        model_s=run.seconds("int_session_states"),
        command_s=run.command_s,
        cpu_s=meter.cpu_s,
        peak_gb=meter.peak_gb,
    )


def digest(stores: Stores) -> tuple[object, ...]:
    """Of all rows of the sessions' states: equal for equal tables, whatever their order on disk."""
    return stores.row("SELECT count(), sum(sipHash64(*)), groupBitXor(sipHash64(*)) FROM int_session_states")


def check_against_full_rebuild(stores: Stores) -> None:
    """Raises `WrongSessionsError` unless a full rebuild gives the rows that are there."""
    incremental = digest(stores)
    dbt_run(stores.settings, *SESSIONS, "--full-refresh")
    rebuilt = digest(stores)
    if incremental != rebuilt:
        raise WrongSessionsError(f"incremental {incremental}, rebuilt {rebuilt}")

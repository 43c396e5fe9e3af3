"""Asking for days to be built again: their sessions and days go into the journal, from which dbt rebuilds (ADR 0002).

What to build is read from what is stored now, so a rebuild counts nothing twice, and asking twice does the same again.
"""

# ruff: noqa: S608 - names in the statements are ours; every value is bound
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MOST_EVENTS: Final = 50_000_000
# A day at the planned volume has 20M sessions: past a third of the embedded server's memory, groups go to disk.
_SPILL = {"max_bytes_before_external_group_by": 700_000_000}
_START, _END = "{start:DateTime64(3, 'UTC')}", "{end:DateTime64(3, 'UTC')}"
_OF_DAYS = f"impression_timestamp >= {_START} AND impression_timestamp < {_END}"
_EVENTS = f"SELECT user_id, session_key, 1 AS has_event FROM playback_events WHERE {_OF_DAYS}"
_ROWS = f"SELECT user_id, session_key, 0 AS has_event FROM int_session_states WHERE hour >= {_START} AND hour < {_END}"
_SESSIONS = f"""
    SELECT user_id, session_key, max(has_event) AS has_event FROM ({_EVENTS} UNION ALL {_ROWS})
    GROUP BY user_id, session_key
"""
# A row says that there was an event in its hour. The few that have none are looked for on all days.
_WITHOUT_EVENT_HERE = f"SELECT user_id, session_key FROM ({_SESSIONS}) WHERE has_event = 0"
_VANISHED = f"""
    SELECT user_id, session_key FROM ({_WITHOUT_EVENT_HERE}) AS without
    WHERE (user_id, session_key) NOT IN (
        SELECT user_id, session_key FROM playback_events
        WHERE user_id IN (SELECT user_id FROM ({_WITHOUT_EVENT_HERE}))
        AND session_key IN (SELECT session_key FROM ({_WITHOUT_EVENT_HERE}))
    )
"""
_DAILY_TABLES = "arrayJoin(['int_daily_user_activity', 'int_daily_video_activity'])"


class NoSessionsYetError(Exception):
    """There is no table of sessions: the first build of it is of all days."""


@dataclass(frozen=True)
class Asked:
    """What went into the journal: the deliveries of the days, the sessions with an event or a row on them, and the
    sessions that had a row but have no event any more, whose rows were taken away."""

    events: int
    sessions: int
    vanished: int

    def __add__(self, other: "Asked") -> "Asked":
        return Asked(
            self.events + other.events, self.sessions + other.sessions, self.vanished + other.vanished
        )


def portions(
    client: "Client", start: datetime, end: datetime, *, most_events: int = MOST_EVENTS
) -> list[tuple[datetime, datetime]]:
    """The days from `start` to before `end` in turns of consecutive days, each of at most `most_events` deliveries or
    of one day: what is built at once must fit in memory."""
    counted = client.query(
        f"SELECT toDate(impression_timestamp) AS day, count() FROM playback_events WHERE {_OF_DAYS} GROUP BY day",
        parameters={"start": _instant(start), "end": _instant(end)},
    ).result_rows
    events = {day: int(count) for day, count in counted}
    turns: list[tuple[datetime, datetime]] = []
    held = 0
    for number in range((end - start).days):
        day = start + timedelta(days=number)
        here = events.get(day.date(), 0)
        if turns and held + here <= most_events:
            turns[-1] = (turns[-1][0], day + timedelta(days=1))
            held += here
        else:
            turns.append((day, day + timedelta(days=1)))
            held = here
    return turns


def ask_for_days(client: "Client", start: datetime, end: datetime) -> Asked:
    """Put the days from `start` to before `end` (UTC, by `impression_timestamp`) and their sessions into the journal.

    May be interrupted anywhere and called again: what is in the journal stays there until it has been built. Raises
    `NoSessionsYetError`."""
    if not client.query("EXISTS TABLE int_session_states").result_rows[0][0]:
        raise NoSessionsYetError(
            "no session has been built yet: materialize watch_sessions, which builds all days"
        )
    chosen = {"start": _instant(start), "end": _instant(end), "days": (end - start).days}

    def number(query: str) -> int:
        return int(client.query(query, parameters=chosen, settings=_SPILL).result_rows[0][0])

    def run(statement: str) -> None:
        client.command(statement, parameters=chosen, settings={**_SPILL, "lightweight_deletes_sync": 2})

    run(
        f"INSERT INTO activity_inbox (model, activity_date) SELECT {_DAILY_TABLES}, "
        f"addDays(toDate32({_START}), number) FROM numbers({{days:UInt32}})"
    )
    vanished = number(f"SELECT count() FROM ({_VANISHED})")
    if vanished:
        # Also their rows on other days; those days first, as the rows are what names them.
        theirs = f"FROM int_session_states WHERE (user_id, session_key) IN ({_VANISHED})"
        run(
            "INSERT INTO activity_inbox (model, activity_date) "
            f"SELECT DISTINCT {_DAILY_TABLES}, toDate32(hour) {theirs}"
        )
        run(f"DELETE {theirs}")
    run(f"INSERT INTO session_inbox (user_id, session_key) SELECT user_id, session_key FROM ({_SESSIONS})")
    return Asked(
        events=number(f"SELECT count() FROM ({_EVENTS})"),
        sessions=number(f"SELECT count() FROM ({_SESSIONS})"),
        vanished=vanished,
    )


def _instant(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S.000")

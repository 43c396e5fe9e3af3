"""What sessions, their states and the days' sums must be: a walk over the events, from the requirement alone."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from .warehouse import Event

TYPES = ["view_start", "view_end", "scroll_pass", "like", "comment", "share", "follow_creator", "save", "report",
         "pause", "resume", "seek", "replay", "click"]  # fmt: skip
ENDS = ("view_end", "scroll_pass", "click")
DEFAULT_DURATION_MS = 60_000
NEVER = datetime(2299, 12, 31, 23, tzinfo=UTC)
HOUR = timedelta(hours=1)

State = dict[str, Any]
"""A row of int_session_states by column, without its session_key."""
MEASURES = ["sessions", "watch_time_ms", "effective_watch_time_ms", "watch_time_ratio", "finished", "valid_views",
            "plays", "engaged", "scrolled_in", "scrolled_out", "completed", "likes", "comments", "shares", "saves",
            "follows"]  # fmt: skip


def hour_of(when: datetime) -> datetime:
    return when.replace(minute=0, second=0, microsecond=0)


def sessions_of(deliveries: Iterable[Event]) -> dict[tuple[str, str, str], list[Event]]:
    """The events of each (session, user, video), each once, in order."""
    newest: dict[tuple[str, str, str], dict[object, Event]] = defaultdict(dict)
    for event in deliveries:
        events = newest[event.session, event.user, event.video]
        known = events.get(event.id)
        if known is None or _newness(event) > _newness(known):
            events[event.id] = event
    return {key: sorted(events.values(), key=_order) for key, events in newest.items()}


def _newness(event: Event) -> tuple[float, float]:
    assert event.arrived is not None
    return event.arrived, event.at


def _order(event: Event) -> tuple[object, ...]:
    tie = 0 if event.type == "view_start" else 2 if event.type in ENDS else 1
    # ClickHouse compares UUIDs by their two halves, the second first.
    return event.when, tie, TYPES.index(event.type), event.id.int & (2**64 - 1), event.id.int >> 64


def states(deliveries: Iterable[Event], durations: Mapping[str, int]) -> list[State]:
    """Every session as it stood at the end of each hour in which it had an event."""
    rows = []
    for events in sessions_of(deliveries).values():
        hours = sorted({hour_of(event.when) for event in events})
        own = [session([e for e in events if e.when < hour + HOUR], durations) for hour in hours]
        for state, hour, following in zip(own, hours, [*hours[1:], None], strict=True):
            state |= {"hour": hour, "superseded_at": following or NEVER, "is_latest": int(following is None)}
        for state, successor in zip(own, [*own[1:], None], strict=True):
            state["next_ended_at"] = successor["ended_at"] if successor else NEVER
        rows += own
    return rows


def session(events: Sequence[Event], durations: Mapping[str, int]) -> State:
    """One session built from these events (in order, at least one): the columns of watch_sessions."""
    count = {kind: sum(event.type == kind for event in events) for kind in TYPES}
    starts = [event.when for event in events if event.type == "view_start"]
    duration = durations.get(events[0].video, DEFAULT_DURATION_MS)
    total, effective = _watched(events) if starts else (0, 0)
    reasons = {"scroll_pass": "scroll", "view_end": "end_video", "click": "click_other"}
    newest = max(events, key=lambda event: event.arrived or 0)
    return {
        "session_id": events[0].session,
        "user_id": events[0].user,
        "video_id": events[0].video,
        "started_at": min(starts) if starts else events[0].when,
        "ended_at": events[-1].when,
        "total_watch_time_ms": total,
        "effective_watch_time_ms": effective,
        "video_duration_ms": duration,
        "watch_time_ratio": total / duration,
        "is_finished": int(total / duration >= 0.9),
        "is_valid_view": int(total > 300),
        "num_pauses": count["pause"],
        "num_resumes": count["resume"],
        "num_replays": count["replay"],
        "scrolled_in": int(events[0].feed_rank > 0 or events[0].scroll > 0),
        "scrolled_out": int(count["scroll_pass"] > 0),
        "exit_reason": reasons.get(events[-1].type, "close_app"),
        "was_played": int(bool(starts)),
        "num_likes": count["like"],
        "num_comments": count["comment"],
        "num_shares": count["share"],
        "num_follows": count["follow_creator"],
        "num_saves": count["save"],
        "num_events": len(events),
        "last_arrival_at": newest.row()[-1],
    }


def _watched(events: Sequence[Event]) -> tuple[int, int]:
    """(total_watch_time_ms, effective_watch_time_ms) of a session with a view_start."""
    start = min(event.when for event in events if event.type == "view_start")
    ends = [event.when for event in events if event.type in ENDS and event.when >= start]
    end = max(ends) if ends else events[-1].when
    playing, last, played, again = False, start, 0, 0
    position: int | None = None  # where the player stands
    debt = 0  # what is left of the last jump back
    for event in events:
        if playing:
            step = max(0, _ms(min(event.when, end) - max(last, start)))
            played += step
            repeated = min(step, debt)
            again, debt = again + repeated, debt - repeated
            if position is not None:
                position += step
        if event.type in ("view_start", "replay", "seek"):
            debt = 0
        if event.type == "seek" and position is not None and event.position is not None:
            debt = max(0, position - event.position)
        if event.position is not None:
            position = event.position
        elif event.type in ("view_start", "replay"):
            position = 0
        if event.type in ("view_start", "resume", "replay"):
            playing = True
        elif event.type in (*ENDS, "pause"):
            playing = False
        last = event.when
    return _ms(end - start), played - again


def _ms(delta: timedelta) -> int:
    return delta // timedelta(milliseconds=1)


def measures(state: State) -> list[Any]:
    """What one session adds to the sums, in the order of `MEASURES`."""
    ratio = state["watch_time_ratio"]
    return [
        1,
        state["total_watch_time_ms"],
        state["effective_watch_time_ms"],
        Decimal(int(min(ratio, 1e6) * 1e6)) / 1_000_000,  # to a millionth, as a decimal of ClickHouse
        state["is_finished"],
        state["is_valid_view"],
        state["was_played"],
        int(ratio > 0.7),
        state["scrolled_in"],
        state["scrolled_out"],
        int(state["exit_reason"] == "end_video"),
        *(state[f"num_{name}"] for name in ("likes", "comments", "shares", "saves", "follows")),
    ]


def total(rows: Iterable[State]) -> list[Any]:
    """The sums of `MEASURES` over sessions."""
    added = [measures(row) for row in rows]
    return [sum(column) for column in zip(*added, strict=True)] if added else [0] * len(MEASURES)


def standing(rows: Iterable[State], column: str, before: datetime) -> list[State]:
    """Of each session the last state whose `column` lies before that moment: the sessions as they stood then."""
    last: dict[tuple[str, str, str], State] = {}
    for row in sorted(rows, key=lambda row: row["hour"]):
        if row[column] < before:
            last[row["session_id"], row["user_id"], row["video_id"]] = row
    return list(last.values())


def daily(
    rows: Sequence[State], key: str, members: str
) -> dict[tuple[date, str], tuple[list[Any], set[str]]]:
    """By day and `key`: what F gained on that day, and the `members` of the day's sessions.

    F is the sum over all sessions as they stood; `key` and `members` are user_id and video_id, or the reverse."""
    days: dict[tuple[date, str], tuple[list[Any], set[str]]] = {}
    for day, name in {(row["hour"].date(), row[key]) for row in rows}:
        begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
        own = [row for row in rows if row[key] == name]
        at_end, at_begin = (total(standing(own, "hour", x)) for x in (begin + timedelta(days=1), begin))
        gain = [after - before for after, before in zip(at_end, at_begin, strict=True)]
        days[day, name] = (
            gain,
            {
                row[members]
                for row in own
                if row["hour"].date() == day and (key != "user_id" or row["was_played"])
            },
        )
    return days

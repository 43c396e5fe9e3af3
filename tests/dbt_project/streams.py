"""Streams of events for the property tests: what a hostile client or a broken clock may send, and when it comes."""

from dataclasses import dataclass, replace

from hypothesis import strategies as st

from .reference import TYPES
from .warehouse import Event

TOGETHER = 10
"""A statement costs 3 to 70 ms however few rows it meets, so an example has ten streams: of users of their own, of the
same videos and days, each cut into batches in its own way, built by the same runs."""

# Ids as a hostile client would choose them, in every stream the same: only the user tells two streams apart.
SESSIONS = ["s", "S", "'; DROP TABLE x --", "ж\\'\"\t{0}"]
USERS = ["u", "u'", "ü🎬"]
VIDEOS = ["v1", "v2", "v`3\\", "{v4:String}"]
HOURS = [0, 0, 0, -1, 1, 2, -24, 24, -24 * 15]
YEARS_WRONG = [0, 0, 0, -24 * 8000, 24 * 25_000]
"""Hours that devices' clocks are off: they say 2000 or 2090, the ends of what ingestion accepts."""
DURATIONS = st.dictionaries(st.sampled_from(VIDEOS), st.sampled_from([1, 900, 10_000, 3_600_000, 2**31 - 1]))


@dataclass(frozen=True)
class Run:
    """One run of the job, and what is new when it starts."""

    deliveries: tuple[Event, ...]
    arrive_at: int | None
    """After how many statements of the run before the deliveries arrive; None for between the two runs."""
    durations: dict[str, int]
    """The catalogue: the lengths that are known."""
    kill_after: int | None
    """How many statements the run gets to."""


@st.composite
def streams(draw: st.DrawFn, nth: int, batches: int, years: int, far: float) -> list[tuple[int, Event]]:
    """Deliveries of one to three sessions, each with the batch it comes in.

    `years` is what clocks are off by, if they are; `far` what repeats differ by, if they do not differ by less."""
    user = f"{nth}."
    # A day of its own, too: what others touch would hide that it is not touched.
    own_day = 24 * (2 + 2 * nth)
    session = st.tuples(*map(st.sampled_from, (SESSIONS, USERS, VIDEOS, [0, 0, own_day, own_day, years])))
    keys = draw(st.lists(session, min_size=1, max_size=3))
    stored: dict[tuple[str, float, float], Event] = {}
    deliveries = []
    for n in range(draw(st.integers(1, 14))):
        session_id, who, video, off = draw(st.sampled_from(keys))
        # Many coincide, at midnight of a month's end (20 s after T0) or at the same place of another hour.
        at = 20 + draw(st.integers(-8, 8)) * draw(st.sampled_from([0.001, 0.15, 5, 5]))
        at += 3600 * (draw(st.sampled_from(HOURS)) + off)
        kind = draw(st.sampled_from(["view_start", "view_start", "view_end", *TYPES]))
        rank, scroll = draw(st.integers(0, 1)), draw(st.sampled_from([0.0, 0.0, 120.5]))
        first = Event(
            session_id, kind, at, None, user + who, video, name=f"{user}{n}", feed_rank=rank, scroll=scroll
        )
        for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
            # A repeat may say another time, and another position if it does not pretend to be the same delivery.
            moved = round(at + draw(st.sampled_from([0, 0, 0, 0.001, -3600, 86_400, far])), 3)
            arrived = draw(st.sampled_from([0.0, 0.0, 1.0, 3600.0, -86_400.0]))
            position = draw(st.sampled_from([None, None, 0, 1, 4000, 9000, 2**31 - 1]))
            event = replace(first, at=moved, arrived=arrived, position=position)
            event = stored.setdefault((event.name, moved, arrived), event)
            deliveries.append((draw(st.integers(0, batches - 1)), event))
    return deliveries


@st.composite
def histories(draw: st.DrawFn) -> list[Run]:
    """`TOGETHER` streams, built by one to four runs, of which any but the last may be killed."""
    number = draw(st.sampled_from([1, 2, 2, 3, 4]))
    # Once for all: each month that an example has costs as much as ten streams more.
    years, far = draw(st.sampled_from(YEARS_WRONG)), draw(st.sampled_from([0, 0, 86_400 * 31]))
    deliveries = [each for n in range(TOGETHER) for each in draw(streams(n, number, years, far))]
    moments = st.none() | st.integers(0, 25)
    return [
        Run(
            deliveries=tuple(event for batch, event in deliveries if batch == n),
            arrive_at=draw(moments) if n > 0 else None,
            durations=draw(DURATIONS),
            kill_after=draw(moments) if n < number - 1 else None,
        )
        for n in range(number)
    ]

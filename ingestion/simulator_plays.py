"""Simulated impressions -> playback events, and the order in which they arrive."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_quality.contracts import FINISHED_RATIO, EventType
from ingestion.events import EventColumns, Ints, constant, derived_uuids
from ingestion.simulator_feed import Feed
from ingestion.simulator_words import PLACES
from ingestion.simulator_world import END_MS, Floats, World

# What an interested (first) or uninterested person does during a play, and how likely.
_REACTIONS = (
    (EventType.LIKE, 0.14, 0.006),
    (EventType.COMMENT, 0.018, 0.002),
    (EventType.SHARE, 0.022, 0.001),
    (EventType.SAVE, 0.028, 0.001),
    (EventType.FOLLOW_CREATOR, 0.012, 0.0),
    (EventType.REPORT, 0.0, 0.003),
)
_PAUSED, _SOUGHT, _CLICKED, _CLOSED = 0.08, 0.05, 0.012, 0.35
_LATE, _JITTERED, _REPEATED, _BROKEN = 0.01, 0.02, 0.003, 0.0001
_MAX_REPLAYS = 2


@dataclass(frozen=True)
class Stream:
    """n events in the order they arrive; `impression` indexes the feed."""

    impression: Ints
    kind: Ints
    time_ms: Ints
    position_ms: Ints
    serial: Ints
    """Distinguishes events of a kind within an impression."""
    broken: Ints
    """0: fine; 1, 2, 3: without a user, with a negative rank, with a clock of 1970."""


def make_stream(world: World, feed: Feed, rng: np.random.Generator) -> Stream:
    """Every event of the feed, some late, out of order, repeated or broken, as networks and clients have it."""
    rows, kinds, times, positions, serials = _play(world, feed, rng)
    inside = times <= END_MS
    order = np.flatnonzero(inside)[np.argsort(times[inside], kind="stable")]
    stream = Stream(
        rows[order],
        kinds[order],
        times[order],
        positions[order],
        serials[order],
        np.zeros(len(order), np.int64),
    )
    return _deliver(stream, rng)


def _play(world: World, feed: Feed, rng: np.random.Generator) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """(impression, kind, time, playback position, serial) of each event, an impression's in their order."""
    n = len(feed)
    every = np.arange(n)
    duration = world.video_duration_ms[feed.video]
    played, viewed = feed.played_ms, ~feed.skipped
    paused = viewed & (played > 3000) & (rng.random(n) < _PAUSED)
    pause_at = np.where(paused, (played * rng.uniform(0.1, 0.9, n)).astype(np.int64), np.iinfo(np.int64).max)
    pause_ms = np.where(paused, np.minimum(rng.lognormal(8.6, 0.8, n), 120_000), 0).astype(np.int64)
    sought = viewed & (played > 3000) & (rng.random(n) < _SOUGHT)
    seek_at = np.where(sought, (played * rng.uniform(0.1, 0.9, n)).astype(np.int64), np.iinfo(np.int64).max)
    in_round = np.where(sought, seek_at % duration, 0)  # a seek stays within the round that plays
    seek_by = (
        np.clip(in_round + (duration * rng.uniform(-0.3, 0.3, n)).astype(np.int64), 0, duration) - in_round
    )

    # A visit's impressions follow each other: play, pause, and a moment to swipe.
    swipe_ms = np.minimum(rng.lognormal(6.1, 0.5, n), 5000).astype(np.int64)
    length = played + pause_ms + swipe_ms
    before = np.cumsum(length) - length
    start = feed.start_ms + before - before[np.searchsorted(feed.visit, feed.visit)]

    def clock(rows: Ints, offset: Ints) -> Ints:
        """Wall time of a moment of a play: pauses pass too."""
        return start[rows] + offset + np.where(offset > pause_at[rows], pause_ms[rows], 0)

    def place(rows: Ints, offset: Ints) -> Ints:
        """Where in the video: loops start over, a seek moves what comes after it."""
        moved = offset + np.where(offset >= seek_at[rows], seek_by[rows], 0)
        at = (moved - 1) % duration[rows] + 1
        return np.where(offset == 0, 0, at)

    parts: list[tuple[Ints, Ints, Ints, Ints, Ints]] = []

    def add(
        rows: Ints, kind: EventType | Ints, offset: Ints, serial: int = 0, *, wait: Ints | int = 0
    ) -> None:
        codes = kind if isinstance(kind, np.ndarray) else np.full(len(rows), kind.code)
        parts.append(
            (rows, codes, clock(rows, offset) + wait, place(rows, offset), np.full(len(rows), serial))
        )

    rows = every[viewed]
    add(rows, EventType.VIEW_START, np.zeros(len(rows), np.int64))
    for round_ in range(1, _MAX_REPLAYS + 1):
        rows = every[viewed & (played > duration * round_)]
        add(rows, EventType.REPLAY, duration[rows] * round_, round_)
    rows = every[paused]
    add(rows, EventType.PAUSE, pause_at[rows])
    add(rows, EventType.RESUME, pause_at[rows], wait=pause_ms[rows])
    rows = every[sought]
    add(rows, EventType.SEEK, seek_at[rows])
    for kind, if_interested, otherwise in _REACTIONS:
        likely = np.where(feed.interested, if_interested, otherwise)
        rows = every[viewed & (rng.random(n) < likely)]
        add(rows, kind, (played[rows] * rng.uniform(0.2, 0.95, len(rows))).astype(np.int64))
    last = np.append(np.diff(feed.visit) != 0, True)
    closed = viewed & last & (rng.random(n) < _CLOSED)  # the app is closed: no event says that it ended
    finished = (played >= FINISHED_RATIO * duration) & (rng.random(n) < 0.85)
    clicked = viewed & ~finished & (rng.random(n) < _CLICKED)
    rows = every[~closed]
    ending = np.where(finished & viewed, EventType.VIEW_END.code, EventType.SCROLL_PASS.code)
    add(rows, np.where(clicked, EventType.CLICK.code, ending)[rows], played[rows])

    impression, kinds, times, positions, serials = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(impression, kind="stable")
    return impression[order], kinds[order], times[order], positions[order], serials[order]


def _deliver(events: Stream, rng: np.random.Generator) -> Stream:
    """The stream as it arrives: sorted by arrival, with repeats and a few events no contract allows."""
    n = len(events.kind)
    delay: Floats = rng.exponential(200, n)
    late = rng.random(n) < _LATE
    delay[late] += rng.exponential(2 * 3_600_000, int(late.sum()))
    jittered = rng.random(n) < _JITTERED
    delay[jittered] += rng.uniform(0, 20_000, int(jittered.sum()))
    again = np.flatnonzero(rng.random(n) < _REPEATED)
    spoilt = rng.choice(n, max(3, round(n * _BROKEN)), replace=False)
    source = np.concatenate([np.arange(n), again, spoilt])
    arrival = events.time_ms[source] + np.concatenate(
        [delay, delay[again] + rng.exponential(600_000, len(again)), delay[spoilt]]
    )
    broken = np.zeros(len(source), np.int64)
    broken[n + len(again) :] = np.arange(len(spoilt)) % 3 + 1
    order = np.argsort(arrival, kind="stable")
    picked = source[order]
    return Stream(
        events.impression[picked],
        events.kind[picked],
        events.time_ms[picked],
        events.position_ms[picked],
        events.serial[picked],
        broken[order],
    )


def to_columns(world: World, feed: Feed, part: Stream, names: "Names") -> EventColumns:
    """The events of a part of the stream, whole."""
    at = part.impression
    user, visit, fine = feed.user[at], feed.visit[at], part.broken == 0
    scrolls = part.kind == EventType.SCROLL_PASS.code
    place = pa.array(world.user_place[user])
    return EventColumns(
        event_id=derived_uuids(f"{names.namespace}/event", at, part.kind, part.serial, part.broken),
        user_id=names.users.take(pa.array(np.where(part.broken == 1, len(names.users) - 1, user))),
        video_id=names.videos.take(pa.array(feed.video[at])),
        session_id=derived_uuids(f"{names.namespace}/session", visit),
        event_type=part.kind,
        impression_timestamp=np.where(part.broken == 3, 0, part.time_ms),
        playback_position_ms=part.position_ms,
        position_index=np.where(part.broken == 2, -1, feed.position[at]),
        scroll_speed_ms=np.where(scrolls & fine, 150 + at % 700, 0).astype(np.float32),
        device_type=world.user_device[user],
        network_type=feed.network[at],
        geo_location=names.places.take(place),
        request_id=constant("", len(at)),
    )


@dataclass(frozen=True)
class Names:
    """What the numbers are called; the last user is nobody."""

    namespace: str
    users: pa.Array
    videos: pa.Array
    places: pa.Array

    @classmethod
    def of(cls, world: World, namespace: str) -> "Names":
        return cls(
            namespace,
            pa.array([*names("u", world.size.users), ""]),
            pa.array(names("v", world.size.videos)),
            pa.array([f"{city}, {country}" for city, country, *_ in PLACES]),
        )


def names(prefix: str, count: int) -> list[str]:
    """`u00001`, ... : from 1, of equal width."""
    return [f"{prefix}{number:05d}" for number in range(1, count + 1)]


def slices(total: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, total, size)]


def part_of(stream: Stream, rows: slice | NDArray[np.bool_]) -> Stream:
    return Stream(*(getattr(stream, name)[rows] for name in Stream.__dataclass_fields__))

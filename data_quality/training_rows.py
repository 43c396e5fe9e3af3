"""What a training set is made of, read from the warehouse in pieces, so that no more than one is in memory."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from data_quality.training_set_schema import FEATURES, INTERACTIONS_SCHEMA
from data_quality.windows import DATA_CLOCK, Window, epoch_ms, from_epoch_ms

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

CHUNK_ROWS = 250_000
"""Hours are read together up to this many rows (an hour is read whole, however many it has)."""
_HOUR_MS = 3_600_000

# Each side is cut to the hours of the chunk by its table's order; so the join's hash tables stay small.
_ROWS = """
SELECT {columns}
FROM (SELECT * FROM training_interactions WHERE {hours}) AS r
LEFT ANY JOIN (SELECT * FROM user_features_hourly WHERE {hours}) AS u ON r.user_id = u.user_id AND r.hour = u.hour
LEFT ANY JOIN (SELECT * FROM video_features_hourly WHERE {hours}) AS v ON r.video_id = v.video_id AND r.hour = v.hour
ORDER BY r.started_at, r.session_id, r.user_id, r.video_id
SETTINGS join_use_nulls = 1
""".replace(
    "{hours}",
    "hour >= fromUnixTimestamp64Milli({{first_ms:Int64}}, 'UTC')"
    " AND hour < fromUnixTimestamp64Milli({{end_ms:Int64}}, 'UTC')",
).format(
    columns=", ".join(
        [
            *(f"r.{name} AS {name}" for name in INTERACTIONS_SCHEMA.names),
            *(f"{feature.entity[0]}.{feature.name} AS {feature.name}" for feature in FEATURES),
        ]
    )
)
_CATALOGUE = """
SELECT video_id, ifNull(creator_id, '') AS creator_id, ifNull(title, '') AS title,
       ifNull(description, '') AS description, ifNull(category, '') AS category,
       ifNull(language, '') AS language, tags, duration_ms,
       toDateTime64(upload_time, 3, 'UTC') AS upload_time,
       ifNull(thumbnail_url, '') AS thumbnail_url
FROM stg_videos
ORDER BY video_id
"""
# Scrolled past counts as met: the feed will not show it again, so it is no candidate and no test either.
_MET = """
SELECT user_id, video_id, toDateTime64(min(watch_sessions.started_at), 3, 'UTC') AS first_met_at
FROM watch_sessions
WHERE watch_sessions.started_at < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')
GROUP BY user_id, video_id
ORDER BY user_id, video_id
"""
# Of those who met something: somebody who signed up and never came must not make it another training set.
_PEOPLE = """
SELECT user_id, age, gender, language, region, device_type
FROM stg_users
WHERE user_id IN (
    SELECT user_id FROM watch_sessions WHERE started_at < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')
)
ORDER BY user_id
"""


class TrainingSetEmptyError(Exception):
    """No interaction passes the window and the filter: there is nothing to train on."""


class TrainingRowsChangedError(Exception):
    """The training tables were built anew while they were read: what was read is no one set."""


class NoEventsError(Exception):
    """There is no playback event yet, so the data has no clock."""


def data_clock(client: "Client") -> datetime:
    """The "now" of every window: the newest event, none from the future. Raises `NoEventsError`."""
    [[newest]] = client.query(f"SELECT toUnixTimestamp64Milli(clock) FROM ({DATA_CLOCK})").result_rows  # noqa: S608
    if not newest:
        raise NoEventsError(
            "playback_events holds no event until now: import a data set or send events first"
        )
    return from_epoch_ms(int(newest))


@dataclass(frozen=True)
class TrainingRows:
    """What dbt's table training_interactions holds: its window, its filter, and how many rows each hour has."""

    window: Window
    min_ratio: float
    hours: tuple[tuple[int, int], ...]  # (start of the hour in epoch ms, rows), in order of time

    @property
    def rows(self) -> int:
        return sum(rows for _, rows in self.hours)

    def chunks(self, chunk_rows: int = CHUNK_ROWS) -> Iterator[tuple[int, int]]:
        """`[first, end)` in epoch ms: stretches of whole hours with up to `chunk_rows` rows, or one hour."""
        first, end, held = None, 0, 0
        for hour, rows in self.hours:
            if first is not None and held + rows > chunk_rows:
                yield first, end
                first, held = None, 0
            first = hour if first is None else first
            end, held = hour + _HOUR_MS, held + rows
        if first is not None:
            yield first, end


def training_rows(client: "Client") -> TrainingRows:
    """Raises `TrainingSetEmptyError`."""
    hours = client.query(
        "SELECT toUnixTimestamp64Milli(hour), count() FROM training_interactions GROUP BY hour ORDER BY hour"
    ).result_rows
    if not hours:
        raise TrainingSetEmptyError("training_interactions has no row: nothing was watched in its window")
    [[as_of_ms, days, min_ratio]] = client.query(
        "SELECT toUnixTimestamp64Milli(as_of), window_days, min_watch_time_ratio FROM training_interactions LIMIT 1"
    ).result_rows
    window = Window(from_epoch_ms(int(as_of_ms)), int(days))
    return TrainingRows(window, float(min_ratio), tuple((int(hour), int(rows)) for hour, rows in hours))


def stream_interactions(
    client: "Client", rows: TrainingRows, chunk_rows: int = CHUNK_ROWS
) -> Iterator[pa.Table]:
    """The interactions beside what their user and video were at the start of their hour, in the set's order.

    Raises `TrainingRowsChangedError` at the end.
    """
    with ThreadPoolExecutor(
        max_workers=1
    ) as reader:  # ClickHouse joins a piece while the one before is written
        ahead = None
        for first_ms, end_ms in rows.chunks(chunk_rows):
            parameters = {"first_ms": first_ms, "end_ms": end_ms}
            piece, ahead = ahead, reader.submit(client.query_arrow, _ROWS, parameters=parameters)
            if piece is not None:
                yield piece.result()
        if ahead is not None:
            yield ahead.result()
    if training_rows(client) != rows:
        raise TrainingRowsChangedError(
            "training_interactions was built anew while it was read: read it again"
        )


def stream_met(client: "Client", *, as_of: datetime) -> Iterator[pa.Table]:
    """Every (user, video) pair of a watch session that started before `as_of`, however long ago and however short.

    Sorted by user and video; `first_met_at` is the start of the pair's first session.
    """
    with client.query_arrow_stream(_MET, parameters={"end_ms": epoch_ms(as_of)}) as batches:
        for batch in batches:
            yield pa.table(batch) if isinstance(batch, pa.RecordBatch) else batch


def stream_people(client: "Client", *, as_of: datetime) -> Iterator[pa.Table]:
    """The profiles, as they are now, of everybody who met a video before `as_of`; sorted by user."""
    with client.query_arrow_stream(_PEOPLE, parameters={"end_ms": epoch_ms(as_of)}) as batches:
        for batch in batches:
            yield pa.table(batch) if isinstance(batch, pa.RecordBatch) else batch


def fetch_catalogue(client: "Client") -> pa.Table:
    """The catalogue as it is now, sorted by video_id."""
    return client.query_arrow(_CATALOGUE)


def watched_pairs(client: "Client") -> pa.Table:
    """`user_id, video_id` of every watch session ever, once each, sorted: what a feed must not show again."""
    table = client.query_arrow(
        "SELECT DISTINCT user_id, video_id FROM watch_sessions ORDER BY user_id, video_id"
    )
    return table.cast(pa.schema([("user_id", pa.string()), ("video_id", pa.string())]))

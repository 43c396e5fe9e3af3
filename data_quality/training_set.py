"""The training set: which interactions are in it, and the folder they become, the same bytes each time.

The folder is what DVC hashes, so it holds only what decides a model: the rows, the catalogue, the window. Who
made it and when (run id, git commit, wall clock) would give the same data a new hash at every run; that goes
on the Dagster materialization, the MLflow run and the bundle. The same input gives the same bytes, whatever
the order and chunking of the rows that came in.
"""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_quality.windows import Window, epoch_ms, from_epoch_ms, iso_ms
from stack.atomic_folder import canonical_json, replace_folder

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MIN_WATCH_TIME_RATIO = 0.1  # contract R4: the ratio must be above it
WINDOW_DAYS = 90  # contract R4

INTERACTIONS_FILE = "interactions.parquet"
VIDEOS_FILE = "videos.parquet"
MET_FILE = "watched.parquet"
META_FILE = "meta.json"

_TIME = pa.timestamp("ms", tz="UTC")

INTERACTIONS_SCHEMA = pa.schema(
    [
        ("session_id", pa.string()),
        ("user_id", pa.string()),
        ("video_id", pa.string()),
        ("started_at", _TIME),
        ("ended_at", _TIME),  # of the session's last event: from then on all that the row says is known
        ("total_watch_time_ms", pa.int64()),
        ("video_duration_ms", pa.int64()),
        ("watch_time_ratio", pa.float64()),
        ("rating", pa.float64()),
        ("weight", pa.float64()),
        ("is_positive", pa.bool_()),
    ]
)
VIDEOS_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("creator_id", pa.string()),
        ("title", pa.string()),
        ("description", pa.string()),
        ("category", pa.string()),
        ("language", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("duration_ms", pa.int64()),
        ("upload_time", _TIME),
        ("thumbnail_url", pa.string()),
        ("is_trending", pa.bool_()),
        ("view_count", pa.int64()),
        ("like_count", pa.int64()),
    ]
)
MET_SCHEMA = pa.schema([("user_id", pa.string()), ("video_id", pa.string()), ("first_met_at", _TIME)])
# A session may hold several videos (R1.2: its grain is session, user, video): the first two keys may tie.
_ORDER = [(name, "ascending") for name in ("started_at", "session_id", "user_id", "video_id")]

# A session still running at as_of would bring in watch time from after it.
_INTERACTIONS = """
SELECT session_id, user_id, video_id, toDateTime64(started_at, 3, 'UTC') AS started_at,
       toDateTime64(ended_at, 3, 'UTC') AS ended_at, total_watch_time_ms, video_duration_ms,
       watch_time_ratio, rating, weight, is_positive
FROM interactions
WHERE interactions.started_at >= fromUnixTimestamp64Milli({start_ms:Int64}, 'UTC')
  AND interactions.started_at < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')
  AND interactions.ended_at <= fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')
  AND watch_time_ratio > {min_ratio:Float64}
"""
_CATALOGUE = """
SELECT video_id, ifNull(creator_id, '') AS creator_id, ifNull(title, '') AS title,
       ifNull(description, '') AS description, ifNull(category, '') AS category,
       ifNull(language, '') AS language, tags, duration_ms,
       toDateTime64(upload_time, 3, 'UTC') AS upload_time,
       ifNull(thumbnail_url, '') AS thumbnail_url, ifNull(is_trending, 0) AS is_trending,
       ifNull(view_count, 0) AS view_count, ifNull(like_count, 0) AS like_count
FROM stg_videos
"""
# Scrolled past counts as met: the feed will not show it again, so it is no candidate and no test either.
_MET = """
SELECT user_id, video_id, toDateTime64(min(watch_sessions.started_at), 3, 'UTC') AS first_met_at
FROM watch_sessions
WHERE watch_sessions.started_at < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')
GROUP BY user_id, video_id
"""


class TrainingSetEmptyError(Exception):
    """No interaction passes the window and the filter: there is nothing to train on."""


class NoEventsError(Exception):
    """There is no playback event yet, so the data has no clock."""


def data_clock(client: "Client") -> datetime:
    """The "now" of every window: the newest event, but no later than now. Raises `NoEventsError`."""
    [[events, newest]] = client.query(
        "SELECT count(), toUnixTimestamp64Milli(least(max(impression_timestamp), now64(3, 'UTC')))"
        " FROM playback_events"
    ).result_rows
    if not events:
        raise NoEventsError("playback_events is empty: import a data set or send events first")
    return from_epoch_ms(int(newest))


def fetch_interactions(
    client: "Client",
    *,
    as_of: datetime,
    window_days: int = WINDOW_DAYS,
    min_ratio: float = MIN_WATCH_TIME_RATIO,
) -> pa.Table:
    """The interactions started and ended in `[as_of - window_days, as_of)` with a ratio above `min_ratio`.

    Returns a table of `INTERACTIONS_SCHEMA`, sorted. Raises `TrainingSetEmptyError`.
    """
    window = Window(as_of, window_days)
    start_ms, end_ms = window.milliseconds()
    parameters = {"start_ms": start_ms, "end_ms": end_ms, "min_ratio": min_ratio}
    interactions = normalised_interactions(client.query_arrow(_INTERACTIONS, parameters=parameters))
    _refuse_empty(interactions, window, min_ratio)
    return interactions


def fetch_catalogue(client: "Client") -> pa.Table:
    """The catalogue as it is now, `VIDEOS_SCHEMA`, sorted by video_id."""
    return normalised_catalogue(client.query_arrow(_CATALOGUE))


def fetch_met(client: "Client", *, as_of: datetime) -> pa.Table:
    """Every (user, video) pair of a watch session that started before `as_of`, however long ago and however short.

    Returns a table of `MET_SCHEMA`, sorted by user and video; `first_met_at` is the start of the pair's first session.
    """
    return normalised_met(client.query_arrow(_MET, parameters={"end_ms": epoch_ms(as_of)}))


def watched_pairs(client: "Client") -> pa.Table:
    """`user_id, video_id` of every watch session ever, once each, sorted: what a feed must not show again."""
    table = client.query_arrow(
        "SELECT DISTINCT user_id, video_id FROM watch_sessions ORDER BY user_id, video_id"
    )
    return table.cast(pa.schema([("user_id", pa.string()), ("video_id", pa.string())]))


def normalised_interactions(table: pa.Table) -> pa.Table:
    return _shaped(table, INTERACTIONS_SCHEMA).sort_by(_ORDER).combine_chunks()


def normalised_catalogue(table: pa.Table) -> pa.Table:
    return _shaped(table, VIDEOS_SCHEMA).sort_by("video_id").combine_chunks()


def normalised_met(table: pa.Table) -> pa.Table:
    return (
        _shaped(table, MET_SCHEMA)
        .sort_by([(name, "ascending") for name in MET_SCHEMA.names])
        .combine_chunks()
    )


def _shaped(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of `schema`, in its order and types. A lossy cast or a missing column raises."""
    return table.select(schema.names).cast(schema).replace_schema_metadata(None)


def describe(
    interactions: pa.Table, catalogue: pa.Table, met: pa.Table, window: Window, min_ratio: float, seed: int
) -> dict[str, Any]:
    """The content of `meta.json`: the window, the filter and the counts."""
    return {
        "as_of": iso_ms(window.as_of),
        "window_start": iso_ms(window.start),
        "window_days": window.days,
        "min_watch_time_ratio": min_ratio,
        "rows": interactions.num_rows,
        "users": pc.count_distinct(interactions["user_id"]).as_py(),
        "videos": pc.count_distinct(interactions["video_id"]).as_py(),
        "positives": pc.sum(interactions["is_positive"]).as_py() or 0,
        "catalogue_videos": catalogue.num_rows,
        "met_pairs": met.num_rows,
        "seed": seed,
    }


def write_training_set(
    directory: Path,
    interactions: pa.Table,
    catalogue: pa.Table,
    *,
    met: pa.Table,
    as_of: datetime,
    window_days: int = WINDOW_DAYS,
    min_ratio: float = MIN_WATCH_TIME_RATIO,
    seed: int = 0,
) -> dict[str, Any]:
    """Write the four files as one folder, whole or not at all; returns the content of `meta.json`.

    `met` are the pairs of `fetch_met`: a judge needs them to leave out of a list what a feed would leave out.
    Raises `TrainingSetEmptyError` when there is no row; the folder that was there stays.
    """
    window = Window(as_of, window_days)
    interactions = normalised_interactions(interactions)
    catalogue = normalised_catalogue(catalogue)
    met = normalised_met(met)
    _refuse_empty(interactions, window, min_ratio)
    meta = describe(interactions, catalogue, met, window, min_ratio, seed)
    with replace_folder(directory) as folder:
        _write_parquet(interactions, folder / INTERACTIONS_FILE)
        _write_parquet(catalogue, folder / VIDEOS_FILE)
        _write_parquet(met, folder / MET_FILE)
        (folder / META_FILE).write_bytes(canonical_json(meta))
    return meta


def _refuse_empty(interactions: pa.Table, window: Window, min_ratio: float) -> None:
    if interactions.num_rows == 0:
        raise TrainingSetEmptyError(
            f"no interaction in the {window.days} days {window} has watch_time_ratio > {min_ratio}"
        )


def _write_parquet(table: pa.Table, path: Path) -> None:
    """Every setting that shapes the bytes is named, so that only a new pyarrow can change them."""
    pq.write_table(
        table,
        path,
        version="2.6",
        compression="zstd",
        compression_level=3,
        use_dictionary=True,
        write_statistics=True,
        row_group_size=1 << 20,
        data_page_version="1.0",
        store_schema=True,
    )

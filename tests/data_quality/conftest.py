"""Small training sets, and the tables they are fetched from, in a database of their own on the real server."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from data_quality.training_set import INTERACTIONS_SCHEMA, MET_SCHEMA, VIDEOS_SCHEMA
from data_quality.training_set_schema import FEATURES, FEATURES_SCHEMA, TRAINING_SCHEMA
from stack.clients import clickhouse_client
from stack.settings import Settings

from .quality_tables import Tables

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

AS_OF = datetime(2022, 5, 8, 12, tzinfo=UTC)


@pytest.fixture
def as_of() -> datetime:
    return AS_OF


@pytest.fixture
def make_interactions() -> Callable[..., pa.Table]:
    """`make(n, **columns)`: n consistent rows, a minute apart, of three users and four videos; half are positive."""

    def make(n: int = 6, **columns: list[Any]) -> pa.Table:
        ratios = [0.25 if i % 2 else 0.75 for i in range(n)]
        rows: dict[str, list[Any]] = {
            "session_id": [f"s{i}" for i in range(n)],
            "user_id": [f"u{i % 3}" for i in range(n)],
            "video_id": [f"v{i % 4}" for i in range(n)],
            "started_at": [AS_OF - timedelta(minutes=n - i) for i in range(n)],
            "total_watch_time_ms": [int(20_000 * ratio) for ratio in ratios],
            "video_duration_ms": [20_000] * n,
            "watch_time_ratio": ratios,
            "rating": [5 * ratio for ratio in ratios],
            "weight": ratios,
            "is_positive": [ratio >= 0.7 for ratio in ratios],
        }
        rows.update(columns)
        if "ended_at" not in columns:
            rows["ended_at"] = [
                started and started + timedelta(milliseconds=watched)
                for started, watched in zip(rows["started_at"], rows["total_watch_time_ms"], strict=True)
            ]
        return pa.table(rows, schema=INTERACTIONS_SCHEMA)

    return make


@pytest.fixture
def with_features() -> Callable[..., pa.Table]:
    """`with_features(interactions, **columns)`: the rows of people and videos that nobody knows anything of."""

    def add(interactions: pa.Table, **columns: list[Any]) -> pa.Table:
        nothing = {f.name: [None if f.nullable else 0] * interactions.num_rows for f in FEATURES}
        features = pa.table({**nothing, **columns}, schema=FEATURES_SCHEMA)
        return pa.table([*interactions.columns, *features.columns], schema=TRAINING_SCHEMA)

    return add


@pytest.fixture
def make_met() -> Callable[[pa.Table], pa.Table]:
    """`make_met(interactions)`: the pairs of the rows, each met when its first row started."""

    def make(interactions: pa.Table) -> pa.Table:
        first = interactions.group_by(["user_id", "video_id"]).aggregate([("started_at", "min")])
        return (
            first.rename_columns({"started_at_min": "first_met_at"}).select(MET_SCHEMA.names).cast(MET_SCHEMA)
        )

    return make


@pytest.fixture
def catalogue() -> pa.Table:
    """Videos v0 to v3; v3 has neither a duration nor an upload time."""
    videos = [f"v{i}" for i in range(4)]
    return pa.table(
        {
            "video_id": videos,
            "creator_id": ["c0", "c1", "c0", "c1"],
            "title": [f"title {video}" for video in videos],
            "description": [""] * 4,
            "category": ["music", "music", "sport", ""],
            "language": ["en"] * 4,
            "tags": [["a"], ["a", "b"], [], ["c"]],
            "duration_ms": [20_000, 20_000, 20_000, None],
            "upload_time": [AS_OF - timedelta(days=100)] * 3 + [None],
            "thumbnail_url": [""] * 4,
        },
        schema=VIDEOS_SCHEMA,
    )


_TABLES = (
    "CREATE TABLE playback_events (event_id UUID DEFAULT generateUUIDv4(), impression_timestamp DateTime64(3, 'UTC'))"
    " ENGINE = MergeTree ORDER BY event_id",
    "CREATE TABLE watch_sessions (session_id String, user_id String, video_id String,"
    " started_at DateTime64(3, 'UTC'), ended_at DateTime64(3, 'UTC'), total_watch_time_ms Int64,"
    " video_duration_ms Int64, watch_time_ratio Float64, is_finished UInt8,"
    " last_hour DateTime64(3, 'UTC') ALIAS toDateTime64(toStartOfHour(ended_at), 3, 'UTC'))"
    " ENGINE = MergeTree ORDER BY (user_id, started_at)",
    "CREATE TABLE training_interactions (hour DateTime64(3, 'UTC'), session_id String, user_id String,"
    " video_id String, started_at DateTime64(3, 'UTC'), ended_at DateTime64(3, 'UTC'), total_watch_time_ms Int64,"
    " video_duration_ms Int64, watch_time_ratio Float64, rating Float64, weight Float64, is_positive UInt8,"
    " as_of DateTime64(3, 'UTC'), window_days UInt16, min_watch_time_ratio Float64)"
    " ENGINE = MergeTree ORDER BY (hour, started_at, session_id, user_id, video_id)",
    *(
        f"CREATE TABLE {entity}_features_hourly (hour DateTime64(3, 'UTC'), {entity}_id String, "
        + ", ".join(
            f"{f.name} Nullable({'Int64' if f.whole else 'Float64'})" for f in FEATURES if f.entity == entity
        )
        + f") ENGINE = MergeTree ORDER BY (hour, {entity}_id)"
        for entity in ("user", "video")
    ),
    "CREATE TABLE stg_videos (video_id String, creator_id Nullable(String), title String,"
    " description Nullable(String), category Nullable(String), language LowCardinality(String),"
    " tags Array(String), duration_ms Nullable(Int64), upload_time Nullable(DateTime64(3, 'UTC')),"
    " thumbnail_url Nullable(String), is_trending Bool, view_count UInt32, like_count Nullable(Int64))"
    " ENGINE = MergeTree ORDER BY video_id",
    "CREATE TABLE stg_users (user_id String, age Nullable(Int16), gender String, language String,"
    " region String, device_type String, engagement_score Nullable(Float64)) ENGINE = MergeTree ORDER BY user_id",
)
_SESSION_COLUMNS = [
    *("session_id", "user_id", "video_id", "started_at", "ended_at"),
    *("total_watch_time_ms", "video_duration_ms", "watch_time_ratio", "is_finished"),
]


class Store:
    """The tables the data-quality queries read, and one way to fill each."""

    def __init__(self, client: "Client") -> None:
        self.client = client

    def add_events(self, *times: datetime) -> None:
        self.client.insert("playback_events", [[time] for time in times], ["impression_timestamp"])

    def add_session(self, name: str, started_at: datetime, ratio: float = 0.5, **changes: Any) -> None:
        watched = int(20_000 * ratio)
        row = {
            "session_id": name,
            "user_id": "u0",
            "video_id": "v0",
            "started_at": started_at,
            "ended_at": started_at + timedelta(milliseconds=watched),
            "total_watch_time_ms": watched,
            "video_duration_ms": 20_000,
            "watch_time_ratio": ratio,
            "is_finished": int(ratio >= 0.9),
            **changes,
        }
        self.client.insert("watch_sessions", [[row[name] for name in _SESSION_COLUMNS]], _SESSION_COLUMNS)

    def add_training_row(self, name: str, started_at: datetime, **changes: Any) -> None:
        """A row of `training_interactions`, as dbt made it at `AS_OF`, and what was known at its hour: as many sessions
        as the hour has of the day, 10 times as many plays."""
        hour = started_at.replace(minute=0, second=0, microsecond=0)
        row = {
            "hour": hour,
            "session_id": name,
            "user_id": "u0",
            "video_id": "v0",
            "started_at": started_at,
            "ended_at": started_at + timedelta(seconds=10),
            "total_watch_time_ms": 10_000,
            "video_duration_ms": 20_000,
            "watch_time_ratio": 0.5,
            "rating": 2.5,
            "weight": 0.5,
            "is_positive": 0,
            "as_of": AS_OF,
            "window_days": 90,
            "min_watch_time_ratio": 0.1,
            **changes,
        }
        self.client.insert("training_interactions", [list(row.values())], list(row))
        user = [hour, row["user_id"], hour.hour]
        self.client.insert("user_features_hourly", [user], ["hour", "user_id", "user_sessions"])
        video = [hour, row["video_id"], 10 * hour.hour]
        self.client.insert("video_features_hourly", [video], ["hour", "video_id", "video_plays_cumulative"])


@pytest.fixture
def store(clickhouse: Settings) -> Iterator[Store]:
    """Empty tables in a database that is gone after the test."""
    name = "data_quality_test"
    server = clickhouse_client(clickhouse, database="default")
    server.command(f"DROP DATABASE IF EXISTS {name}")
    server.command(f"CREATE DATABASE {name}")
    client = clickhouse_client(clickhouse, database=name)
    for statement in _TABLES:
        client.command(statement)
    try:
        yield Store(client)
    finally:
        client.close()
        server.command(f"DROP DATABASE IF EXISTS {name}")
        server.close()


@pytest.fixture(scope="session")
def quality_tables(clickhouse: Settings) -> Iterator[Tables]:
    """A database for tables that the suites and profiles look at."""
    name = "quality_tables_test"
    server = clickhouse_client(clickhouse, database="default")
    server.command(f"CREATE DATABASE {name}")
    url = clickhouse.clickhouse_url.rsplit("/", 1)[0] + f"/{name}"
    settings = clickhouse.model_copy(update={"clickhouse_url_override": url})
    client = clickhouse_client(settings)
    try:
        yield Tables(settings, client)
    finally:
        client.close()
        server.command(f"DROP DATABASE {name}")
        server.close()

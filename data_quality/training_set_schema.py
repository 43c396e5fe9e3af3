"""The columns of a training set: names, types, and what the features mean."""

from dataclasses import dataclass

import pyarrow as pa

INTERACTIONS_FILE = "interactions.parquet"
VIDEOS_FILE = "videos.parquet"
MET_FILE = "watched.parquet"
USERS_FILE = "users.parquet"
META_FILE = "meta.json"

TIME = pa.timestamp("ms", tz="UTC")

INTERACTIONS_SCHEMA = pa.schema(
    [
        ("session_id", pa.string()),
        ("user_id", pa.string()),
        ("video_id", pa.string()),
        ("started_at", TIME),
        ("ended_at", TIME),  # of the session's last event: from then on all that the row says is known
        ("total_watch_time_ms", pa.int64()),
        ("video_duration_ms", pa.int64()),
        ("watch_time_ratio", pa.float64()),
        ("rating", pa.float64()),
        ("weight", pa.float64()),
        ("is_positive", pa.bool_()),
    ]
)
# Without the counters of `videos`: they are of today, so they know the test period. A row's own are among its features.
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
        ("upload_time", TIME),
        ("thumbnail_url", pa.string()),
    ]
)
# What hardly changes. Scores and averages of a profile are of today, so they know the test period: left out.
USERS_SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("age", pa.int16()),  # null if unknown
        ("gender", pa.string()),
        ("language", pa.string()),
        ("region", pa.string()),
        ("device_type", pa.string()),
    ]
)
MET_SCHEMA = pa.schema([("user_id", pa.string()), ("video_id", pa.string()), ("first_met_at", TIME)])
# A session may hold several videos (R1.2: its grain is session, user, video): the first two keys may tie.
ORDER = [(name, "ascending") for name in ("started_at", "session_id", "user_id", "video_id")]

FEATURES_VERSION = 1
"""Raised by whoever changes what a feature means; it is part of the set and so of its hash."""


@dataclass(frozen=True)
class Feature:
    """`whole`: a count or a time, never negative, an integer. `nullable`: null where there is nothing to average."""

    name: str
    definition: str
    whole: bool
    nullable: bool

    @property
    def entity(self) -> str:
        return self.name.split("_")[0]  # "user" or "video"


def _count(name: str, definition: str, *, nullable: bool = False) -> Feature:
    return Feature(name, definition, whole=True, nullable=nullable)


def _mean(name: str, definition: str) -> Feature:
    return Feature(name, definition, whole=False, nullable=True)


FEATURES = (
    _count("user_sessions", "sessions of the user's window"),
    _count("user_watch_time_ms", "sum of total_watch_time_ms"),
    _count("user_finished", "sessions with watch_time_ratio >= 0.9"),
    _count("user_valid_views", "sessions with total_watch_time_ms > 300"),
    _mean("user_avg_completion_ratio", "mean watch_time_ratio"),
    _mean("user_avg_effective_watch_time_ms", "mean effective_watch_time_ms"),
    _mean("user_engaged_share", "share of sessions with watch_time_ratio > 0.7"),
    _mean("user_engagement_score", "mean of 1 * (ratio > 0.7) + 0.3 likes + 0.4 shares + 0.4 comments, to 2"),
    _count("user_account_age_days", "calendar days since users.created_at, null if unknown", nullable=True),
    _count("video_sessions", "sessions of the video's window"),
    _count("video_finished", "sessions with watch_time_ratio >= 0.9"),
    _count("video_valid_views", "sessions with total_watch_time_ms > 300"),
    _count("video_plays_7d", "sessions with a view_start, 7 calendar days"),
    _count("video_plays_cumulative", "sessions with a view_start, ever"),
    _mean("video_avg_completion_ratio", "mean watch_time_ratio"),
    _mean("video_avg_watch_time_ms", "mean total_watch_time_ms"),
    _mean("video_retention_rate", "share of sessions whose exit reason is end_video"),
    _mean("video_engagement_rate", "likes, shares and comments per session"),
    _count("video_age_hours", "hours since videos.upload_time, null if unknown", nullable=True),
)
FEATURES_SEEN = (
    "Of the sessions as they stood when the hour of started_at began, in 30 calendar days of UTC, that hour's day"
    " included. Means are null without a session."
)
FEATURES_SCHEMA = pa.schema(
    [
        pa.field(f.name, pa.int64() if f.whole else pa.float64())  # null is allowed in any column of parquet
        for f in FEATURES
    ]
)
TRAINING_SCHEMA = pa.schema([*INTERACTIONS_SCHEMA, *FEATURES_SCHEMA])


def interactions_schema(table_schema: pa.Schema) -> pa.Schema:
    """What the interactions of this table are written as: with all the features, or, if it has none, without."""
    has_features = any(name in table_schema.names for name in FEATURES_SCHEMA.names)
    return TRAINING_SCHEMA if has_features else INTERACTIONS_SCHEMA

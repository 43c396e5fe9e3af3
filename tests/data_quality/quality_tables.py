"""Tables as the suites expect them, with columns that take anything: what the real types refuse can be written, too."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from data_quality.report import ValidationReport
from data_quality.suites import SUITES
from data_quality.table_checks import validate_table
from stack.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

NOON = datetime(2022, 5, 2, 12, tzinfo=UTC)  # a Monday

EVENT: dict[str, Any] = {
    "event_id": "00000000-0000-0000-0000-000000000001",
    **{
        "user_id": "u1",
        "video_id": "v1",
        "session_id": "s1",
        "event_type": "view_start",
        "position_index": 0,
    },
    **{"impression_timestamp": NOON, "scroll_speed_ms": 0.0, "playback_position_ms": 0},
    **{"device_type": "ios", "network_type": "wifi", "geo_location": "Lyon, FR"},
    **{"time_of_day": 12, "day_of_week": 1, "request_id": "", "created_at": NOON + timedelta(seconds=1)},
}
SESSION: dict[str, Any] = {
    **{"session_id": "s1", "user_id": "u1", "video_id": "v1"},
    **{"started_at": NOON, "ended_at": NOON + timedelta(seconds=20)},
    **{"total_watch_time_ms": 20_000, "effective_watch_time_ms": 18_000, "video_duration_ms": 40_000},
    **{"watch_time_ratio": 0.5, "exit_reason": "scroll", "num_events": 4, "last_arrival_at": NOON},
    "last_hour": NOON,
    **{"is_finished": 0, "is_valid_view": 1, "scrolled_in": 0, "scrolled_out": 1, "was_played": 1},
    **{"num_pauses": 1, "num_resumes": 1, "num_replays": 0},
    **{"num_likes": 1, "num_comments": 0, "num_shares": 0, "num_follows": 0, "num_saves": 0},
}
USER: dict[str, Any] = {
    **{"user_id": "u1", "as_of": NOON, "total_sessions": 3, "total_watch_time_ms": 60_000},
    **{"unique_videos_watched": 2, "finished_videos_count": 1, "valid_views_count": 3},
    **{"gender": "female", "language": "en", "device_type": "ios", "region": "EU"},
    **{"avg_completion_ratio": 0.5, "avg_effective_watch_time_ms": 18_000.0, "account_age_days": 10},
    **{
        "age": 30,
        "avg_daily_watch_time_ms": 60_000,
        "engagement_score": 0.5,
        "watched_video_ids": ["v1", "v2"],
    },
    **{"created_at": NOON, "interested_categories": ["music"]},
}
VIDEO: dict[str, Any] = {
    **{"video_id": "v1", "as_of": NOON, "total_sessions": 4, "unique_viewers": 3, "finished_count": 1},
    **{"valid_view_count": 4, "scroll_in_count": 2, "completed_sessions": 2, "scrolled_away_count": 1},
    **{"like_count": 1, "share_count": 0, "comment_count": 0, "save_count": 0},
    **{"plays_7d": 3, "plays_cumulative": 9, "creator_id": "c1", "title": "t", "category": "music"},
    **{"language": "en", "is_trending": 0, "catalogue_view_count": 5, "catalogue_like_count": 1},
    **{"avg_completion_ratio": 0.5, "avg_watch_time_ms": 9_000.0, "retention_rate": 0.5},
    **{"engagement_rate": 0.25, "duration_ms": 40_000, "upload_time": NOON},
}
ROWS: Mapping[str, dict[str, Any]] = {
    "playback_events": EVENT,
    "watch_sessions": SESSION,
    "user_features": USER,
    "video_features": VIDEO,
}
KEYS = {
    "playback_events": "event_id",
    "watch_sessions": "session_id",
    "user_features": "user_id",
    "video_features": "video_id",
}
_TYPES = {
    datetime: "Nullable(DateTime64(3, 'UTC'))",
    str: "Nullable(String)",
    int: "Nullable(Float64)",
    float: "Nullable(Float64)",
    list: "Array(String)",
}
_GOOD_ROWS = 99


@dataclass
class Tables:
    """The tables in a database of their own; `Float64` where the real ones have integers, so that NaN fits."""

    settings: Settings
    client: "Client"

    def fill(self, table: str, *changes: Mapping[str, Any], good: int = _GOOD_ROWS) -> None:
        """The table anew: `good` rows, then one with each of `changes`; keys are all different unless changed."""
        row = ROWS[table]
        columns = ", ".join(f"{name} {_TYPES[type(value)]}" for name, value in row.items())
        self.client.command(f"DROP TABLE IF EXISTS {table}")
        self.client.command(f"CREATE TABLE {table} ({columns}) ENGINE = MergeTree ORDER BY tuple()")
        key = KEYS[table]
        rows = [{**row, key: f"k{i}"} for i in range(good)]
        rows += [{**row, key: f"changed{i}", **change} for i, change in enumerate(changes)]
        if rows:
            self.client.insert(table, [[r[name] for name in row] for r in rows], list(row))

    def validate(self, table: str, **arguments: Any) -> ValidationReport:
        return validate_table(self.settings, SUITES[table], **arguments)


def failed(report: ValidationReport) -> set[tuple[str, str]]:
    return {(failure.expectation, failure.column) for failure in report.failures}


def counted(report: ValidationReport) -> dict[tuple[str, str], int]:
    """How many rows break each statement that does not hold."""
    return {(f.expectation, f.column): int(f.observed.split()[0]) for f in report.failures}


def stated(table: str) -> set[tuple[str, str]]:
    """The statements of a suite that speak of values."""
    general = ("nothing_is_missing", "there_are_rows")
    return {(s.name, s.column) for s in SUITES[table].statements if s.name not in general}

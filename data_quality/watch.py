"""What is watched of each table, and what of it is out of line with the past: profiles in, anomalies out."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from data_quality.anomalies import (
    Anomaly,
    complete_days,
    judge_extreme,
    judge_level,
    judge_share,
    judge_silence,
    judge_volume,
    past_of,
)
from data_quality.profiles import Figures, Profile, Profiled, profile, remember, remembered
from data_quality.windows import from_epoch_ms

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

MIN_ROWS = 100
"""A day or table of fewer rows is judged by its volume only: its rates and levels are noise."""

WATCHED = {
    table.table: table
    for table in (
        Profiled(
            "playback_events",
            time="impression_timestamp",
            arrival="created_at",
            missing={
                "playback_position_ms": "isNull(playback_position_ms)",
                "geo_location": "geo_location = ''",
            },
            numbers={
                "position_index": "position_index",
                "scroll_speed_ms": "scroll_speed_ms",
                "playback_position_ms": "playback_position_ms",
            },
            shares={
                name: f"event_type = '{name}'" for name in ("view_start", "view_end", "scroll_pass", "like")
            },
        ),
        Profiled(
            "watch_sessions",
            time="started_at",
            arrival="last_arrival_at",
            numbers={
                "total_watch_time_ms": "total_watch_time_ms",
                "watch_time_ratio": "watch_time_ratio",
                "num_events": "num_events",
            },
            shares={
                "played": "was_played = 1",
                "finished": "is_finished = 1",
                "left_by_closing_the_app": "exit_reason = 'close_app'",
            },
        ),
        Profiled(
            "user_features",
            arrival="as_of",
            missing={
                "age": "isNull(age)",
                "created_at": "isNull(created_at)",
                "engagement_score": "isNull(engagement_score)",
                "avg_completion_ratio": "isNull(avg_completion_ratio)",
                "language": "language = ''",
                "region": "region = ''",
                "interested_categories": "empty(interested_categories)",
            },
            numbers={
                "total_sessions": "total_sessions",
                "total_watch_time_ms": "total_watch_time_ms",
                "avg_completion_ratio": "avg_completion_ratio",
                "unique_videos_watched": "unique_videos_watched",
            },
        ),
        Profiled(
            "video_features",
            arrival="as_of",
            missing={
                "duration_ms": "isNull(duration_ms)",
                "upload_time": "isNull(upload_time)",
                "avg_completion_ratio": "isNull(avg_completion_ratio)",
                "category": "category = ''",
                "creator_id": "creator_id = ''",
                "title": "title = ''",
            },
            numbers={
                "total_sessions": "total_sessions",
                "avg_watch_time_ms": "avg_watch_time_ms",
                "retention_rate": "retention_rate",
                "engagement_rate": "engagement_rate",
                "plays_7d": "plays_7d",
            },
        ),
    )
}

_JUDGES: dict[str, Callable[[str, float, list[float], str], Anomaly | None]] = {
    "rows": judge_volume,
    "null_rate": judge_share,
    "share": judge_share,
    "mean": judge_level,
    "median": judge_level,
    "p95": judge_level,
    "min": judge_extreme,
    "max": judge_extreme,
}


def anomalies_of(
    client: "Client", table: Profiled, now: datetime | None = None
) -> tuple[list[Anomaly], Profile]:
    """Profile a table, compare it with its past, and, if it has none of its own, keep the figures for next time."""
    now = now or datetime.now(UTC)
    found = profile(client, table)
    if table.time is not None:
        return [*judge_days(found), *_silence(found.arrivals, now)], found
    past = remembered(client, table.table, now)
    seen = [from_epoch_ms(int(moment)) for moment in past.pop("newest_ms", [])]
    remember(client, found, now)
    figures = next(iter(found.days.values()), {"rows": 0.0})
    return [*judge_figures(figures, past), *_silence((*seen, *found.arrivals), now)], found


def judge_days(profile: Profile) -> list[Anomaly]:
    """The newest day that is over against those before it; nothing if no day is."""
    if profile.newest is None:
        return []
    rows = complete_days({day: figures["rows"] for day, figures in profile.days.items()}, profile.newest)
    if not rows:
        return []
    day = max(rows)
    large = {d: profile.days[d] for d, count in rows.items() if count >= MIN_ROWS}
    past: dict[str, list[float]] = {"rows": past_of(day, rows)}
    for metric in large.get(day, {}):
        if metric != "rows":
            past[metric] = past_of(day, {d: f[metric] for d, f in large.items() if metric in f})
    return judge_figures({**large.get(day, {}), "rows": rows[day]}, past, when=str(day))


def judge_figures(figures: Figures, past: dict[str, list[float]], when: str = "") -> list[Anomaly]:
    """Each figure against its own past, in the order of their names."""
    judged = figures if figures["rows"] >= MIN_ROWS else {"rows": figures["rows"]}
    found = [
        _JUDGES[metric.split(".")[0]](metric, value, past.get(metric, []), when)
        for metric, value in sorted(judged.items())
    ]
    return [anomaly for anomaly in found if anomaly is not None]


def _silence(arrivals: tuple[datetime, ...], now: datetime) -> list[Anomaly]:
    silent = judge_silence(arrivals, now)
    return [silent] if silent else []

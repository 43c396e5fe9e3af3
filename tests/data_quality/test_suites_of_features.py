"""Each statement about features fails for its bad row, and each bad row for its statements only."""

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from .quality_tables import Tables, counted, failed, stated

Case = tuple[dict[str, Any], set[tuple[str, str]]]
MORE = ("counts_are_within_the_sessions", "more_than_the_sessions")
TOO_MANY = 2.0**64 - 1  # -1, stored unsigned

USERS: list[Case] = [
    ({"user_id": ""}, {("ids_are_not_empty", "user_id_length")}),
    *(
        ({name: -1}, {("counts_are_not_negative", name)})
        for name in ("total_watch_time_ms", "finished_videos_count", "valid_views_count")
    ),
    ({"total_sessions": TOO_MANY}, {("counts_are_not_negative", "total_sessions")}),
    (
        {"unique_videos_watched": -1},
        {
            ("counts_are_not_negative", "unique_videos_watched"),
            ("watched_videos_are_listed", "videos_disagree"),
        },
    ),
    ({"avg_completion_ratio": -0.1}, {("averages_are_not_negative", "avg_completion_ratio")}),
    ({"avg_completion_ratio": math.nan}, {("averages_are_not_negative", "avg_completion_ratio")}),
    ({"avg_effective_watch_time_ms": -1.0}, {("averages_are_not_negative", "avg_effective_watch_time_ms")}),
    ({"watched_video_ids": ["v1"]}, {("watched_videos_are_listed", "videos_disagree")}),
    ({"avg_completion_ratio": None}, {("an_average_needs_a_session", "average_without_sessions")}),
    ({"gender": "other"}, {("gender_is_one_of_the_contract", "gender")}),
    ({"finished_videos_count": 4}, {MORE}),
    ({"age": 151}, {("age_is_an_age", "age")}),
    ({"account_age_days": -1}, {("accounts_are_older_than_their_features", "account_age_days")}),
    (
        {"avg_daily_watch_time_ms": 86_400_001},
        {("daily_watch_time_fits_into_a_day", "avg_daily_watch_time_ms")},
    ),
    ({"engagement_score": -0.1}, {("engagement_is_not_negative", "engagement_score")}),
]
VIDEOS: list[Case] = [
    ({"video_id": ""}, {("ids_are_not_empty", "video_id_length")}),
    *(
        ({name: -1}, {("counts_are_not_negative", name)})
        for name in (
            *(
                "unique_viewers",
                "finished_count",
                "valid_view_count",
                "scroll_in_count",
                "completed_sessions",
            ),
            *("scrolled_away_count", "like_count", "share_count", "comment_count", "save_count", "plays_7d"),
        )
    ),
    ({"total_sessions": TOO_MANY}, {("counts_are_not_negative", "total_sessions")}),
    ({"plays_cumulative": TOO_MANY}, {("counts_are_not_negative", "plays_cumulative")}),
    ({"avg_completion_ratio": -0.1}, {("averages_are_not_negative", "avg_completion_ratio")}),
    ({"avg_watch_time_ms": -1.0}, {("averages_are_not_negative", "avg_watch_time_ms")}),
    ({"retention_rate": 1.01}, {("retention_is_a_share", "retention_rate")}),
    ({"engagement_rate": -0.1}, {("engagement_is_not_negative", "engagement_rate")}),
    ({"duration_ms": 0}, {("durations_are_positive_or_unknown", "duration_ms")}),
    ({"avg_completion_ratio": None}, {("an_average_needs_a_session", "average_without_sessions")}),
    ({"plays_7d": 10}, {("a_week_is_part_of_all_time", "more_in_a_week_than_ever")}),
    ({"unique_viewers": 5}, {MORE}),
    ({"catalogue_view_count": -1}, {("catalogue_counts_are_not_negative", "catalogue_view_count")}),
    ({"catalogue_like_count": -1}, {("catalogue_counts_are_not_negative", "catalogue_like_count")}),
]
CASES = {"user_features": USERS, "video_features": VIDEOS}
# Of the table as a whole, in the tests further down.
OF_MANY = {
    "user_features": {("one_row_per_user", "user_id")},
    "video_features": {("one_row_per_video", "video_id")},
}
AS_OF = {
    ("all_rows_are_as_of_one_moment", "as_of"),
    ("features_are_not_of_the_future", "as_of_hours_ahead_of_now"),
}


@pytest.mark.parametrize("table", CASES)
def test_each_wrong_value_is_named_and_nothing_else_is(quality_tables: Tables, table: str) -> None:
    """All at once: a row that broke one statement more than it should would make that count too high."""
    quality_tables.fill(table, *(change for change, _ in CASES[table]))
    expected = Counter(statement for _, statements in CASES[table] for statement in statements)
    assert counted(quality_tables.validate(table)) == expected


@pytest.mark.parametrize("table", CASES)
def test_every_statement_has_a_row_that_breaks_it(table: str) -> None:
    broken = {statement for _, statements in CASES[table] for statement in statements}
    assert broken | OF_MANY[table] | AS_OF == stated(table)


@pytest.mark.parametrize("table", CASES)
def test_what_others_write_is_a_warning_and_so_are_counts_that_late_events_can_unsettle(
    quality_tables: Tables, table: str
) -> None:
    theirs = {"user_features": {"age": 151}, "video_features": {"catalogue_view_count": -1}}[table]
    ours = {"user_features": {"valid_views_count": 4}, "video_features": {"unique_viewers": 5}}[table]
    quality_tables.fill(table, theirs, ours)
    report = quality_tables.validate(table)
    assert report.success
    assert [f.severity for f in report.failures] == ["warning", "warning"]


@pytest.mark.parametrize("table", CASES)
def test_rows_of_two_moments_and_of_the_future_are_found(quality_tables: Tables, table: str) -> None:
    quality_tables.fill(table, {"as_of": datetime.now(UTC) + timedelta(hours=2)})
    report = quality_tables.validate(table)
    assert failed(report) == AS_OF
    assert {f.observed for f in report.errors} == {"2", "1 of 100 rows"}


@pytest.mark.parametrize(("table", "key"), [("user_features", "user_id"), ("video_features", "video_id")])
def test_a_key_twice_is_found(quality_tables: Tables, table: str, key: str) -> None:
    quality_tables.fill(table, *({key: f"k{i}"} for i in range(7)))
    [failure] = quality_tables.validate(table).failures
    assert (failure.column, failure.severity, failure.observed) == (key, "error", "5 or more repeated")

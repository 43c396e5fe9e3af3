"""User features (contract R3): one row a user, no figure that its others rule out."""

from data_quality.contracts import Gender
from data_quality.suites.base import (
    TableSuite,
    at_most_distinct,
    averages,
    between,
    counts,
    never,
    not_empty,
    not_missing,
    one_of,
    unique,
)

_COUNTS = (
    "total_sessions",
    "total_watch_time_ms",
    "unique_videos_watched",
    "finished_videos_count",
    "valid_views_count",
)
_REQUIRED = ("user_id", "as_of", *_COUNTS, "gender", "language", "device_type", "region")
_OPTIONAL = (
    *("avg_completion_ratio", "avg_effective_watch_time_ms", "account_age_days"),
    *("age", "avg_daily_watch_time_ms", "engagement_score"),
)

SUITE = TableSuite(
    table="user_features",
    key="user_id",
    columns=(*_REQUIRED, *_OPTIONAL, "watched_video_ids"),
    derived={
        "user_id_length": "lengthUTF8(user_id)",
        "as_of_hours_ahead_of_now": "dateDiff('second', now64(3), as_of) / 3600",
        "videos_disagree": "unique_videos_watched != length(watched_video_ids)",
        "average_without_sessions": "(total_sessions = 0) != isNull(avg_completion_ratio)",
        "more_than_the_sessions": (
            "greatest(unique_videos_watched, finished_videos_count, valid_views_count) > total_sessions"
        ),
    },
    statements=(
        not_empty(),
        *not_missing(*_REQUIRED),
        unique("one_row_per_user", "user_id"),
        between("ids_are_not_empty", "user_id_length", 1),
        at_most_distinct("all_rows_are_as_of_one_moment", "as_of", 1),
        between("features_are_not_of_the_future", "as_of_hours_ahead_of_now", high=1),
        *counts(*_COUNTS),
        *averages("avg_completion_ratio", "avg_effective_watch_time_ms"),
        never("watched_videos_are_listed", "videos_disagree"),
        never("an_average_needs_a_session", "average_without_sessions"),
        one_of("gender_is_one_of_the_contract", "gender", [value.value for value in Gender]),
        never("counts_are_within_the_sessions", "more_than_the_sessions", severity="warning"),
        # Of the profiles, which others write.
        between("age_is_an_age", "age", 0, 150, severity="warning"),
        between("accounts_are_older_than_their_features", "account_age_days", 0, severity="warning"),
        between(
            "daily_watch_time_fits_into_a_day", "avg_daily_watch_time_ms", 0, 86_400_000, severity="warning"
        ),
        between("engagement_is_not_negative", "engagement_score", 0, severity="warning"),
    ),
)

"""Video features (contract R3): one row a video, no figure that its others rule out."""

from data_quality.suites.base import (
    LARGEST_COUNT,
    TableSuite,
    at_most_distinct,
    averages,
    between,
    counts,
    never,
    not_empty,
    not_missing,
    unique,
)

_COUNTS = (
    *("total_sessions", "unique_viewers", "finished_count", "valid_view_count", "scroll_in_count"),
    *(
        "completed_sessions",
        "scrolled_away_count",
        "like_count",
        "share_count",
        "comment_count",
        "save_count",
    ),
    *("plays_7d", "plays_cumulative"),
)
_CATALOGUE_COUNTS = ("catalogue_view_count", "catalogue_like_count")
_REQUIRED = (
    *("video_id", "as_of", *_COUNTS, "creator_id", "title", "category", "language"),
    *("is_trending", *_CATALOGUE_COUNTS),
)
_OPTIONAL = ("avg_completion_ratio", "avg_watch_time_ms", "retention_rate", "engagement_rate", "duration_ms")

SUITE = TableSuite(
    table="video_features",
    key="video_id",
    columns=(*_REQUIRED, *_OPTIONAL),
    derived={
        "video_id_length": "lengthUTF8(video_id)",
        "as_of_hours_ahead_of_now": "dateDiff('second', now64(3), as_of) / 3600",
        "average_without_sessions": "(total_sessions = 0) != isNull(avg_completion_ratio)",
        "more_than_the_sessions": (
            "greatest(unique_viewers, finished_count, valid_view_count, completed_sessions) > total_sessions"
        ),
        "more_in_a_week_than_ever": "plays_7d > plays_cumulative",
    },
    statements=(
        not_empty(),
        *not_missing(*_REQUIRED),
        unique("one_row_per_video", "video_id"),
        between("ids_are_not_empty", "video_id_length", 1),
        at_most_distinct("all_rows_are_as_of_one_moment", "as_of", 1),
        between("features_are_not_of_the_future", "as_of_hours_ahead_of_now", high=1),
        *counts(*_COUNTS),
        *averages("avg_completion_ratio", "avg_watch_time_ms"),
        between("retention_is_a_share", "retention_rate", 0, 1),
        between("engagement_is_not_negative", "engagement_rate", 0, LARGEST_COUNT),
        between("durations_are_positive_or_unknown", "duration_ms", 1),
        never("an_average_needs_a_session", "average_without_sessions"),
        never("a_week_is_part_of_all_time", "more_in_a_week_than_ever"),
        never("counts_are_within_the_sessions", "more_than_the_sessions", severity="warning"),
        # Of the catalogue, which others write.
        *(
            between("catalogue_counts_are_not_negative", name, 0, severity="warning")
            for name in _CATALOGUE_COUNTS
        ),
    ),
)

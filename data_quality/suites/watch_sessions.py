"""Watch sessions (contract R1.2): every figure follows from the others as the contract says."""

from data_quality.contracts import FINISHED_RATIO
from data_quality.suites.base import (
    TableSuite,
    between,
    counts,
    mean_between,
    never,
    not_empty,
    not_missing,
    one_of,
    unique,
)
from data_quality.training_set_suite import TOLERANCE
from data_quality.windows import DATA_CLOCK

VALID_VIEW_MS = 300  # contract R1.2: a view is valid if it lasted longer
A_DAY_MS = 86_400_000

_GRAIN = ("session_id", "user_id", "video_id")
_FLAGS = ("is_finished", "is_valid_view", "scrolled_in", "scrolled_out", "was_played")
_COUNTS = (
    *("num_pauses", "num_resumes", "num_replays"),
    *("num_likes", "num_comments", "num_shares", "num_follows", "num_saves"),
)
_COLUMNS = (
    *_GRAIN,
    *("started_at", "ended_at", "total_watch_time_ms", "effective_watch_time_ms", "video_duration_ms"),
    *("watch_time_ratio", "exit_reason", "num_events"),
    *_FLAGS,
    *_COUNTS,
)

SUITE = TableSuite(
    table="watch_sessions",
    key="session_id, user_id, video_id",
    recent=f"last_hour >= ({DATA_CLOCK}) - INTERVAL 1 DAY",
    columns=_COLUMNS,
    derived={
        "exit_reason": "toString(exit_reason)",
        "elapsed_ms": "dateDiff('millisecond', started_at, ended_at)",
        "watched_after_the_end_ms": (
            "total_watch_time_ms - greatest(dateDiff('millisecond', started_at, ended_at), 0)"
        ),
        "effective_beyond_total_ms": "effective_watch_time_ms - greatest(total_watch_time_ms, 0)",
        # Relative, as a video watched a million times over has a ratio with fewer exact decimals.
        "ratio_error": (
            "if(video_duration_ms > 0, abs(watch_time_ratio * video_duration_ms - total_watch_time_ms)"
            " / greatest(abs(total_watch_time_ms), 1), NULL)"
        ),
        "finished_disagrees": f"is_finished IN (0, 1) AND is_finished != (watch_time_ratio >= {FINISHED_RATIO})",
        "valid_view_disagrees": (
            f"is_valid_view IN (0, 1) AND is_valid_view != (total_watch_time_ms > {VALID_VIEW_MS})"
        ),
        "is_played": "was_played = 1",
        "watched_unplayed": "was_played = 0 AND total_watch_time_ms > 0",
        "more_acts_than_events": " + ".join(_COUNTS) + " > greatest(num_events, 1)",
    },
    statements=(
        not_empty(),
        *not_missing(*_COLUMNS),
        unique("one_row_per_session_user_and_video", *_GRAIN),
        *(one_of("flags_are_0_or_1", name, [0, 1]) for name in _FLAGS),
        *counts(*_COUNTS),
        between("a_session_has_an_event", "num_events", 1),
        never("acts_are_among_the_events", "more_acts_than_events"),
        between("sessions_end_after_they_start", "elapsed_ms", 0),
        between("watch_time_is_not_negative", "total_watch_time_ms", 0),
        between("watch_time_fits_into_the_session", "watched_after_the_end_ms", high=0),
        between("effective_time_is_not_negative", "effective_watch_time_ms", 0),
        between("effective_time_is_part_of_the_total", "effective_beyond_total_ms", high=0),
        between("durations_are_positive", "video_duration_ms", 1),
        between("ratio_is_watch_time_by_duration", "ratio_error", 0, TOLERANCE),
        never("finished_is_a_ratio_from_0_9", "finished_disagrees"),
        never("valid_views_are_longer_than_300_ms", "valid_view_disagrees"),
        never("what_was_not_played_was_not_watched", "watched_unplayed"),
        one_of(
            "exit_reason_is_one_of_the_contract",
            "exit_reason",
            ["scroll", "end_video", "close_app", "click_other"],
        ),
        # A session left open, or a device that slept: odd, but the events say so.
        between("nobody_watches_for_a_day", "total_watch_time_ms", high=A_DAY_MS, severity="warning"),
        mean_between("some_sessions_play", "is_played", 0.01, 1, severity="warning"),
    ),
)

"""Every data test of the marts can fail: plant the defect it is for, and it says so."""

import pytest

from .warehouse import Event, Warehouse

DEFECTS = {
    "INSERT INTO watch_sessions SELECT * FROM watch_sessions WHERE session_id = 'b'": {
        "watch_sessions_grain_is_unique",
        "every_event_is_in_one_session",
        "features_reconcile_with_sessions",
    },
    "ALTER TABLE watch_sessions UPDATE watch_time_ratio = 0.3 WHERE session_id = 'a'": {
        "watch_sessions_ratio_is_total_over_duration",
    },
    "ALTER TABLE watch_sessions UPDATE total_watch_time_ms = 30001 WHERE session_id = 'a'": {
        "watch_sessions_times_are_in_order",
    },
    "ALTER TABLE watch_sessions UPDATE effective_watch_time_ms = -1 WHERE session_id = 'b'": {
        "watch_sessions_effective_time_is_part_of_total",
    },
    "ALTER TABLE watch_sessions UPDATE is_finished = 1 WHERE session_id = 'b'": {
        "watch_sessions_flags_follow_from_the_figures",
    },
    "ALTER TABLE watch_sessions UPDATE ended_at = '2100-01-01 00:00:00.000' WHERE session_id = 'b'": {
        "no_session_is_in_the_future",
    },
    "ALTER TABLE user_features UPDATE unique_videos_watched = 2 WHERE user_id = 'u1'": {
        "user_features_counts_are_consistent",
    },
    "ALTER TABLE user_features UPDATE avg_completion_ratio = NULL WHERE user_id = 'u1'": {
        "user_features_averages_are_null_without_a_session",
    },
    "ALTER TABLE video_features UPDATE plays_7d = plays_cumulative + 1 WHERE video_id = 'v1'": {
        "video_features_counts_are_consistent",
    },
    "ALTER TABLE video_features UPDATE retention_rate = 1.5 WHERE video_id = 'v1'": {
        "video_features_rates_are_shares_of_the_sessions",
    },
    "INSERT INTO user_features SELECT * FROM user_features": {"unique_user_features_user_id"},
    "INSERT INTO video_features SELECT * FROM video_features": {"unique_video_features_video_id"},
    "INSERT INTO stg_users (user_id, gender) VALUES ('u1', 'f')": {
        "accepted_values_stg_users_gender__male__female__unknown",
        "unique_stg_users_user_id",
    },
    "INSERT INTO stg_videos (video_id, duration_ms) VALUES ('v1', 0)": {
        "stg_videos_duration_is_positive_or_unknown",
        "unique_stg_videos_video_id",
    },
}
DATA_TESTS = ("test", "--exclude-resource-type", "unit_test")


@pytest.fixture
def built(warehouse: Warehouse) -> Warehouse:
    warehouse.catalogue("INSERT INTO users (user_id) VALUES ('u1')")
    warehouse.catalogue("INSERT INTO videos (video_id, creator_id) VALUES ('v1', 'c')")
    warehouse.add(
        [Event("a", "view_start", 0), Event("a", "view_end", 30), Event("b", "scroll_pass", 40, feed_rank=1)]
    )
    warehouse.dbt("run")
    return warehouse


def test_every_defect_fails_its_tests_and_no_other_fails(built: Warehouse) -> None:
    built.dbt(*DATA_TESTS)  # raises if one fails
    for defect in DEFECTS:
        built.client.command(
            f"{defect} SETTINGS mutations_sync = 2" if defect.startswith("ALTER") else defect
        )
    _, messages = built.try_dbt(*DATA_TESTS)
    assert {message.split(":")[0] for message in messages} == set().union(*DEFECTS.values())


def test_a_session_that_is_missing_or_has_no_events_is_reported(built: Warehouse) -> None:
    built.client.command("DELETE FROM watch_sessions WHERE session_id = 'b'")
    built.client.command("DELETE FROM playback_events WHERE session_id = 'a'")
    _, messages = built.try_dbt("test", "-s", "every_event_is_in_one_session")
    assert [message.split(",")[0] for message in messages] == [
        "every_event_is_in_one_session: fail: Got 2 results"
    ]

"""Every data test of the marts can fail: plant the defect it is for, and it says so."""

import pytest

from .warehouse import Event, Warehouse

DEFECTS = {
    "INSERT INTO int_session_states SELECT * FROM int_session_states WHERE session_id = 'b'": {
        "int_session_states_grain_is_unique",
        "watch_sessions_grain_is_unique",
        "every_event_is_in_one_session",
        "every_session_has_one_latest_state",
        "features_reconcile_with_sessions",
        "daily_user_activity_adds_up_to_the_sessions",
        "daily_video_activity_adds_up_to_the_sessions",
    },
    "ALTER TABLE int_session_states UPDATE watch_time_ratio = -0.3 WHERE session_id = 'a'": {
        "watch_sessions_ratio_is_total_over_duration",
        "interactions_rating_and_weight_are_in_range",
    },
    "ALTER TABLE int_session_states UPDATE total_watch_time_ms = 30001 WHERE session_id = 'a'": {
        "watch_sessions_times_are_in_order",
    },
    "ALTER TABLE int_session_states UPDATE effective_watch_time_ms = -1 WHERE session_id = 'b'": {
        "watch_sessions_effective_time_is_part_of_total",
    },
    "ALTER TABLE int_session_states UPDATE is_finished = 1 WHERE session_id = 'b'": {
        "watch_sessions_flags_follow_from_the_figures",
    },
    "ALTER TABLE int_session_states UPDATE ended_at = '2100-01-01 00:00:00.000' WHERE session_id = 'b'": {
        "no_session_is_in_the_future",
        "int_session_states_lie_in_their_hour_and_end_when_the_next_begins",
        "int_session_changes_belong_to_their_hour",
    },
    "INSERT INTO int_daily_user_activity SELECT * FROM int_daily_user_activity": {
        "int_daily_user_activity_grain_is_unique",
        "daily_tables_agree",
    },
    "INSERT INTO int_daily_video_activity SELECT * FROM int_daily_video_activity": {
        "int_daily_video_activity_grain_is_unique",
    },
    "ALTER TABLE int_daily_user_activity UPDATE likes = -1 WHERE 1": {
        "int_daily_user_activity_only_ends_are_taken_back",
    },
    "ALTER TABLE int_daily_video_activity UPDATE likes = -2 WHERE 1": {
        "int_daily_video_activity_only_ends_are_taken_back",
    },
    "ALTER TABLE trending_videos UPDATE plays_7d = plays_cumulative + 1, is_trending = false WHERE 1": {
        "trending_videos_counts_are_consistent",
        "trending_videos_are_the_first_with_a_play",
    },
    "ALTER TABLE user_engagement UPDATE engagement_score = -1 WHERE 1": {
        "user_engagement_follows_from_the_counts",
        "user_engagement_is_of_sessions_and_not_negative",
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
    # No importer lets it through; no statement but a defect's own writes the table otherwise.
    "INSERT INTO playback_events (user_id, session_id, video_id) VALUES ('', 's', 'v')": {
        "stg_playback_events_have_an_id_of_everything",
    },
    "INSERT INTO playback_events (event_id, user_id, session_id, video_id) "
    "SELECT event_id, 'u1', 'another', 'v1' FROM playback_events WHERE session_id = 'a' LIMIT 1": {
        "an_event_is_of_one_session",
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
        built.client.command(defect, settings={"mutations_sync": 2})
    _, messages = built.try_dbt(*DATA_TESTS)
    assert {message.split(":")[0] for message in messages} == set().union(*DEFECTS.values())


def test_a_session_that_is_missing_or_has_no_events_is_reported(built: Warehouse) -> None:
    built.client.command("DELETE FROM int_session_states WHERE session_id = 'b'")
    built.client.command("DELETE FROM playback_events WHERE session_id = 'a'")
    _, messages = built.try_dbt("test", "-s", "every_event_is_in_one_session")
    assert [message.split(",")[0] for message in messages] == [
        "every_event_is_in_one_session: fail: Got 2 results"
    ]

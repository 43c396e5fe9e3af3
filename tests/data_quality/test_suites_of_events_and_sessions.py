"""Each statement about events and sessions fails for its bad row, and each bad row for its statements only."""

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from .quality_tables import NOON, Tables, counted, failed, stated

LATER = datetime.now(UTC) + timedelta(days=2)
AHEAD = "minutes_ahead_of_arrival"

EVENTS: list[tuple[dict[str, Any], set[tuple[str, str]]]] = [
    ({"user_id": ""}, {("ids_have_1_to_200_characters", "user_id_length")}),
    ({"video_id": "v" * 201}, {("ids_have_1_to_200_characters", "video_id_length")}),
    ({"session_id": ""}, {("ids_have_1_to_200_characters", "session_id_length")}),
    ({"event_type": "viewed"}, {("event_type_is_one_of_the_contract", "event_type")}),
    ({"device_type": "fridge"}, {("device_type_is_one_of_the_contract", "device_type")}),
    ({"network_type": "6g"}, {("network_type_is_one_of_the_contract", "network_type")}),
    ({"position_index": -1}, {("positions_are_not_negative", "position_index")}),
    ({"playback_position_ms": -1}, {("positions_are_not_negative", "playback_position_ms")}),
    ({"scroll_speed_ms": -0.5}, {("scroll_speed_is_a_duration", "scroll_speed_ms")}),
    ({"scroll_speed_ms": math.nan}, {("scroll_speed_is_a_duration", "scroll_speed_ms")}),
    ({"time_of_day": 24}, {("time_of_day_is_an_hour", "time_of_day")}),
    ({"time_of_day": 20}, {("time_of_day_is_the_hour_of_the_timestamp", "hour_disagrees")}),
    ({"day_of_week": 0}, {("day_of_week_is_from_monday_1_to_sunday_7", "day_of_week")}),
    ({"day_of_week": 7}, {("day_of_week_is_the_day_of_the_timestamp", "weekday_disagrees")}),
    (
        {"impression_timestamp": datetime(1990, 1, 1, 12, tzinfo=UTC)},  # a Monday
        {("timestamps_lie_in_this_century", "impression_year")},
    ),
    (
        {
            "created_at": datetime(1990, 1, 1, tzinfo=UTC),
            "impression_timestamp": datetime(1990, 1, 1, 12, tzinfo=UTC),
        },
        {
            ("timestamps_lie_in_this_century", "impression_year"),
            ("arrivals_lie_in_this_century", "arrival_year"),
            ("events_happen_before_they_arrive", AHEAD),
        },
    ),
    ({"created_at": LATER}, {("nothing_arrives_in_the_future", "arrival_hours_ahead_of_now")}),
    ({"created_at": NOON - timedelta(minutes=6)}, {("events_happen_before_they_arrive", AHEAD)}),
    ({"geo_location": "48.8566, 2.3522"}, {("locations_are_coarse", "location_has_coordinates")}),
]
SESSIONS: list[tuple[dict[str, Any], set[tuple[str, str]]]] = [
    *(
        ({name: 2}, {("flags_are_0_or_1", name)})
        for name in ("is_finished", "is_valid_view", "scrolled_in", "scrolled_out", "was_played")
    ),
    *(
        ({name: -1}, {("counts_are_not_negative", name)})
        for name in (
            *("num_pauses", "num_resumes", "num_replays"),
            *("num_likes", "num_comments", "num_shares", "num_follows", "num_saves"),
        )
    ),
    ({"num_events": 0, "num_pauses": 0, "num_resumes": 0}, {("a_session_has_an_event", "num_events")}),
    ({"num_likes": 9}, {("acts_are_among_the_events", "more_acts_than_events")}),
    (
        {
            **{
                "ended_at": NOON - timedelta(seconds=1),
                "total_watch_time_ms": 0,
                "effective_watch_time_ms": 0,
            },
            **{"watch_time_ratio": 0.0, "is_valid_view": 0},
        },
        {("sessions_end_after_they_start", "elapsed_ms")},
    ),
    (
        {
            **{"total_watch_time_ms": -40_000, "effective_watch_time_ms": 0, "watch_time_ratio": -1.0},
            "is_valid_view": 0,
        },
        {("watch_time_is_not_negative", "total_watch_time_ms")},
    ),
    (
        {"ended_at": NOON + timedelta(milliseconds=19_999)},
        {("watch_time_fits_into_the_session", "watched_after_the_end_ms")},
    ),
    ({"effective_watch_time_ms": -1}, {("effective_time_is_not_negative", "effective_watch_time_ms")}),
    (
        {"effective_watch_time_ms": 20_001},
        {("effective_time_is_part_of_the_total", "effective_beyond_total_ms")},
    ),
    ({"video_duration_ms": 0}, {("durations_are_positive", "video_duration_ms")}),
    ({"watch_time_ratio": 0.51}, {("ratio_is_watch_time_by_duration", "ratio_error")}),
    ({"watch_time_ratio": math.nan}, {("ratio_is_watch_time_by_duration", "ratio_error")}),
    ({"is_finished": 1}, {("finished_is_a_ratio_from_0_9", "finished_disagrees")}),
    ({"is_valid_view": 0}, {("valid_views_are_longer_than_300_ms", "valid_view_disagrees")}),
    ({"was_played": 0}, {("what_was_not_played_was_not_watched", "watched_unplayed")}),
    ({"exit_reason": "bored"}, {("exit_reason_is_one_of_the_contract", "exit_reason")}),
    (
        {
            **{"ended_at": NOON + timedelta(days=2), "total_watch_time_ms": 86_400_001},
            **{"video_duration_ms": 172_800_002, "is_valid_view": 1},
        },
        {("nobody_watches_for_a_day", "total_watch_time_ms")},
    ),
]
CASES = {"playback_events": EVENTS, "watch_sessions": SESSIONS}
# Of many rows or of the table as a whole, in the tests further down.
OF_MANY = {
    "playback_events": {("almost_all_events_happen_before_they_arrive", AHEAD)},
    "watch_sessions": {
        ("one_row_per_session_user_and_video", "session_id, user_id, video_id"),
        ("some_sessions_play", "is_played"),
    },
}


@pytest.mark.parametrize("table", CASES)
def test_each_wrong_value_is_named_and_nothing_else_is(quality_tables: Tables, table: str) -> None:
    """All at once: a row that broke one statement more than it should would make that count too high."""
    quality_tables.fill(table, *(change for change, _ in CASES[table]), good=1000)
    expected = Counter(statement for _, statements in CASES[table] for statement in statements)
    assert counted(quality_tables.validate(table)) == expected


@pytest.mark.parametrize("table", CASES)
def test_every_statement_has_a_row_that_breaks_it(table: str) -> None:
    broken = {statement for _, statements in CASES[table] for statement in statements} | OF_MANY[table]
    # Missing values and an empty table have tests of their own, for all tables (test_table_checks.py).
    assert broken == stated(table)


def test_many_events_ahead_of_their_arrival_are_our_fault(quality_tables: Tables) -> None:
    ahead = {"created_at": NOON - timedelta(minutes=6)}
    quality_tables.fill("playback_events", *[ahead] * 5, good=95)
    assert quality_tables.validate("playback_events").success
    quality_tables.fill("playback_events", *[ahead] * 6, good=94)
    report = quality_tables.validate("playback_events")
    assert [(f.expectation, f.observed) for f in report.errors] == [
        ("almost_all_events_happen_before_they_arrive", "6 of 100 rows")
    ]


def test_a_session_twice_is_found(quality_tables: Tables) -> None:
    quality_tables.fill("watch_sessions", {"session_id": "k0"}, {"session_id": "k1"})
    report = quality_tables.validate("watch_sessions")
    assert [(f.expectation, f.observed) for f in report.failures] == [
        ("one_row_per_session_user_and_video", "2 repeated")
    ]


def test_no_session_that_plays_is_a_warning(quality_tables: Tables) -> None:
    silent = {
        **{"was_played": 0, "total_watch_time_ms": 0, "effective_watch_time_ms": 0},
        **{"watch_time_ratio": 0.0, "is_valid_view": 0},
    }
    quality_tables.fill("watch_sessions", *[silent] * 5, good=0)
    report = quality_tables.validate("watch_sessions")
    assert report.success
    assert failed(report) == {("some_sessions_play", "is_played")}

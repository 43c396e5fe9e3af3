"""Profiles of real tables, their past in the data or in `table_profiles`, and what is found in them."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from data_quality.profiles import profile, remember, remembered
from data_quality.watch import WATCHED, anomalies_of

from .quality_tables import Tables

START = datetime(2022, 5, 2, tzinfo=UTC)
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
EVENTS = WATCHED["playback_events"]
USERS = WATCHED["user_features"]


def fill_days(tables: Tables, *days: int, **change: Any) -> None:
    """Events of days of so many rows, one every minute; what `change` says is of the last day that is over."""
    rows = []
    for day, count in enumerate(days):
        for i in range(count):
            at = START + timedelta(days=day, minutes=i)
            extra = change if day == len(days) - 2 else {}
            rows.append({"impression_timestamp": at, "created_at": NOW, **extra})
    tables.fill("playback_events", *rows, good=0)


def found(tables: Tables, now: datetime = NOW) -> list[tuple[str, str]]:
    return [(a.metric, a.when) for a in anomalies_of(tables.client, EVENTS, now)[0]]


def test_a_profile_has_the_figures_of_each_day(quality_tables: Tables) -> None:
    rows = [
        {"impression_timestamp": START, "playback_position_ms": None, "created_at": NOW, "position_index": 3},
        {
            **{"impression_timestamp": START + timedelta(hours=1), "created_at": NOW + timedelta(hours=1)},
            **{"position_index": 5, "event_type": "like", "geo_location": ""},
        },
        {"impression_timestamp": START + timedelta(days=2), "created_at": NOW, "position_index": 7},
        {"impression_timestamp": datetime.now(UTC) + timedelta(days=9), "created_at": NOW},
    ]
    quality_tables.fill("playback_events", *rows, good=0)
    made = profile(quality_tables.client, EVENTS)
    assert list(made.days) == [date(2022, 5, 2), date(2022, 5, 4)]
    first = made.days[date(2022, 5, 2)]
    assert (first["rows"], first["null_rate.playback_position_ms"], first["share.like"]) == (2.0, 0.5, 0.5)
    assert (first["null_rate.geo_location"], first["share.view_start"]) == (0.5, 0.5)
    assert (first["mean.position_index"], first["min.position_index"], first["max.position_index"]) == (
        4,
        3,
        5,
    )
    assert made.newest == START + timedelta(days=2)  # what is yet to come does not count
    assert made.arrivals == (NOW, NOW + timedelta(hours=1))


def test_a_figure_of_nothing_is_left_out(quality_tables: Tables) -> None:
    quality_tables.fill("playback_events", {"playback_position_ms": None}, good=0)
    [figures] = profile(quality_tables.client, EVENTS).days.values()
    assert figures["null_rate.playback_position_ms"] == 1.0
    assert "mean.playback_position_ms" not in figures


def test_a_recorded_data_set_is_its_own_past_on_the_first_run(quality_tables: Tables) -> None:
    fill_days(quality_tables, 5, *[200] * 8, 210, 7)
    assert found(quality_tables) == []  # not the days at the ends, and not the years since
    fill_days(quality_tables, 5, *[200] * 8, 20, 7)
    assert found(quality_tables) == [("rows", "2022-05-11")]
    fill_days(quality_tables, 5, *[200] * 8, 0, 7)
    assert found(quality_tables) == [("rows", "2022-05-11")]


def test_with_too_few_days_nothing_is_said(quality_tables: Tables) -> None:
    fill_days(quality_tables, 5, *[200] * 6, 2, 7)
    assert found(quality_tables) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"geo_location": ""}, {"null_rate.geo_location"}),
        (
            {"scroll_speed_ms": 900.0},
            {f"{f}.scroll_speed_ms" for f in ("mean", "median", "p95", "min", "max")},
        ),
        ({"event_type": "pause"}, {"share.view_start"}),
    ],
)
def test_missing_values_and_ranges_of_the_last_full_day_are_judged(
    quality_tables: Tables, change: dict[str, Any], expected: set[str]
) -> None:
    fill_days(quality_tables, 5, *[200] * 8, 200, 7, **change)
    assert found(quality_tables) == sorted((metric, "2022-05-11") for metric in expected)


def test_a_small_day_is_judged_by_its_volume_only(quality_tables: Tables) -> None:
    fill_days(quality_tables, 5, *[99] * 8, 99, 7, geo_location="")
    assert found(quality_tables) == []


def test_a_table_that_went_quiet_is_late_by_its_own_rhythm(quality_tables: Tables) -> None:
    rows = [
        {"impression_timestamp": NOW - timedelta(hours=h), "created_at": NOW - timedelta(hours=h)}
        for h in range(30)
    ]
    quality_tables.fill("playback_events", *rows, good=0)
    assert found(quality_tables, NOW + timedelta(hours=2)) == []
    assert found(quality_tables, NOW + timedelta(hours=20)) == [("hours_since_the_last_arrival", "")]


@pytest.fixture
def users(quality_tables: Tables) -> Tables:
    quality_tables.client.command("DROP TABLE IF EXISTS table_profiles")
    return quality_tables


def check_users(tables: Tables, hour: int, rows: int, **change: Any) -> list[str]:
    at = NOW - timedelta(days=2) + timedelta(hours=hour)
    tables.fill("user_features", *[{"as_of": START, **change}] * rows, good=0)
    return [a.metric for a in anomalies_of(tables.client, USERS, at)[0]]


def test_a_table_that_is_replaced_is_compared_with_what_it_was(users: Tables) -> None:
    for hour in range(7):
        assert check_users(users, hour, 150) == []
    assert check_users(users, 7, 150) == []
    assert check_users(users, 8, 15) == ["rows"]
    assert check_users(users, 9, 150, region="") == ["null_rate.region"]
    assert check_users(users, 10, 0) == ["rows"]


def test_one_set_of_figures_an_hour_counts(users: Tables) -> None:
    for minute in range(20):
        at = NOW + timedelta(minutes=minute)
        users.fill("user_features", *[{"as_of": START}] * (100 + minute), good=0)
        assert anomalies_of(users.client, USERS, at)[0] == []
    past = remembered(users.client, "user_features", NOW + timedelta(days=1))
    assert past["rows"] == [119.0]
    assert remembered(users.client, "video_features", NOW) == {}


def test_the_past_is_in_order_and_not_of_the_future(users: Tables) -> None:
    for hour in (2, 0, 1):
        users.fill("user_features", *[{"as_of": START}] * (hour + 1), good=0)
        remember(users.client, profile(users.client, USERS), NOW + timedelta(hours=hour))
    assert remembered(users.client, "user_features", NOW + timedelta(hours=2))["rows"] == [1.0, 2.0]
    assert remembered(users.client, "user_features", NOW + timedelta(hours=3))["rows"] == [1.0, 2.0, 3.0]

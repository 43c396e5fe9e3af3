"""What is out of line with its past, and what is not: for any past."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_quality.anomalies import (
    MIN_HISTORY,
    Anomaly,
    complete_days,
    judge_extreme,
    judge_level,
    judge_share,
    judge_silence,
    judge_volume,
    past_of,
)

Judge = Callable[[str, float, list[float]], Anomaly | None]
JUDGES: list[Judge] = [judge_volume, judge_share, judge_level, judge_extreme]
NOW = datetime(2022, 5, 8, 12, tzinfo=UTC)
DAY = date(2022, 5, 8)

numbers = st.floats(-1e9, 1e9, allow_nan=False)
counts = st.integers(10, 10**9)


@pytest.mark.parametrize("judge", JUDGES)
@given(value=numbers, points=st.integers(MIN_HISTORY, 60))
def test_what_never_changed_and_does_not_is_no_anomaly(judge: Judge, value: float, points: int) -> None:
    assert judge("m", value, [value] * points) is None


@pytest.mark.parametrize("judge", JUDGES)
@given(value=numbers, history=st.lists(numbers, max_size=MIN_HISTORY - 1))
def test_with_too_short_a_past_nothing_is_an_anomaly(
    judge: Judge, value: float, history: list[float]
) -> None:
    assert judge("m", value, history) is None


@given(history=st.lists(counts, min_size=MIN_HISTORY, max_size=60), more=st.booleans())
def test_a_tenth_or_ten_times_the_usual_volume_always_is_one(history: list[int], more: bool) -> None:
    usual = sorted(history)[len(history) // 2]
    odd = [usual] * MIN_HISTORY + history  # the median of these may lie elsewhere: take it as it is
    middle = sorted(odd)[len(odd) // 2] if len(odd) % 2 else sum(sorted(odd)[len(odd) // 2 - 1 :][:2]) / 2
    found = judge_volume("rows", middle * 10 if more else middle / 10, odd)
    assert found is not None
    assert found.expected == middle
    assert (found.score > 0) == more


@given(history=st.lists(counts, min_size=MIN_HISTORY, max_size=60))
def test_no_rows_at_all_always_is_one(history: list[int]) -> None:
    assert judge_volume("rows", 0, history) is not None


@given(
    usual=st.integers(1000, 10**6),
    noise=st.lists(st.floats(0.9, 1.1), min_size=MIN_HISTORY + 1, max_size=40),
)
def test_a_tenth_of_noise_is_no_anomaly(usual: int, noise: list[float]) -> None:
    *history, value = [usual * factor for factor in noise]
    assert judge_volume("rows", value, history) is None
    assert judge_level("mean.x", value, history) is None
    assert judge_extreme("max.x", value, history) is None


def test_one_bad_day_in_the_past_does_not_hide_the_next() -> None:
    assert judge_volume("rows", 100, [1000] * 9 + [10]) is not None


def test_small_counts_are_allowed_the_noise_of_counting() -> None:
    assert judge_volume("rows", 1, [4] * 10) is None
    assert judge_volume("rows", 2500, [10_000] * 10) is not None


@pytest.mark.parametrize(("value", "anomaly"), [(0.0, False), (0.09, False), (0.11, True), (1.0, True)])
def test_a_null_rate_may_rise_by_less_than_a_tenth(value: float, anomaly: bool) -> None:
    assert (judge_share("null_rate.x", value, [0.0] * 10) is not None) == anomaly


@pytest.mark.parametrize(("value", "anomaly"), [(100.0, False), (129.0, False), (131.0, True), (60.0, True)])
def test_a_level_may_move_by_less_than_a_third(value: float, anomaly: bool) -> None:
    assert (judge_level("mean.x", value, [100.0] * 10) is not None) == anomaly


def test_a_new_extreme_is_nothing_odd_but_another_unit_is() -> None:
    assert judge_extreme("max.x", 60_000, [20_000] * 10) is None
    assert judge_extreme("max.x", 20_000_000, [20_000] * 10) is not None
    assert judge_extreme("min.x", -20_000, [0] * 10) is not None


def test_the_finding_says_what_was_seen_and_what_was_usual() -> None:
    found = judge_share("null_rate.x", 0.5, [0.1] * 9, "2022-05-08")
    assert found is not None
    assert (found.metric, found.observed, found.expected, found.past, found.when) == (
        *("null_rate.x", 0.5, 0.1, 9),
        "2022-05-08",
    )
    assert found.score == pytest.approx(24.0)


def test_a_day_that_is_not_over_and_the_first_do_not_count_and_one_without_rows_does() -> None:
    rows = {
        DAY - timedelta(days=4): 3.0,
        DAY - timedelta(days=3): 10.0,
        DAY - timedelta(days=1): 12.0,
        DAY: 1.0,
    }
    assert complete_days(rows, NOW) == {
        DAY - timedelta(days=3): 10.0,
        DAY - timedelta(days=2): 0.0,
        DAY - timedelta(days=1): 12.0,
    }
    assert complete_days({DAY: 5.0}, NOW) == {}
    assert complete_days({}, NOW) == {}


@given(rows=st.dictionaries(st.integers(0, 90), st.integers(0, 1000), min_size=1))
def test_the_day_of_the_newest_event_is_never_judged(rows: dict[int, int]) -> None:
    days = {DAY - timedelta(days=age): float(count) for age, count in rows.items()}
    newest = datetime.combine(max(days), datetime.min.time(), UTC)
    assert max(days) not in complete_days(days, newest)


def test_a_weekend_is_compared_with_weekends_once_there_are_enough() -> None:
    days = {DAY - timedelta(days=age): 1.0 if age % 7 else 5.0 for age in range(1, 57)}
    assert past_of(DAY, days) == [5.0] * 8
    seven_weeks = {day: rows for day, rows in days.items() if day > DAY - timedelta(days=43)}
    assert sorted(past_of(DAY, seven_weeks)) == [1.0] * 24 + [5.0] * 4
    assert DAY not in days


hours = st.integers(1, 10_000).map(lambda h: NOW - timedelta(hours=h))


@given(arrivals=st.lists(hours, max_size=23), later=st.integers(0, 10**5))
def test_a_recorded_data_set_is_never_late(arrivals: list[datetime], later: int) -> None:
    """However long it took to load, if that was within 23 different hours, and however long ago."""
    assert judge_silence(arrivals, NOW + timedelta(hours=later)) is None


def test_a_steady_table_is_late_after_three_of_its_usual_gaps() -> None:
    hourly = [NOW - timedelta(hours=h) for h in range(48)]
    assert judge_silence(hourly, NOW + timedelta(hours=3)) is None
    found = judge_silence(hourly, NOW + timedelta(hours=3, minutes=1))
    assert found is not None
    assert (found.expected, found.past) == (1.0, 47)
    daily = [NOW - timedelta(days=d) for d in range(30)]
    assert judge_silence(daily, NOW + timedelta(hours=71)) is None
    assert judge_silence(daily, NOW + timedelta(hours=73)) is not None

from datetime import datetime, timedelta
from typing import Any

import pytest

from data_quality.behaviour import NoHistoryError, comparison_windows, fetch_behaviour
from data_quality.drift import NotEnoughDataError, TooLittleDataError
from data_quality.windows import Window


@pytest.mark.parametrize(
    ("history", "current", "reference"),
    [
        (timedelta(days=400), 7, 90),
        (timedelta(days=30), 7, 23),
        (timedelta(days=14), 7, 7),
        (timedelta(days=5, hours=23), 2, 3),  # halves of five whole days
        (timedelta(days=2), 1, 1),
    ],
)
def test_the_windows_are_whole_days_within_the_history(
    as_of: datetime, history: timedelta, current: int, reference: int
) -> None:
    before, lately = comparison_windows(as_of - history, as_of)
    assert lately == Window(as_of, current)
    assert before == Window(as_of - timedelta(days=current), reference)


def test_less_than_two_days_are_no_history(as_of: datetime) -> None:
    with pytest.raises(NoHistoryError, match="1 day, 23:00:00"):
        comparison_windows(as_of - timedelta(days=1, hours=23), as_of)


def test_each_window_gets_its_own_sessions_with_extremes_capped(store: Any, as_of: datetime) -> None:
    store.client.insert("stg_videos", [["v0", "music"], ["v1", None]], ["video_id", "category"])
    store.add_session("too old", as_of - timedelta(days=98))
    store.add_session("reference", as_of - timedelta(days=97), 1.0)
    store.add_session("last of the reference", as_of - timedelta(days=7, milliseconds=1), video_id="v1")
    store.add_session(
        "first of the current", as_of - timedelta(days=7), 60.0, video_id="not in the catalogue"
    )
    store.add_session("at the end", as_of)
    found = fetch_behaviour(store.client, as_of=as_of)
    assert (found.current_window, found.current_is) == (Window(as_of, 7), "last days")
    assert found.reference_window == Window(as_of - timedelta(days=7), 90)
    columns = ["watch_time_ratio", "total_watch_time_ms", "hour", "is_finished", "category"]
    assert list(found.reference.columns) == columns
    assert sorted(found.reference.itertuples(index=False, name=None)) == [
        (0.5, 10_000, "11", False, "unknown"),
        (1.0, 20_000, "12", True, "music"),
    ]
    assert found.current.to_dict("records") == [
        dict(zip(columns, (2.0, 600_000, "12", True, "unknown"), strict=True))
    ]


def test_the_sample_is_bounded_and_the_same_each_time(store: Any, as_of: datetime) -> None:
    store.client.command(
        "INSERT INTO watch_sessions SELECT toString(number), 'u', 'v',"
        " fromUnixTimestamp64Milli({end:Int64} - 1000 * (number + 1), 'UTC') AS started, started, number, 20000,"
        " number / 20000, 0 FROM numbers(1209600)",  # one a second for 14 days
        parameters={"end": int(as_of.timestamp() * 1000)},
    )
    first = fetch_behaviour(store.client, as_of=as_of, max_rows=1000)
    assert (len(first.reference), len(first.current)) == (1000, 1000)
    assert first.current["total_watch_time_ms"].nunique() > 990  # spread, not the first thousand
    again = fetch_behaviour(store.client, as_of=as_of, max_rows=1000)
    assert again.current.equals(first.current)
    assert again.reference.equals(first.reference)


def test_no_sessions_are_no_history(store: Any, as_of: datetime) -> None:
    with pytest.raises(NoHistoryError, match="no watch session in the 97 days"):
        fetch_behaviour(store.client, as_of=as_of)


@pytest.fixture
def hourly(store: Any, as_of: datetime) -> Any:
    """A session an hour for 20 days up to `as_of`."""
    store.client.command(
        "INSERT INTO watch_sessions SELECT toString(number), 'u', 'v',"
        " fromUnixTimestamp64Milli({end:Int64} - 3600000 * (number + 1), 'UTC') AS started, started, 10000, 20000,"
        " 0.5, 0 FROM numbers(480)",
        parameters={"end": int(as_of.timestamp() * 1000)},
    )
    return store


def test_what_came_after_the_training_is_compared_with_what_was_trained_on(
    hourly: Any, as_of: datetime
) -> None:
    trained_on = Window(as_of - timedelta(days=3, hours=5), 10)
    found = fetch_behaviour(hourly.client, as_of=as_of, reference=trained_on, min_rows=72)
    assert found.reference_window == trained_on
    assert (found.current_window, found.current_is) == (Window(as_of, 3), "since training")  # whole days
    assert (len(found.reference), len(found.current)) == (240, 72)


@pytest.mark.parametrize(
    ("since_training", "min_rows"),
    [
        (timedelta(days=3), 73),  # 72 sessions since
        (timedelta(hours=23), 1),  # less than a day
        (timedelta(0), 1),
        (-timedelta(days=1), 1),  # the clock was set back
    ],
)
def test_too_little_since_the_training_is_filled_up_to_the_last_days(
    hourly: Any, as_of: datetime, since_training: timedelta, min_rows: int
) -> None:
    trained_on = Window(as_of - since_training, 90)
    found = fetch_behaviour(hourly.client, as_of=as_of, reference=trained_on, min_rows=min_rows)
    assert (found.current_window, found.current_is) == (Window(as_of, 7), "last days")
    assert found.reference_window == trained_on
    assert len(found.current) == 7 * 24


def test_a_training_window_without_sessions_is_no_history(hourly: Any, as_of: datetime) -> None:
    with pytest.raises(NoHistoryError, match=r"no watch session in the training window \[2021-"):
        fetch_behaviour(hourly.client, as_of=as_of, reference=Window(as_of - timedelta(days=150), 90))


def test_too_little_data_is_one_kind_of_error() -> None:
    assert issubclass(NoHistoryError, TooLittleDataError)
    assert issubclass(NotEnoughDataError, TooLittleDataError)

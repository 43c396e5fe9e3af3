from datetime import datetime, timedelta
from typing import Any

import pytest

from data_quality.behaviour import NoHistoryError, comparison_windows, fetch_behaviour
from data_quality.training_set import Window


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
    assert found.current_window == Window(as_of, 7)
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

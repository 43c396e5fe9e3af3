"""What the training set is fetched from, on the real server."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from data_quality.training_set import (
    INTERACTIONS_SCHEMA,
    MET_SCHEMA,
    VIDEOS_SCHEMA,
    NoEventsError,
    TrainingSetEmptyError,
    data_clock,
    fetch_catalogue,
    fetch_interactions,
    fetch_met,
    watched_pairs,
)


def test_the_window_is_half_open_and_takes_no_session_still_running(store: Any, as_of: datetime) -> None:
    a_ms = timedelta(milliseconds=1)
    start = as_of - timedelta(days=90)
    store.add_session("before the window", start - a_ms)
    store.add_session("first in the window", start)
    store.add_session("ends at its end", as_of - timedelta(seconds=10))
    store.add_session("ends after it", as_of - timedelta(seconds=10) + a_ms)
    store.add_session("starts at its end", as_of, ended_at=as_of)
    found = fetch_interactions(store.client, as_of=as_of)
    assert found["session_id"].to_pylist() == ["first in the window", "ends at its end"]
    assert found["started_at"].to_pylist() == [start, as_of - timedelta(seconds=10)]
    ten_seconds = timedelta(seconds=10)
    assert found["ended_at"].to_pylist() == [start + ten_seconds, as_of]
    assert found.schema.equals(INTERACTIONS_SCHEMA)


def test_a_session_ends_with_its_last_event_not_with_the_play(store: Any, as_of: datetime) -> None:
    """A like after the play is part of the row, so the row is known only from then on."""
    start = as_of - timedelta(hours=1)
    store.add_session("liked at as_of", start, ended_at=as_of)
    store.add_session("liked after it", start, ended_at=as_of + timedelta(milliseconds=1))
    [row] = fetch_interactions(store.client, as_of=as_of).to_pylist()
    assert (row["session_id"], row["ended_at"]) == ("liked at as_of", as_of)


def test_a_ratio_must_be_above_the_filter(store: Any, as_of: datetime) -> None:
    for ratio in (0.0, 0.1, 0.10005, 2.0):
        store.add_session(f"{ratio}", as_of - timedelta(days=1), ratio)
    rows = fetch_interactions(store.client, as_of=as_of).sort_by("watch_time_ratio").to_pylist()
    assert [(r["session_id"], r["rating"], r["is_positive"]) for r in rows] == [
        ("0.10005", 5 * 0.10005, False),
        ("2.0", 5.0, True),
    ]


def test_nothing_in_the_window_is_an_error_that_names_it(store: Any, as_of: datetime) -> None:
    store.add_session("long ago", as_of - timedelta(days=8))
    with pytest.raises(TrainingSetEmptyError, match=r"7 days \[2022-05-01T12.* has watch_time_ratio > 0.2"):
        fetch_interactions(store.client, as_of=as_of, window_days=7, min_ratio=0.2)


def test_the_datas_clock_is_its_newest_event_but_never_in_the_future(store: Any) -> None:
    with pytest.raises(NoEventsError):
        data_clock(store.client)
    newest = datetime(2022, 5, 8, 15, 59, 59, 999_000, tzinfo=UTC)
    store.add_events(newest, newest - timedelta(days=3))
    assert data_clock(store.client) == newest
    store.add_events(datetime.now(UTC) + timedelta(days=365))
    assert abs(data_clock(store.client) - datetime.now(UTC)) < timedelta(minutes=5)


def test_watched_pairs_are_distinct_and_sorted(store: Any, as_of: datetime) -> None:
    for name, user, video in [("1", "u2", "v1"), ("2", "u1", "v2"), ("3", "u2", "v1"), ("4", "u1", "v1")]:
        store.add_session(name, as_of - timedelta(days=400), user_id=user, video_id=video)
    pairs = watched_pairs(store.client)
    assert pairs.to_pylist() == [
        {"user_id": "u1", "video_id": "v1"},
        {"user_id": "u1", "video_id": "v2"},
        {"user_id": "u2", "video_id": "v1"},
    ]


def test_a_pair_is_met_by_its_first_session_of_any_length_and_age_but_none_after_as_of(
    store: Any, as_of: datetime
) -> None:
    long_ago, lately = as_of - timedelta(days=400), as_of - timedelta(milliseconds=1)
    store.add_session("watched again", lately, user_id="u2", video_id="v1")
    store.add_session("scrolled past", long_ago, 0.0, user_id="u2", video_id="v1")
    store.add_session(
        "still running", lately, user_id="u1", video_id="v2", ended_at=as_of + timedelta(hours=1)
    )
    store.add_session("starts at as_of", as_of, user_id="u1", video_id="v1")
    found = fetch_met(store.client, as_of=as_of)
    assert found.schema.equals(MET_SCHEMA)
    assert found.to_pylist() == [
        {"user_id": "u1", "video_id": "v2", "first_met_at": lately},
        {"user_id": "u2", "video_id": "v1", "first_met_at": long_ago},
    ]


def test_the_catalogue_has_text_where_the_table_has_null(store: Any, as_of: datetime) -> None:
    uploaded = as_of - timedelta(days=3)
    names = [
        "video_id",
        "title",
        "language",
        "tags",
        "duration_ms",
        "upload_time",
        "is_trending",
        "view_count",
    ]
    rows = [["v2", "b", "", [], None, None, False, 0], ["v1", "a", "en", ["x"], 5000, uploaded, True, 9]]
    store.client.insert("stg_videos", rows, names)
    empty = {"creator_id": "", "description": "", "category": "", "thumbnail_url": "", "like_count": 0}
    found = fetch_catalogue(store.client)
    assert found.schema.equals(VIDEOS_SCHEMA)
    assert found.to_pylist() == [dict(zip(names, row, strict=True)) | empty for row in reversed(rows)]


def test_no_session_at_all_gives_no_pairs_and_an_empty_catalogue(store: Any) -> None:
    assert watched_pairs(store.client).num_rows == 0
    assert fetch_met(store.client, as_of=datetime(2022, 5, 8, tzinfo=UTC)).schema.equals(MET_SCHEMA)
    assert fetch_catalogue(store.client).schema.equals(VIDEOS_SCHEMA)

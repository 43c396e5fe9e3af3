import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_quality.training_set import (
    INTERACTIONS_SCHEMA,
    MET_SCHEMA,
    VIDEOS_SCHEMA,
    NoEventsError,
    TrainingSetEmptyError,
    Window,
    data_clock,
    epoch_ms,
    fetch_catalogue,
    fetch_interactions,
    fetch_met,
    from_epoch_ms,
    iso_ms,
    watched_pairs,
    write_training_set,
)

MakeInteractions = Callable[..., pa.Table]
MakeMet = Callable[[pa.Table], pa.Table]


def fingerprints(directory: Path) -> dict[str, str]:
    return {p.name: hashlib.md5(p.read_bytes()).hexdigest() for p in sorted(directory.iterdir())}


def test_the_same_rows_in_another_order_and_chunking_give_the_same_bytes(
    tmp_path: Path,
    make_interactions: MakeInteractions,
    make_met: MakeMet,
    catalogue: pa.Table,
    as_of: datetime,
) -> None:
    rows = make_interactions(50)
    shuffled = rows.take([(7 * i) % 50 for i in range(50)])
    chunked = pa.concat_tables([shuffled.slice(0, 13), shuffled.slice(13, 1), shuffled.slice(14)])
    reversed_videos = catalogue.take([3, 2, 1, 0])
    met = make_met(rows)
    shuffled_met = pa.concat_tables([met.slice(5), met.slice(0, 5)])
    write_training_set(tmp_path / "a", rows, catalogue, met=met, as_of=as_of)
    write_training_set(tmp_path / "b", chunked, reversed_videos, met=shuffled_met, as_of=as_of)
    assert fingerprints(tmp_path / "a") == fingerprints(tmp_path / "b")
    assert list(fingerprints(tmp_path / "a")) == [
        *("interactions.parquet", "meta.json", "videos.parquet", "watched.parquet")
    ]


def test_the_meta_file_states_window_filter_and_counts(
    tmp_path: Path,
    make_interactions: MakeInteractions,
    make_met: MakeMet,
    catalogue: pa.Table,
    as_of: datetime,
) -> None:
    expected = {
        "as_of": "2022-05-08T12:00:00.000Z",
        "window_start": "2022-02-07T12:00:00.000Z",
        "window_days": 90,
        "min_watch_time_ratio": 0.1,
        "rows": 6,
        "users": 3,
        "videos": 4,
        "positives": 3,
        "catalogue_videos": 4,
        "met_pairs": 6,
        "seed": 7,
    }
    rows = make_interactions(6)
    meta = write_training_set(tmp_path / "set", rows, catalogue, met=make_met(rows), as_of=as_of, seed=7)
    assert meta == expected
    text = (tmp_path / "set" / "meta.json").read_text()
    assert json.loads(text) == expected
    assert text == json.dumps(expected, indent=2, sort_keys=True) + "\n"


def test_the_files_have_the_promised_columns_and_order(
    tmp_path: Path,
    make_interactions: MakeInteractions,
    make_met: MakeMet,
    catalogue: pa.Table,
    as_of: datetime,
) -> None:
    tied = make_interactions(
        4, started_at=[as_of - timedelta(hours=1)] * 4, session_id=["b", "a", "a", "a"], user_id=["u"] * 4
    )
    write_training_set(tmp_path / "set", tied, catalogue, met=make_met(tied), as_of=as_of)
    interactions = pq.read_table(tmp_path / "set" / "interactions.parquet")
    assert interactions.schema.equals(INTERACTIONS_SCHEMA)
    assert pq.read_table(tmp_path / "set" / "videos.parquet").schema.equals(VIDEOS_SCHEMA)
    met = pq.read_table(tmp_path / "set" / "watched.parquet")
    assert met.schema.equals(MET_SCHEMA)
    assert met["video_id"].to_pylist() == ["v0", "v1", "v2", "v3"]
    assert interactions["session_id"].to_pylist() == ["a", "a", "a", "b"]
    assert interactions["video_id"].to_pylist() == ["v1", "v2", "v3", "v0"]


def test_an_empty_set_is_refused_and_the_one_before_it_stays(
    tmp_path: Path,
    make_interactions: MakeInteractions,
    make_met: MakeMet,
    catalogue: pa.Table,
    as_of: datetime,
) -> None:
    met = make_met(make_interactions(6))
    write_training_set(tmp_path / "set", make_interactions(6), catalogue, met=met, as_of=as_of)
    before = fingerprints(tmp_path / "set")
    with pytest.raises(TrainingSetEmptyError) as error:
        write_training_set(tmp_path / "set", make_interactions(0), catalogue, met=met, as_of=as_of)
    assert str(error.value) == (
        "no interaction in the 90 days [2022-02-07T12:00:00.000Z, 2022-05-08T12:00:00.000Z)"
        " has watch_time_ratio > 0.1"
    )
    assert fingerprints(tmp_path / "set") == before


def test_a_value_that_does_not_fit_its_type_is_not_cut_to_fit(
    tmp_path: Path,
    make_interactions: MakeInteractions,
    make_met: MakeMet,
    catalogue: pa.Table,
    as_of: datetime,
) -> None:
    rows = make_interactions(2)
    position = rows.schema.get_field_index("total_watch_time_ms")
    fractional = rows.set_column(position, "total_watch_time_ms", pa.array([0.5, 1.0]))
    with pytest.raises(pa.ArrowInvalid):
        write_training_set(tmp_path / "set", fractional, catalogue, met=make_met(rows), as_of=as_of)
    assert not (tmp_path / "set").exists()


def test_milliseconds_survive_the_way_to_the_store_and_back() -> None:
    # 0.999 s is not a float: timestamp() * 1000 cut to an integer loses a millisecond for such times.
    for millisecond in range(1000):
        moment = datetime(2022, 5, 8, 15, 59, 59, millisecond * 1000, tzinfo=UTC)
        assert from_epoch_ms(epoch_ms(moment)) == moment
    assert iso_ms(datetime(2022, 5, 8, 15, 59, 59, 999_000, tzinfo=UTC)) == "2022-05-08T15:59:59.999Z"
    with pytest.raises(ValueError, match="2022-05-08T00:00:00 names no time zone"):
        epoch_ms(datetime(2022, 5, 8))  # noqa: DTZ001


# --- Against the real server ------------------------------------------------------------------------------------


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


def test_a_window_is_written_as_a_half_open_interval(as_of: datetime) -> None:
    assert str(Window(as_of, 1)) == "[2022-05-07T12:00:00.000Z, 2022-05-08T12:00:00.000Z)"

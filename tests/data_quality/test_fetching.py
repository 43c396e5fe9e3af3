"""What the training set is fetched from, on the real server."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_quality.training_rows import (
    TrainingRowsChangedError,
    fetch_catalogue,
    stream_interactions,
    stream_met,
    training_rows,
)
from data_quality.training_set import (
    MET_SCHEMA,
    TRAINING_SCHEMA,
    VIDEOS_SCHEMA,
    NoEventsError,
    TrainingSetEmptyError,
    data_clock,
    export_training_set,
    normalised_catalogue,
    watched_pairs,
)
from data_quality.windows import Window, epoch_ms


def fetch_met(client: Any, as_of: datetime) -> pa.Table:
    tables = [table.cast(MET_SCHEMA) for table in stream_met(client, as_of=as_of)]
    return pa.concat_tables([MET_SCHEMA.empty_table(), *tables])


@pytest.fixture
def rows_of_hours(store: Any, as_of: datetime) -> Any:
    """Rows at 9:10 (two), 9:20, 10:00, 11:59 and 14:00 of the day before `as_of`."""
    day = as_of.replace(hour=0) - timedelta(days=1)
    for name, hour, minute in [
        ("e", 14, 0),
        ("c", 10, 0),
        ("b", 9, 20),
        ("d", 11, 59),
        ("a2", 9, 10),
        ("a1", 9, 10),
    ]:
        store.add_training_row(name, day + timedelta(hours=hour, minutes=minute))
    return store


def test_a_row_has_the_features_of_the_start_of_its_own_hour(rows_of_hours: Any) -> None:
    rows = training_rows(rows_of_hours.client)
    found = pa.concat_tables(stream_interactions(rows_of_hours.client, rows))
    assert [
        (r["session_id"], r["user_sessions"], r["video_plays_cumulative"], r["user_engaged_share"])
        for r in found.to_pylist()
    ] == [
        *(("a1", 9, 90, None), ("a2", 9, 90, None), ("b", 9, 90, None), ("c", 10, 100, None)),
        *(("d", 11, 110, None), ("e", 14, 140, None)),
    ]


def test_pieces_are_whole_hours_and_give_the_same_rows_whatever_their_size(rows_of_hours: Any) -> None:
    client = rows_of_hours.client
    rows = training_rows(client)
    assert rows.window == Window(datetime(2022, 5, 8, 12, tzinfo=UTC), 90)
    assert rows.rows == 6
    whole = pa.concat_tables(stream_interactions(client, rows))
    for chunk_rows, sizes in [(1, [3, 1, 1, 1]), (4, [4, 2]), (6, [6])]:
        pieces = list(stream_interactions(client, rows, chunk_rows))
        assert [piece.num_rows for piece in pieces] == sizes
        assert pa.concat_tables(pieces).equals(whole)


def test_nobody_is_known_of_whom_nothing_is_known(store: Any, as_of: datetime) -> None:
    """Not a zero, which would be a claim: the validation finds the null."""
    store.add_training_row("s", as_of - timedelta(hours=1))
    store.client.command("TRUNCATE TABLE user_features_hourly")
    [found] = stream_interactions(store.client, training_rows(store.client))
    assert found["user_sessions"].to_pylist() == [None]


def test_no_training_row_is_an_error(store: Any) -> None:
    with pytest.raises(TrainingSetEmptyError, match="training_interactions has no row"):
        training_rows(store.client)


def test_tables_built_anew_while_they_are_read_make_no_set(rows_of_hours: Any, tmp_path: Path) -> None:
    client = rows_of_hours.client
    pieces = stream_interactions(client, training_rows(client), chunk_rows=1)
    next(pieces)
    rows_of_hours.add_training_row("new", datetime(2022, 5, 7, 20, tzinfo=UTC))
    with pytest.raises(TrainingRowsChangedError):
        list(pieces)


def test_an_export_is_what_the_tables_hold(rows_of_hours: Any, tmp_path: Path, as_of: datetime) -> None:
    rows_of_hours.add_session("met", as_of - timedelta(days=1))
    meta = export_training_set(rows_of_hours.client, tmp_path / "set", seed=3)
    assert {
        k: meta[k] for k in ("as_of", "window_days", "min_watch_time_ratio", "rows", "met_pairs", "seed")
    } == {
        "as_of": "2022-05-08T12:00:00.000Z",
        "window_days": 90,
        "min_watch_time_ratio": 0.1,
        "rows": 6,
        "met_pairs": 1,
        "seed": 3,
    }
    written = pq.read_table(tmp_path / "set" / "interactions.parquet")
    assert written.schema.equals(TRAINING_SCHEMA)
    assert written["session_id"].to_pylist() == ["a1", "a2", "b", "c", "d", "e"]
    assert epoch_ms(written["started_at"][0].as_py()) == epoch_ms(datetime(2022, 5, 7, 9, 10, tzinfo=UTC))


def test_the_datas_clock_is_its_newest_event_but_never_in_the_future(store: Any) -> None:
    with pytest.raises(NoEventsError):
        data_clock(store.client)
    newest = datetime(2022, 5, 8, 15, 59, 59, 999_000, tzinfo=UTC)
    store.add_events(newest, newest - timedelta(days=3))
    assert data_clock(store.client) == newest
    store.add_events(datetime.now(UTC) + timedelta(days=365))  # one device's clock moves nobody's window
    assert data_clock(store.client) == newest


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
    found = fetch_met(store.client, as_of)
    assert found.schema.equals(MET_SCHEMA)
    assert found.to_pylist() == [
        {"user_id": "u1", "video_id": "v2", "first_met_at": lately},
        {"user_id": "u2", "video_id": "v1", "first_met_at": long_ago},
    ]


def test_the_catalogue_has_text_where_the_table_has_null(store: Any, as_of: datetime) -> None:
    uploaded = as_of - timedelta(days=3)
    names = ["video_id", "title", "language", "tags", "duration_ms", "upload_time"]
    rows = [["v2", "b", "", [], None, None], ["v1", "a", "en", ["x"], 5000, uploaded]]
    store.client.insert("stg_videos", rows, names)
    empty = {"creator_id": "", "description": "", "category": "", "thumbnail_url": ""}
    found = normalised_catalogue(fetch_catalogue(store.client))
    assert found.schema.equals(VIDEOS_SCHEMA)
    assert found.to_pylist() == [dict(zip(names, row, strict=True)) | empty for row in reversed(rows)]


def test_no_session_at_all_gives_no_pairs_and_an_empty_catalogue(store: Any) -> None:
    assert watched_pairs(store.client).num_rows == 0
    assert fetch_met(store.client, datetime(2022, 5, 8, tzinfo=UTC)).schema.equals(MET_SCHEMA)
    assert normalised_catalogue(fetch_catalogue(store.client)).schema.equals(VIDEOS_SCHEMA)

"""What is known of videos and people: read from files old and new, with errors that name the file and the column."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ml.catalogue import Catalogue, People
from ml.dataset import UNKNOWN_MS, Known, Watched
from ml.errors import TrainingSetError
from ml.training_set import TrainingSet
from tests.ml.planted import (
    HOUR_MS,
    START_MS,
    catalogue,
    everybody,
    interactions,
    known,
    met,
    taste_videos,
    write_folder,
)

ROWS = [("u2", "b", 1, 0.5), ("u1", "a", 0, 1.0), ("u2", "a", 2, 0.8)]
OPTIONAL = ("title", "description", "tags", "upload_time")


def write(path: Path, **columns: list | pa.Array) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def videos(path: Path, **columns: list | pa.Array) -> Path:
    """Two videos with all that is required, and what else is given."""
    needed = {
        "video_id": ["b", "a"],
        "creator_id": ["x", "y"],
        "category": ["music", None],
        "language": pa.array([None, None], pa.string()),
        "duration_ms": pa.array([1000, None], pa.int64()),
    }
    return write(path, **{**needed, **columns})


def users(path: Path, **columns: list | pa.Array) -> Path:
    needed = {
        "user_id": ["u2", "u1"],
        "age": pa.array([31, None], pa.int32()),
        "gender": ["female", None],
        "language": ["en", None],
        "region": ["eu", None],
        "device_type": ["ios", None],
    }
    return write(path, **{**needed, **columns})


# --- videos ---------------------------------------------------------------------------------------------------


def test_a_catalogue_comes_back_as_it_was_written(tmp_path: Path) -> None:
    before = catalogue(taste_videos())
    folder = write_folder(tmp_path, interactions(ROWS), before)
    after = Catalogue.from_parquet(folder / "videos.parquet")
    for name, value in vars(before).items():
        assert list(getattr(after, name)) == list(value), name


def test_columns_that_older_files_lack_are_unknown(tmp_path: Path) -> None:
    found = Catalogue.from_parquet(videos(tmp_path / "videos.parquet"))
    assert found.video_ids.tolist() == ["b", "a"]
    assert (found.titles, found.descriptions) == (("", ""), ("", ""))
    assert found.tags == ((), ())
    assert found.upload_ms.tolist() == [UNKNOWN_MS, UNKNOWN_MS]


def test_nulls_are_unknown_each_in_its_own_way(tmp_path: Path) -> None:
    found = Catalogue.from_parquet(
        videos(
            tmp_path / "videos.parquet",
            title=["A song", None],
            description=[None, "About"],
            tags=pa.array([["39", None, "", "2"], None], pa.list_(pa.string())),
            upload_time=pa.array([START_MS, None], pa.timestamp("ms", tz="UTC")),
        )
    )
    assert found.categories.tolist() == ["music", ""]
    assert found.languages.tolist() == ["", ""]
    assert found.durations_ms.tolist() == [1000, UNKNOWN_MS]
    assert found.titles == ("A song", "")
    assert found.descriptions == ("", "About")
    assert found.tags == (("39", "2"), ())
    assert found.upload_ms.tolist() == [START_MS, UNKNOWN_MS]


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_times_of_any_unit_are_milliseconds(unit: str, tmp_path: Path) -> None:
    times = pa.array([1_650_000_000, None], pa.int64())
    factor = {"s": 1, "us": 10**6, "ns": 10**9}[unit]
    uploaded = pc.multiply(times, factor).cast(pa.timestamp(unit, tz="UTC"))
    found = Catalogue.from_parquet(videos(tmp_path / "videos.parquet", upload_time=uploaded))
    assert found.upload_ms.tolist() == [1_650_000_000_000, UNKNOWN_MS]


def test_times_without_a_zone_are_utc(tmp_path: Path) -> None:
    uploaded = pa.array([START_MS, None], pa.timestamp("ms"))
    found = Catalogue.from_parquet(videos(tmp_path / "videos.parquet", upload_time=uploaded))
    assert found.upload_ms.tolist() == [START_MS, UNKNOWN_MS]


@pytest.mark.parametrize("column", ["video_id", "creator_id", "category", "language", "duration_ms"])
def test_a_required_column_that_is_missing_is_named(column: str, tmp_path: Path) -> None:
    path = videos(tmp_path / "videos.parquet")
    pq.write_table(pq.read_table(path).drop_columns([column]), path)
    with pytest.raises(TrainingSetError, match=rf"videos\.parquet: lacks column {column}"):
        Catalogue.from_parquet(path)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", None], "video_id is empty in a row"),
        (["a", ""], "video_id is empty in a row"),
        (["a", "a"], "video_id 'a' appears more than once"),
        (["a", "x\0"], "video_id has a NUL character"),
    ],
)
def test_ids_that_cannot_be_are_named(ids: list, message: str, tmp_path: Path) -> None:
    path = videos(tmp_path / "videos.parquet", video_id=ids)
    with pytest.raises(TrainingSetError, match=rf"videos\.parquet: {message}"):
        Catalogue.from_parquet(path)


def test_a_catalogue_made_by_hand_knows_what_it_was_told() -> None:
    found = Catalogue.of(["a", "b"], titles=["One", "Two"], tags=[["x"], []])
    assert found.titles == ("One", "Two")
    assert found.tags == (("x",), ())
    assert found.creator_ids.tolist() == found.categories.tolist() == found.languages.tolist() == ["", ""]
    assert found.durations_ms.tolist() == found.upload_ms.tolist() == [UNKNOWN_MS] * 2
    assert len(Catalogue.of([])) == 0


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(TrainingSetError, match=r"videos\.parquet: columns differ in length: .*'titles': 1"):
        Catalogue.of(["a", "b"], titles=["One"])


def test_rows_are_found_in_a_catalogue_of_any_order() -> None:
    found = Catalogue.of(["c", "a", "b"]).rows_of(np.asarray(["a", "b", "zzz", "c", "a"]))
    assert found.tolist() == [1, 2, -1, 0, 1]
    assert Catalogue.of([]).rows_of(np.asarray(["a"])).tolist() == [-1]


# --- people ---------------------------------------------------------------------------------------------------


def test_people_come_back_as_they_were_written(tmp_path: Path) -> None:
    before = everybody(interactions(ROWS))
    write_folder(tmp_path, interactions(ROWS), catalogue(["a", "b"]), people=before)
    after = TrainingSet.load(tmp_path).people
    for name, value in vars(before).items():
        assert getattr(after, name).tolist() == value.tolist(), name


def test_nulls_of_a_profile_are_unknown(tmp_path: Path) -> None:
    found = People.from_parquet(users(tmp_path / "users.parquet"))
    assert found.ages.tolist() == [31, UNKNOWN_MS]
    for column in (found.genders, found.languages, found.regions, found.device_types):
        assert column[1] == ""
    assert found.rows_of(np.asarray(["u1", "u9"])).tolist() == [1, -1]


def test_a_training_set_from_before_there_were_profiles_has_nobody(tmp_path: Path) -> None:
    write_folder(tmp_path, interactions(ROWS), catalogue(["a", "b"]))
    assert not (tmp_path / "users.parquet").exists()
    assert len(TrainingSet.load(tmp_path).people) == 0
    assert len(People.nobody()) == 0
    assert People.nobody().rows_of(np.asarray(["u1"])).tolist() == [-1]


@pytest.mark.parametrize("column", ["user_id", "age", "gender", "language", "region", "device_type"])
def test_a_profile_column_that_is_missing_is_named(column: str, tmp_path: Path) -> None:
    path = users(tmp_path / "users.parquet")
    pq.write_table(pq.read_table(path).drop_columns([column]), path)
    with pytest.raises(TrainingSetError, match=rf"users\.parquet: lacks column {column}"):
        People.from_parquet(path)


def test_a_profile_that_is_there_twice_is_named(tmp_path: Path) -> None:
    path = users(tmp_path / "users.parquet", user_id=["u", "u"])
    with pytest.raises(TrainingSetError, match=r"users\.parquet: user_id 'u' appears more than once"):
        People.from_parquet(path)


def test_the_hash_follows_the_profiles(tmp_path: Path) -> None:
    rows, facts = interactions(ROWS), catalogue(["a", "b"])
    without = TrainingSet.load(write_folder(tmp_path / "without", rows, facts))
    with_people = TrainingSet.load(write_folder(tmp_path / "with", rows, facts, people=everybody(rows)))
    assert without.sha256 != with_people.sha256


# --- what is known at a time ----------------------------------------------------------------------------------


def test_what_is_known_is_known_just_after_the_newest_row_ended() -> None:
    everything = known(ROWS, ["a", "b"])
    assert everything.as_of_ms == int(everything.interactions.ended_at_ms.max()) + 1
    assert len(everything.people) == len(everything.watched.user_ids) == 0


def test_pairs_met_later_are_not_known() -> None:
    rows = interactions(ROWS)
    watched = met(rows, [("u1", "c", 1.5), ("u1", "d", 50)])
    now = START_MS + 2 * HOUR_MS
    found = Known.of(rows, catalogue(["a", "b"]), watched=watched, as_of_ms=now).watched
    pairs = sorted(zip(found.user_ids.tolist(), found.video_ids.tolist(), strict=True))
    assert pairs == [("u1", "a"), ("u1", "c"), ("u2", "b")]
    assert found.first_met_ms.max() < now


def test_nothing_is_known_of_no_rows() -> None:
    nothing = Known.of(interactions([]), catalogue(["a"]), everybody(interactions(ROWS)), Watched.nothing())
    assert nothing.as_of_ms == 0
    assert len(nothing.people) == 2


def test_a_training_set_says_what_was_known_of_some_of_its_rows(tmp_path: Path) -> None:
    rows = interactions(ROWS)
    write_folder(tmp_path, rows, catalogue(["a", "b"]), met(rows, [("u1", "b", 1.5)]), everybody(rows))
    data = TrainingSet.load(tmp_path)
    first = data.interactions.take(np.asarray([0, 1]))
    at_the_cut = data.known(first, START_MS + HOUR_MS + 1)
    assert len(at_the_cut.watched.user_ids) == 2
    assert len(at_the_cut.people) == 2
    assert len(data.known(data.interactions).watched.user_ids) == 4

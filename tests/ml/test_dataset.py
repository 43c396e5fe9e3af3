"""Reading the training-set folder, and refusing what cannot be trained on."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.dataset import UNKNOWN_MS, Catalogue, Encoded, Interactions
from ml.errors import ConfigurationError, EmptySplitError, EmptyTrainingSetError, TrainingSetError
from ml.ids import lookup, vocabulary
from ml.split import time_split
from ml.training_set import TrainingSet
from tests.ml.planted import HOUR_MS, START_MS, catalogue, interactions, met, write_folder

ROWS = [("u2", "b", 1, 0.5), ("u1", "a", 0, 2.0), ("u2", "a", 2, 0.8)]


def changed(folder: Path, file: str, column: str, values: list | None) -> Path:
    """The folder with one column replaced, or dropped if `values` is None."""
    table = pq.read_table(folder / file)
    at = table.schema.get_field_index(column)
    table = table.drop_columns([column]) if values is None else table.set_column(at, column, pa.array(values))
    pq.write_table(table, folder / file)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "set", interactions(ROWS), catalogue(["a", "b", "c"]))


def test_interactions_come_back_oldest_first_with_their_values(folder: Path) -> None:
    rows = Interactions.from_parquet(folder / "interactions.parquet")
    assert rows.user_ids.tolist() == ["u1", "u2", "u2"]
    assert rows.video_ids.tolist() == ["a", "b", "a"]
    assert rows.started_at_ms.tolist() == [START_MS, START_MS + HOUR_MS, START_MS + 2 * HOUR_MS]
    assert rows.ratings.tolist() == [5.0, 2.5, 4.0]
    assert rows.weights.tolist() == pytest.approx([1.0, 0.5, 0.8])
    assert rows.positives.tolist() == [True, False, True]


def test_rows_of_one_time_keep_the_order_of_the_file(tmp_path: Path) -> None:
    rows = interactions([("u", video, 0, 1.0) for video in "dacb"])
    folder = write_folder(tmp_path, rows, catalogue([]))
    assert Interactions.from_parquet(folder / "interactions.parquet").video_ids.tolist() == list("dacb")


def test_unknown_facts_of_a_video_have_their_own_value(folder: Path) -> None:
    changed(folder, "videos.parquet", "duration_ms", [1000, None, 3000])
    changed(folder, "videos.parquet", "category", ["x", None, "y"])
    videos = Catalogue.from_parquet(folder / "videos.parquet")
    assert videos.durations_ms.tolist() == [1000, UNKNOWN_MS, 3000]
    assert videos.categories.tolist() == ["x", "", "y"]


@pytest.mark.parametrize(
    ("file", "column", "values", "message"),
    [
        ("interactions.parquet", "rating", None, "interactions.parquet: lacks column rating"),
        ("interactions.parquet", "user_id", ["u", None, "u"], "interactions.parquet: user_id is empty"),
        ("interactions.parquet", "video_id", ["a", "", "b"], "interactions.parquet: video_id is empty"),
        ("interactions.parquet", "user_id", ["u", "x\0y", "u"], "user_id has a NUL"),
        ("interactions.parquet", "is_positive", [True, None, False], "is_positive is null"),
        (
            "interactions.parquet",
            "rating",
            [1.0, float("nan"), 2.0],
            "ratings: a value is negative or not finite",
        ),
        ("interactions.parquet", "weight", [1.0, -1.0, 2.0], "weights: a value is negative or not finite"),
        ("interactions.parquet", "ended_at", None, "interactions.parquet: lacks column ended_at"),
        ("watched.parquet", "user_id", ["u", None, "u"], "watched.parquet: user_id is empty"),
        ("watched.parquet", "first_met_at", [None] * 3, "watched.parquet: first_met_at is null"),
        ("videos.parquet", "creator_id", None, "videos.parquet: lacks column creator_id"),
        ("videos.parquet", "video_id", ["a", "b", "a"], "video_id 'a' appears more than once"),
    ],
)
def test_what_cannot_be_trained_on_is_named(
    folder: Path, file: str, column: str, values: list | None, message: str
) -> None:
    changed(folder, file, column, values)
    with pytest.raises(TrainingSetError, match=message):
        TrainingSet.load(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "videos.parquet").unlink()
    with pytest.raises(TrainingSetError, match=r"videos\.parquet: no such file"):
        TrainingSet.load(folder)


def test_a_file_that_is_not_parquet_is_named(folder: Path) -> None:
    (folder / "interactions.parquet").write_text("user_id,video_id\n")
    with pytest.raises(TrainingSetError, match=r"interactions\.parquet: not a parquet file"):
        TrainingSet.load(folder)


def test_a_training_set_without_rows_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, interactions([]), catalogue(["a"]))
    with pytest.raises(EmptyTrainingSetError, match="no rows"):
        TrainingSet.load(tmp_path)


def test_columns_of_different_length_are_refused() -> None:
    rows = interactions(ROWS)
    with pytest.raises(TrainingSetError, match="differ in length"):
        Interactions(**{**vars(rows), "ratings": rows.ratings[:2]})


def test_a_row_that_ends_before_it_starts_is_refused() -> None:
    rows = interactions(ROWS)
    with pytest.raises(TrainingSetError, match="ends before it starts"):
        Interactions(**{**vars(rows), "ended_at_ms": rows.started_at_ms - 1})


def test_pairs_met_before_a_time_are_those_first_met_before_it(folder: Path) -> None:
    watched = TrainingSet.load(folder).watched
    users, videos = watched.before(START_MS + 2 * HOUR_MS)
    assert sorted(zip(users.tolist(), videos.tolist(), strict=True)) == [("u1", "a"), ("u2", "b")]


def test_the_hash_follows_the_pairs_met(folder: Path, tmp_path: Path) -> None:
    rows = interactions(ROWS)
    other = write_folder(tmp_path / "other", rows, catalogue(["a", "b", "c"]), met(rows, [("u1", "c", 0)]))
    assert TrainingSet.load(folder).sha256 != TrainingSet.load(other).sha256


def test_the_hash_follows_the_content(folder: Path, tmp_path: Path) -> None:
    same = write_folder(tmp_path / "same", interactions(ROWS), catalogue(["a", "b", "c"]))
    other = write_folder(tmp_path / "other", interactions(ROWS), catalogue(["a", "b", "d"]))
    assert TrainingSet.load(folder).sha256 == TrainingSet.load(same).sha256
    assert TrainingSet.load(folder).sha256 != TrainingSet.load(other).sha256


def test_rows_are_encoded_against_the_whole_catalogue() -> None:
    data = Encoded.of(interactions([("u2", "z", 0, 1), ("u1", "a", 1, 1)]), catalogue(["b", "a"]))
    assert data.user_ids.tolist() == ["u1", "u2"]
    assert data.video_ids.tolist() == ["a", "b", "z"]  # z was played though the catalogue lacks it
    assert (data.users.tolist(), data.videos.tolist()) == ([1, 0], [2, 0])


def test_the_newest_rows_are_held_out_by_one_cut_for_all() -> None:
    rows = interactions([("u", str(hour), hour, 1) for hour in range(10)])
    split = time_split(rows, 0.3)
    assert split.cut_ms == START_MS + 7 * HOUR_MS
    assert split.train.video_ids.tolist() == [str(hour) for hour in range(7)]
    assert split.test.video_ids.tolist() == ["7", "8", "9"]


def test_rows_of_the_cut_s_own_millisecond_are_all_tested() -> None:
    rows = interactions([("u", "a", 0, 1), *[(f"u{i}", "b", 1, 1) for i in range(9)]])
    split = time_split(rows, 0.2)
    assert (len(split.train), len(split.test)) == (1, 9)


def test_a_row_that_runs_across_the_cut_is_neither_trained_on_nor_tested() -> None:
    minute = 1 / 60
    rows = interactions(
        [
            ("u", "ends at the cut", 10 - minute, 1.0),
            ("u", "straddles", 10 - minute, 1.001),
            ("u", "started long before", 2, 500.0),
            *[("u", f"test {i}", 10 + i, 1.0) for i in range(3)],
        ]
    )
    split = time_split(rows, 0.5)
    assert split.cut_ms == START_MS + 10 * HOUR_MS
    assert split.train.video_ids.tolist() == ["ends at the cut"]
    assert split.test.video_ids.tolist() == ["test 0", "test 1", "test 2"]
    assert split.straddling == 2


def test_rows_of_one_single_time_cannot_be_split() -> None:
    with pytest.raises(EmptySplitError, match="too few distinct times"):
        time_split(interactions([("u", "a", 0, 1), ("v", "a", 0, 1)]), 0.5)


def test_nothing_cannot_be_split() -> None:
    with pytest.raises(EmptyTrainingSetError):
        time_split(interactions([]), 0.5)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5])
def test_a_test_fraction_outside_zero_and_one_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigurationError, match="between 0 and 1"):
        time_split(interactions(ROWS), fraction)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.sampled_from([0, 1, 90, 700])), min_size=2, max_size=40),
    st.floats(0.01, 0.99),
)
def test_no_training_row_was_known_later_than_a_test_row_began(
    watched: list[tuple[int, float]], fraction: float
) -> None:
    rows = interactions([("u", str(i), hour, minutes) for i, (hour, minutes) in enumerate(watched)])
    try:
        split = time_split(rows, fraction)
    except EmptySplitError:
        return
    assert split.train.started_at_ms.max() < split.cut_ms <= split.test.started_at_ms.min()
    assert split.train.ended_at_ms.max() <= split.cut_ms
    assert len(split.train) + len(split.test) + split.straddling == len(rows)


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
    )
)
def test_lookup_finds_each_known_id_at_its_row_and_no_other(ids: list[str]) -> None:
    known = vocabulary(ids[::2])
    found = lookup(known, ids)
    for wanted, row in zip(ids, found, strict=True):
        assert row == (known.tolist().index(wanted) if wanted in known.tolist() else -1)


def test_an_absurdly_long_id_is_just_unknown() -> None:
    assert lookup(vocabulary(["a", "b"]), ["a" * 100_000, "b"]).tolist() == [-1, 1]


def test_ids_of_no_group_are_an_empty_vocabulary() -> None:
    assert vocabulary([], np.empty(0, dtype="<U1")).tolist() == []
    assert lookup(vocabulary([]), ["a"]).tolist() == [-1]

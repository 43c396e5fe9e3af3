"""Of a large training set all rows of some users are checked, the same ones each time."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from data_quality.expectations import validate_training_set
from data_quality.training_set import write_training_set
from data_quality.training_set_reader import read_training_set

MakeInteractions = Callable[..., pa.Table]
MakeMet = Callable[[pa.Table], pa.Table]


@pytest.fixture
def folder(
    tmp_path: Path,
    make_interactions: MakeInteractions,
    make_met: MakeMet,
    catalogue: pa.Table,
    as_of: datetime,
) -> Path:
    rows = make_interactions(400)
    users = pa.array([f"user {n % 50}" for n in range(400)])
    rows = rows.set_column(rows.schema.get_field_index("user_id"), "user_id", users)
    write_training_set(tmp_path / "set", rows, catalogue, met=make_met(rows), as_of=as_of)
    return tmp_path / "set"


def test_a_small_set_is_read_whole(folder: Path) -> None:
    read = read_training_set(folder)
    assert (read.interactions.num_rows, read.rows, read.one_in) == (400, 400, 1)
    assert validate_training_set(folder).checked_on == "all 400 rows"


def test_of_a_large_set_whole_users_are_read_with_all_they_met(folder: Path) -> None:
    whole, read = read_training_set(folder), read_training_set(folder, sample_rows=100)
    users = read.interactions["user_id"].unique()
    assert read.one_in == 4
    assert 0 < len(users) < len(whole.interactions["user_id"].unique())
    for table, sampled in ((whole.interactions, read.interactions), (whole.met, read.met)):
        assert sampled.equals(table.filter(pc.is_in(table["user_id"], users)))
    assert read_training_set(folder, sample_rows=100).interactions.equals(read.interactions)


def test_a_sample_passes_as_the_whole_does_and_says_what_it_was(folder: Path) -> None:
    report = validate_training_set(folder, sample_rows=100)
    assert report.success
    rows = read_training_set(folder, sample_rows=100).interactions.num_rows
    assert report.checked_on == f"{rows} of 400 rows: all those of one user in 4"

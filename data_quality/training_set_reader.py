"""Reads a training set to be checked: whole, or, if it is large, all rows of some users.

By users, so that what concerns a user's rows together (uniqueness, the first meeting, what was known before it) holds
in the sample as in the whole. Which users is settled by a hash of the id: the same set gives the same sample. Files are
read a group of rows at a time, so that a set of any size takes the memory of its sample.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data_quality.training_set_schema import INTERACTIONS_FILE, MET_FILE, META_FILE, USERS_FILE, VIDEOS_FILE

SAMPLE_ROWS = 1_000_000
"""Great Expectations takes half a minute and 2 GB for as many."""


class TrainingSetIncompleteError(Exception):
    """The folder lacks one of the files of a training set, or `meta.json` one of its fields."""


@dataclass(frozen=True)
class ReadSet:
    """What was read. `rows` are the interactions there are; of them those of one user in `one_in` were read."""

    interactions: pa.Table
    meta: dict[str, Any]
    video_ids: pa.Array
    met: pa.Table
    people: pa.Table
    rows: int
    one_in: int

    @property
    def checked_on(self) -> str:
        if self.one_in == 1:
            return f"all {self.rows:,} rows"
        return f"{self.interactions.num_rows:,} of {self.rows:,} rows: all those of one user in {self.one_in}"


def read_training_set(directory: Path, sample_rows: int = SAMPLE_ROWS) -> ReadSet:
    """The set in `directory`, or about `sample_rows` of its interactions if it has more.

    Raises `TrainingSetIncompleteError`.
    """
    for name in (INTERACTIONS_FILE, VIDEOS_FILE, MET_FILE, USERS_FILE, META_FILE):
        if not (directory / name).is_file():
            raise TrainingSetIncompleteError(f"{directory} has no {name}")
    videos = pq.read_table(directory / VIDEOS_FILE, columns=["video_id"])
    rows = pq.read_metadata(directory / INTERACTIONS_FILE).num_rows
    one_in = max(1, math.ceil(rows / sample_rows))
    return ReadSet(
        interactions=_of_some_users(directory / INTERACTIONS_FILE, one_in),
        meta=json.loads((directory / META_FILE).read_text()),
        video_ids=videos["video_id"].combine_chunks(),
        met=_of_some_users(directory / MET_FILE, one_in),
        people=_of_some_users(directory / USERS_FILE, one_in),
        rows=rows,
        one_in=one_in,
    )


def _of_some_users(path: Path, one_in: int) -> pa.Table:
    with pq.ParquetFile(path) as file:
        if one_in == 1 or "user_id" not in file.schema_arrow.names:
            return file.read()
        groups = (file.read_row_group(group) for group in range(file.num_row_groups))
        chosen = [group.filter(_chosen(group["user_id"], one_in)) for group in groups]
        return pa.concat_tables([file.schema_arrow.empty_table(), *chosen])


def _chosen(user_ids: pa.ChunkedArray, one_in: int) -> pa.Array:
    encoded = user_ids.combine_chunks().dictionary_encode()
    ids = encoded.dictionary.to_numpy(zero_copy_only=False)
    chosen = pd.util.hash_array(ids.astype(object), categorize=False) % one_in == 0
    # A row without a user is nobody's and everybody's: it is checked.
    return pa.array(chosen).take(encoded.indices).fill_null(True)

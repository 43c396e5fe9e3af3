"""Reads the columns of a training set's parquet files, with errors that name the file and the column."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ml.errors import TrainingSetError
from ml.ids import Ids

UNKNOWN_MS = -1


def read_columns(path: Path, required: list[str], optional: list[str] | None = None) -> pa.Table:
    """The required columns and those of the optional ones that are there; raises `TrainingSetError`."""
    if not path.is_file():
        raise TrainingSetError(f"{path.name}: no such file in {path.parent}")
    try:
        present = pq.read_schema(path).names
    except pa.ArrowInvalid as error:
        raise TrainingSetError(f"{path.name}: not a parquet file ({error})") from error
    missing = [name for name in required if name not in present]
    if missing:
        raise TrainingSetError(f"{path.name}: lacks column {', '.join(missing)}")
    return pq.read_table(path, columns=required + [name for name in optional or [] if name in present])


def ids(table: pa.Table, column: str, where: str) -> Ids:
    """Ids of a column; raises `TrainingSetError` for an empty one or one that numpy would cut off at a NUL."""
    values = table[column].cast(pa.string())
    if values.null_count or pc.any(pc.equal(values, "")).as_py():
        raise TrainingSetError(f"{where}: {column} is empty in a row")
    if pc.any(pc.match_substring(values, "\0")).as_py():
        raise TrainingSetError(f"{where}: {column} has a NUL character in a row")
    return np.asarray(values.to_pylist(), dtype=np.str_) if len(values) else np.empty(0, dtype="<U1")


def refuse_nulls(table: pa.Table, columns: list[str], where: str) -> None:
    for column in columns:
        if table[column].null_count:
            raise TrainingSetError(f"{where}: {column} is null in a row")


def text(table: pa.Table, column: str) -> Ids:
    """Text of a column, '' where it is null or the column is not there."""
    if column not in table.column_names:
        return np.full(table.num_rows, "", dtype="<U1")
    values = pc.fill_null(table[column].cast(pa.string()), "").to_pylist()
    return np.asarray(values, dtype=np.str_) if values else np.empty(0, dtype="<U1")


def long_text(table: pa.Table, column: str) -> tuple[str, ...]:
    """As `text`, but as Python strings: one long description must not widen every row of an array."""
    if column not in table.column_names:
        return ("",) * table.num_rows
    return tuple(pc.fill_null(table[column].cast(pa.string()), "").to_pylist())


def text_lists(table: pa.Table, column: str) -> tuple[tuple[str, ...], ...]:
    """A list of texts a row (tags), empty where it is null or the column is not there; nulls inside are left out."""
    if column not in table.column_names:
        return ((),) * table.num_rows
    return tuple(tuple(v for v in values or () if v) for values in table[column].to_pylist())


def epoch_ms(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Epoch milliseconds UTC, `UNKNOWN_MS` where null."""
    whole = column.cast(pa.timestamp("ms", tz="UTC"), safe=False).cast(pa.int64())
    return pc.fill_null(whole, UNKNOWN_MS).to_numpy().astype(np.int64)


def whole_numbers(table: pa.Table, column: str) -> NDArray[np.int64]:
    """Integers of a column, `UNKNOWN_MS` (-1) where null or the column is not there."""
    if column not in table.column_names:
        return np.full(table.num_rows, UNKNOWN_MS, dtype=np.int64)
    return pc.fill_null(table[column].cast(pa.int64()), UNKNOWN_MS).to_numpy().astype(np.int64)

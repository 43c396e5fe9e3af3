"""Reading chosen columns of a CSV file strictly: a bad value is named by line and column, never guessed."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from ingestion.errors import SourceError

Kind = Literal["int", "float", "text", "date"]
_TYPES: dict[Kind, pa.DataType] = {
    "int": pa.int64(),
    "float": pa.float64(),
    "text": pa.string(),
    "date": pa.date32(),
}
_WANTED: dict[Kind, str] = {
    "int": "a whole number",
    "float": "a number",
    "text": "a text",
    "date": "a date like 2022-04-10",
}
_INTEGER = re.compile(r"[+-]?\d{1,18}")
# Empty cells and pandas' spelling of them; everything else must be a value.
_NULLS = ["", "nan", "NaN", "NULL"]


@dataclass(frozen=True)
class Column:
    """A column that must be there: `low` to `high` inclusive for numbers, empty cells only if `nullable`."""

    name: str
    kind: Kind = "int"
    low: float | None = None
    high: float | None = None
    nullable: bool = False

    @property
    def wanted(self) -> str:
        text = _WANTED[self.kind]
        if self.low is not None and self.high is not None:
            return f"{text} from {self.low} to {self.high}"
        return text if self.low is None else f"{text} of at least {self.low}"


def read_columns(path: Path, columns: Sequence[Column]) -> pa.Table:
    """The named columns of `path`, typed; raises `SourceError` naming file, line, column and value."""
    _require_header(path, columns)
    convert = arrow_csv.ConvertOptions(
        column_types={c.name: _TYPES[c.kind] for c in columns},
        include_columns=[c.name for c in columns],
        null_values=_NULLS,
        strings_can_be_null=True,
    )
    try:
        table = arrow_csv.read_csv(path, convert_options=convert)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        # Arrow's parallel reader knows that something is wrong, not on which line.
        raise _find_fault(path, columns) or SourceError(path, str(error).splitlines()[0]) from error
    if not all(_within(table[c.name], c) for c in columns):
        raise _find_fault(path, columns) or SourceError(path, "holds a value out of range")
    return table


def _require_header(path: Path, columns: Sequence[Column]) -> None:
    try:
        with path.open("rb") as file:
            header = next(csv.reader([file.readline().decode("utf-8-sig")]), [])
    except OSError as error:
        raise SourceError(path, f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SourceError(path, "is not UTF-8 text", line=1) from error
    if not header:
        raise SourceError(path, "is empty")
    for column in columns:
        if header.count(column.name) != 1:
            found = "is missing" if column.name not in header else "appears more than once"
            raise SourceError(path, found, line=1, column=column.name)


def _within(values: pa.ChunkedArray, column: Column) -> bool:
    if values.null_count and not column.nullable:
        return False
    if column.kind in ("int", "float"):
        if column.low is not None and pc.any(pc.less(values, column.low)).as_py():
            return False
        if column.high is not None and pc.any(pc.greater(values, column.high)).as_py():
            return False
    return True


def _find_fault(path: Path, columns: Sequence[Column]) -> SourceError | None:
    """The first fault, read line by line: slow, and only when it is known that there is one."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file)
        header = next(reader)
        places = [(column, header.index(column.name)) for column in columns]
        for row in reader:
            line = reader.line_num
            if not row:
                continue
            if len(row) != len(header):
                return SourceError(path, f"has {len(row)} columns, the header {len(header)}", line=line)
            for column, place in places:
                value = row[place]
                if not _fits(value, column):
                    shown = value.encode("utf-8", "backslashreplace").decode()
                    return SourceError(
                        path, f"must be {column.wanted}", line=line, column=column.name, value=shown
                    )
    return None


def _fits(value: str, column: Column) -> bool:
    if column.kind == "int" and len(value) < 16 and value.isascii() and value.isdigit():  # nearly always so
        number: float = int(value)
        return (column.low is None or number >= column.low) and (column.high is None or number <= column.high)
    if value in _NULLS:
        return column.nullable
    if column.kind == "text":
        return not any("\ud800" <= letter <= "\udfff" for letter in value)
    try:
        if column.kind == "date":
            date.fromisoformat(value)
            return len(value) == len("2022-04-10")
        if column.kind == "int" and not _INTEGER.fullmatch(value):
            return False
        number = float(value)
    except ValueError:
        return False
    return (column.low is None or number >= column.low) and (column.high is None or number <= column.high)

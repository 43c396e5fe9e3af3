"""Judging Arrow data by its contract: good rows pass, bad rows come back with the field and the reason."""

import json
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from data_quality.contracts import Contract, Field, FieldMissingError, FieldTypeError, RowInvalidError


@dataclass(frozen=True)
class Rejected:
    """One row that breaks the contract."""

    field: str
    reason: str
    """`<field> must ..., got ...`."""
    row: str
    """The whole row as JSON, so that nothing of it is lost."""


@dataclass(frozen=True)
class Checked:
    """`valid` rows, in their order and in the contract's columns, and the `rejected` ones, in theirs."""

    valid: pa.RecordBatch
    rejected: list[Rejected]


def check_batch(contract: Contract, batch: pa.RecordBatch) -> Checked:
    """Sort the rows of `batch` into good and bad; a bad row is reported for its first wrong field.

    Columns beyond the contract's are dropped. Raises `FieldMissingError` or `FieldTypeError` when the
    batch as a whole cannot be judged: that is a defect of the importer, not of a row.
    """
    batch = _aligned(contract, batch)
    bad_field: dict[int, Field] = {}
    for field, column in zip(contract.fields, batch.columns, strict=True):
        good = _good(field, column)
        if pc.all(good).as_py() is not False:  # an empty column has no bad row
            continue
        for index in pc.indices_nonzero(pc.invert(good)).to_pylist():
            bad_field.setdefault(index, field)
    if not bad_field:
        return Checked(batch, [])
    order = sorted(bad_field)
    rows = batch.take(pa.array(order, pa.int64())).to_pylist()
    rejected = [_reject(bad_field[index], row) for index, row in zip(order, rows, strict=True)]
    keep = pc.invert(pc.is_in(pa.array(range(batch.num_rows), pa.int64()), pa.array(order, pa.int64())))
    return Checked(batch.filter(keep), rejected)


def require_valid(contract: Contract, table: pa.Table, key: str) -> pa.Table:
    """`table` in the contract's columns, or `RowInvalidError` naming the first bad row by its `key`.

    For tables where a bad or repeated row is a defect of the source, not traffic: users, videos.
    """
    batches = []
    for batch in table.combine_chunks().to_batches():
        checked = check_batch(contract, batch)
        if checked.rejected:
            first = checked.rejected[0]
            value = json.loads(first.row)[key]
            raise RowInvalidError(f"{contract.table}: {key} {value!r}: {first.reason}")
        batches.append(checked.valid)
    valid = pa.Table.from_batches(batches, contract.schema)
    counts = pc.value_counts(valid[key])
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        raise RowInvalidError(
            f"{contract.table}: {key} {repeated[0]['values'].as_py()!r} appears more than once"
        )
    return valid


def _aligned(contract: Contract, batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = []
    for field in contract.fields:
        index = batch.schema.get_field_index(field.name)
        if index < 0:
            raise FieldMissingError(f"{contract.table}: field {field.name} is missing")
        column = batch.column(index)
        if column.type != field.arrow:
            raise FieldTypeError(
                f"{contract.table}: field {field.name} must be {field.arrow}, got {column.type}"
            )
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=contract.schema)


def _good(field: Field, column: pa.Array) -> pa.Array:
    present = pc.is_valid(column)
    if field.check is None:
        return pc.or_(present, pa.scalar(field.nullable))
    # A check of a null is null: it counts as the field's nullability says.
    return pc.if_else(present, pc.fill_null(field.check(column), False), pa.scalar(field.nullable))


def _reject(field: Field, row: dict[str, object]) -> Rejected:
    value = row[field.name]
    reason = (
        f"{field.name} is missing"
        if value is None
        else f"{field.name} must {field.rule}, got {str(value)[:100]!r}"
    )
    return Rejected(field.name, reason, json.dumps(row, default=str, ensure_ascii=False))

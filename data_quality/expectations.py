"""Checks the training set with Great Expectations: pandas, in memory, as it is a set of files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from data_quality.data_docs import write_page
from data_quality.gx_runner import ExpectationBrokenError, failures_of, run_in_memory
from data_quality.report import Failure, ValidationReport
from data_quality.training_set import (
    INTERACTIONS_SCHEMA,
    MET_SCHEMA,
    META_FILE,
    TRAINING_SCHEMA,
    USERS_SCHEMA,
)
from data_quality.training_set_reader import SAMPLE_ROWS, TrainingSetIncompleteError, read_training_set
from data_quality.training_set_suite import (
    POSITIVES_SHARE,
    Statement,
    met_statements,
    people_statements,
    statements,
    type_errors,
    with_derived_columns,
)

__all__ = ["ExpectationBrokenError", "TrainingSetIncompleteError", "run_suite", "validate_training_set"]

SUITE_NAME = "training_set"


def validate_training_set(
    source: Path | pa.Table,
    meta: dict[str, Any] | None = None,
    *,
    video_ids: pa.Array | None = None,
    met: pa.Table | None = None,
    people: pa.Table | None = None,
    floor: int = 1,
    positives_share: tuple[float, float] = POSITIVES_SHARE,
    docs: Path | None = None,
    sample_rows: int = SAMPLE_ROWS,
) -> ValidationReport:
    """Check a training set: its folder, or its interactions with their `meta` (and the catalogue's ids,
    the pairs met, the profiles). With `docs`, the folder of the data docs, a page is added there. Of a folder with
    more than `sample_rows` interactions, some users' are checked; the report says how many.

    Wrong columns or types end the check there: the rest would only repeat it.
    Raises `TrainingSetIncompleteError`, `ExpectationBrokenError`.
    """
    if isinstance(source, pa.Table):
        if meta is None:
            raise TypeError("a table needs its meta: the window and the filter it was made with")
        interactions, checked_on = source, f"all {source.num_rows:,} rows"
    else:
        read = read_training_set(source, sample_rows)
        interactions, meta, video_ids, met = read.interactions, read.meta, read.video_ids, read.met
        people, checked_on = read.people, read.checked_on
    # A set may have been made without features (by a test, by hand); one that says it has them has all of them.
    with_features = bool(meta.get("features"))
    wrong = _wrong_columns(interactions.schema, TRAINING_SCHEMA if with_features else INTERACTIONS_SCHEMA)
    if met is not None:
        wrong += _wrong_columns(met.schema, MET_SCHEMA)
    if people is not None:
        wrong += _wrong_columns(people.schema, USERS_SCHEMA)
    schema_statements = 2 * (1 + (met is not None) + (people is not None))
    if wrong:
        return ValidationReport.of(schema_statements, wrong, {})
    try:
        as_of = _time(meta["as_of"])
        suite = statements(
            window_start=_time(meta["window_start"]),
            as_of=as_of,
            min_ratio=float(meta["min_watch_time_ratio"]),
            floor=floor,
            positives_share=positives_share,
            with_catalogue=video_ids is not None,
            with_met=met is not None,
            with_features=with_features,
        )
    except KeyError as error:
        raise TrainingSetIncompleteError(f"{META_FILE} lacks {error}") from error
    answers = run_in_memory(with_derived_columns(interactions, video_ids, met), suite)
    if met is not None:
        answers += run_in_memory(met.to_pandas(strings_to_categorical=True), met_statements(as_of))
    if people is not None:
        answers += run_in_memory(people.to_pandas(strings_to_categorical=True), people_statements())
    evaluated = schema_statements + len(answers)
    failures = failures_of(answers)
    statistics = {
        "rows": interactions.num_rows,
        "evaluated": evaluated,
        "failed": len(failures),
        "recorded_rows": float(meta.get("rows", interactions.num_rows)),
    }
    report = ValidationReport.of(evaluated, failures, statistics, checked_on)
    return (
        report if docs is None else replace(report, data_docs=write_page(docs, SUITE_NAME, answers, report))
    )


def run_suite(frame: pd.DataFrame, suite: list[Statement]) -> ValidationReport:
    """Evaluate `suite` on `frame`. Raises `ExpectationBrokenError` naming the statement that could not be."""
    return ValidationReport.of(
        len(suite), failures_of(run_in_memory(frame, suite)), {"rows": float(len(frame))}
    )


def _wrong_columns(schema: pa.Schema, expected_schema: pa.Schema) -> list[Failure]:
    """The columns and their Arrow types, which pandas would blur (a nullable integer becomes a float)."""
    failures = [
        Failure("columns_have_their_types", name, "error", f"{found} instead of {expected}", ())
        for name, (expected, found) in type_errors(schema, expected_schema).items()
    ]
    failures += [
        Failure("columns_are_all_there", name, "error", "missing", ())
        for name in expected_schema.names
        if name not in schema.names
    ]
    return failures


def _time(text: str) -> pd.Timestamp:
    return pd.Timestamp(text)

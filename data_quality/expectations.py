"""Runs suites with Great Expectations (the only module that imports it): pandas, in memory, one suite run.

GX answers in an order of its own, with values of many shapes; a report here is sorted and plain.
"""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data_quality.report import Failure, ValidationReport
from data_quality.training_set import (
    INTERACTIONS_FILE,
    INTERACTIONS_SCHEMA,
    MET_FILE,
    MET_SCHEMA,
    META_FILE,
    VIDEOS_FILE,
)
from data_quality.training_set_suite import (
    POSITIVES_SHARE,
    Statement,
    met_statements,
    statements,
    type_errors,
    with_derived_columns,
)

SAMPLE = 5


class ExpectationBrokenError(Exception):
    """An expectation could not be evaluated at all: a fault of the suite, not a finding about the data."""


class TrainingSetIncompleteError(Exception):
    """The folder lacks one of the files of a training set, or `meta.json` one of its fields."""


def validate_training_set(
    source: Path | pa.Table,
    meta: dict[str, Any] | None = None,
    *,
    video_ids: pa.Array | None = None,
    met: pa.Table | None = None,
    floor: int = 1,
    positives_share: tuple[float, float] = POSITIVES_SHARE,
) -> ValidationReport:
    """Check a training set: its folder, or its interactions with their `meta` (and the catalogue's ids, and
    the pairs met).

    Wrong columns or types end the check there: the rest would only repeat it.
    Raises `TrainingSetIncompleteError`, `ExpectationBrokenError`.
    """
    if isinstance(source, pa.Table):
        if meta is None:
            raise TypeError("a table needs its meta: the window and the filter it was made with")
        interactions = source
    else:
        interactions, meta, video_ids, met = _read_folder(source)
    columns = _check_columns(interactions.schema, INTERACTIONS_SCHEMA)
    if met is not None:
        columns = _together(columns, _check_columns(met.schema, MET_SCHEMA))
    if columns.failures:
        return columns
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
        )
    except KeyError as error:
        raise TrainingSetIncompleteError(f"{META_FILE} lacks {error}") from error
    report = columns
    if met is not None:
        of_met = run_suite(met.to_pandas(strings_to_categorical=True), met_statements(as_of))
        report = _together(report, of_met)
    report = _together(report, run_suite(with_derived_columns(interactions, video_ids, met), suite))
    statistics = {
        "rows": interactions.num_rows,
        "evaluated": report.evaluated,
        "failed": len(report.failures),
        "recorded_rows": float(meta.get("rows", interactions.num_rows)),
    }
    return replace(report, statistics=statistics)


def run_suite(frame: pd.DataFrame, suite: list[Statement]) -> ValidationReport:
    """Evaluate `suite` on `frame`. Raises `ExpectationBrokenError` naming the statement that could not be."""
    import great_expectations as gx
    from great_expectations import expectations as gxe

    # GX logs each step and shows bars; its own log is no news next to the report.
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    asset = context.data_sources.add_pandas("frame").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    by_position = dict(enumerate(suite))
    expectations = []
    for position, statement in by_position.items():
        arguments = dict(statement.arguments)
        if statement.column in frame.columns:
            arguments["column"] = statement.column
        expectations.append(getattr(gxe, statement.kind)(**arguments, meta={"position": position}))
    outcome = batch.validate(
        gx.ExpectationSuite("suite", expectations=expectations),
        result_format={"result_format": "SUMMARY", "partial_unexpected_count": SAMPLE},
    )
    failures = []
    for result in outcome.results:
        config = result.expectation_config
        if config is None or config.meta is None:
            raise ExpectationBrokenError(f"a result without its expectation: {result}")
        statement = by_position[config.meta["position"]]
        _raise_if_broken(statement, result.exception_info)
        if not result.success:
            failures.append(_failure(statement, result.result))
    return _report(len(suite), failures, {"rows": float(len(frame))})


def _report(evaluated: int, failures: list[Failure], statistics: dict[str, float]) -> ValidationReport:
    return ValidationReport(
        success=all(failure.severity != "error" for failure in failures),
        evaluated=evaluated,
        failures=tuple(sorted(failures, key=lambda failure: failure.order)),
        statistics=statistics,
    )


def _together(one: ValidationReport, other: ValidationReport) -> ValidationReport:
    return _report(one.evaluated + other.evaluated, [*one.failures, *other.failures], {})


def _raise_if_broken(statement: Statement, info: dict[str, Any]) -> None:
    details = [info] if "raised_exception" in info else list(info.values())
    for detail in details:
        if detail.get("raised_exception"):
            raise ExpectationBrokenError(f"{statement.name}: {detail['exception_message']}")


def _failure(statement: Statement, result: dict[str, Any]) -> Failure:
    if "unexpected_count" in result:
        count, rows = result["unexpected_count"], result["element_count"]
        observed = f"{count} of {rows} rows"
    else:
        observed = str(result["observed_value"])
    unexpected = tuple(_text(value) for value in result.get("partial_unexpected_list", [])[:SAMPLE])
    return Failure(statement.name, statement.column, statement.severity, observed, unexpected)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps(value, default=str)
    return str(value)


def _check_columns(schema: pa.Schema, expected_schema: pa.Schema) -> ValidationReport:
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
    return _report(2, failures, {})


def _read_folder(directory: Path) -> tuple[pa.Table, dict[str, Any], pa.Array, pa.Table]:
    for name in (INTERACTIONS_FILE, VIDEOS_FILE, MET_FILE, META_FILE):
        if not (directory / name).is_file():
            raise TrainingSetIncompleteError(f"{directory} has no {name}")
    videos = pq.read_table(directory / VIDEOS_FILE, columns=["video_id"])
    meta = json.loads((directory / META_FILE).read_text())
    met = pq.read_table(directory / MET_FILE)
    return pq.read_table(directory / INTERACTIONS_FILE), meta, videos["video_id"].combine_chunks(), met


def _time(text: str) -> pd.Timestamp:
    return pd.Timestamp(text)

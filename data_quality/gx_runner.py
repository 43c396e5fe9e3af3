"""Great Expectations at work: statements in, results and a plain report out. In memory with pandas, or in ClickHouse.

GX has no dialect for ClickHouse, but its SQL engine works over clickhouse-connect's SQLAlchemy dialect for what our
suites say (`tests/data_quality/test_suites_*.py` hold every statement to it), with two limits that shape this module:
regular expressions are refused (suites derive a column instead), and the columns of a query can only be learned by
fetching all of it, so that what is checked must be a table or a view.

GX answers in an order of its own, with values of many shapes; a report here is sorted and plain.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from data_quality.report import Failure
from data_quality.training_set_suite import Statement
from stack.clients import clickhouse_parts
from stack.settings import Settings

if TYPE_CHECKING:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.data_context import EphemeralDataContext
    from great_expectations.datasource.fluent.interfaces import Batch

SAMPLE = 5
_IN_FULL = {"result_format": "SUMMARY", "partial_unexpected_count": SAMPLE}
_PASS_OR_FAIL = {"result_format": "BOOLEAN_ONLY"}


class ExpectationBrokenError(Exception):
    """An expectation could not be evaluated at all: a fault of the suite, not a finding about the data."""


@dataclass(frozen=True)
class Answer:
    """What GX said of one statement. `result` is its own object: the data docs are rendered from it."""

    statement: Statement
    result: "ExpectationValidationResult"


def run_in_memory(frame: pd.DataFrame, suite: Sequence[Statement]) -> list[Answer]:
    """Evaluate `suite` on `frame`. Raises `ExpectationBrokenError` naming the statement that could not be."""
    asset = _context().data_sources.add_pandas("pandas").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    return _evaluate(batch, suite, _IN_FULL)


def run_in_clickhouse(settings: Settings, table: str, suite: Sequence[Statement], rows: int) -> list[Answer]:
    """Evaluate `suite` on every row of a table or view that has `rows` rows. Raises `ExpectationBrokenError`.

    First all statements together, a few aggregate queries whatever their number; then, with a sample of the values
    that break them, only those that failed or whose figure is worth showing.
    """
    if not suite:
        return []
    source = _context().data_sources.add_sql(
        "clickhouse", connection_string=_sqlalchemy_url(settings), create_temp_table=False
    )
    batch = (
        source.add_table_asset(table, table_name=table).add_batch_definition_whole_table("all").get_batch()
    )
    try:
        answers = _evaluate(batch, suite, _PASS_OR_FAIL)
        again = [i for i, a in enumerate(answers) if not a.result.success or _has_a_figure(a.statement)]
        if again:
            in_full = _evaluate(batch, [answers[i].statement for i in again], _IN_FULL)
            answers = [dict(zip(again, in_full, strict=True)).get(i, a) for i, a in enumerate(answers)]
    finally:
        source.get_engine().dispose()
    for answer in answers:
        if not answer.result.result:  # a pass of the first round: of every row, so nothing is unexpected
            answer.result.result = {"element_count": rows, "unexpected_count": 0, "unexpected_percent": 0.0}
    return answers


def failures_of(answers: Sequence[Answer]) -> list[Failure]:
    return [_failure(a.statement, a.result.result) for a in answers if not a.result.success]


def _context() -> "EphemeralDataContext":
    import great_expectations as gx

    # GX logs each step and shows bars; its own log is no news next to the report.
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    return context


def _sqlalchemy_url(settings: Settings) -> str:
    """ClickHouse for SQLAlchemy. Rendered with %-escapes, so that GX finds no `$` of a password to substitute."""
    from sqlalchemy.engine import URL

    parts = clickhouse_parts(settings)
    url = URL.create(
        "clickhousedb",
        parts["username"],
        parts["password"] or None,
        parts["host"],
        parts["port"],
        parts["database"],
        query={"secure": "true"} if parts["secure"] else {},
    )
    return url.render_as_string(hide_password=False)


def _evaluate(batch: "Batch", suite: Sequence[Statement], result_format: dict[str, Any]) -> list[Answer]:
    import great_expectations as gx

    expectations = [_expectation(statement, position) for position, statement in enumerate(suite)]
    outcome = batch.validate(
        gx.ExpectationSuite("suite", expectations=expectations), result_format=result_format
    )
    answers: dict[int, Answer] = {}
    for result in outcome.results:
        config = result.expectation_config
        if config is None or config.meta is None:
            raise ExpectationBrokenError(f"a result without its expectation: {result}")
        position = config.meta["position"]
        _raise_if_broken(suite[position], result.exception_info)
        answers[position] = Answer(suite[position], result)
    return [answers[position] for position in sorted(answers)]


def _expectation(statement: Statement, position: int) -> Any:
    from great_expectations import expectations as gxe

    arguments = dict(statement.arguments)
    if statement.kind.startswith("ExpectColumn"):
        arguments["column"] = statement.column
    said = ", ".join(f"{name} {value}" for name, value in statement.arguments.items() if "query" not in name)
    return getattr(gxe, statement.kind)(
        **arguments,
        severity="critical" if statement.severity == "error" else "warning",
        description=f"{statement.name.replace('_', ' ')} ({statement.severity}{'; ' if said else ''}{said})",
        meta={"position": position},
    )


def _has_a_figure(statement: Statement) -> bool:
    """Whether a pass, too, has something to show: an observed value, or a share that may be short of all."""
    return "mostly" in statement.arguments or not (
        statement.kind.startswith("ExpectColumnValue") or statement.kind == "UnexpectedRowsExpectation"
    )


def _raise_if_broken(statement: Statement, info: dict[str, Any]) -> None:
    details = [info] if "raised_exception" in info else list(info.values())
    for detail in details:
        if detail.get("raised_exception"):
            raise ExpectationBrokenError(f"{statement.name}: {detail['exception_message']}")


def _failure(statement: Statement, result: dict[str, Any]) -> Failure:
    if "unexpected_count" in result:
        count, rows = result["unexpected_count"], result["element_count"]
        observed = f"{count} of {rows} rows"
    elif statement.kind == "UnexpectedRowsExpectation":
        found = result["observed_value"]  # its query stops at so many
        observed = f"{found} or more repeated" if found == SAMPLE else f"{found} repeated"
    else:
        observed = str(result["observed_value"])
    unexpected = tuple(_text(value) for value in (result.get("partial_unexpected_list") or [])[:SAMPLE])
    return Failure(statement.name, statement.column, statement.severity, observed, unexpected)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps(value, default=str)
    return str(value)

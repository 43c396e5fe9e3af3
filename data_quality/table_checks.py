"""Checks a table of the warehouse: its suite, evaluated by Great Expectations inside ClickHouse, and a page about it.

All statements are one aggregate query over the view `checked_<table>`, which adds the derived columns: exact on every
row, and cheap enough to stay so for tens of millions of them. Beyond `whole_rows`, a table that only grows is judged by
its last day, in the data's time: what arrives later than that, or is imported at once, is judged by ingestion's own
checks. If that day is as large, the errors are counted on every row of it, the warnings on a sample by the hash of the
key: the same rows each time.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from data_quality.data_docs import write_page
from data_quality.gx_runner import Answer, failures_of, run_in_clickhouse
from data_quality.report import Failure, ValidationReport
from data_quality.suites.base import TableSuite
from stack.clients import clickhouse_client
from stack.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

WHOLE_ROWS = 50_000_000
SAMPLED_ROWS = 5_000_000


def validate_table(
    settings: Settings,
    suite: TableSuite,
    *,
    docs: Path | None = None,
    whole_rows: int = WHOLE_ROWS,
    sampled_rows: int = SAMPLED_ROWS,
) -> ValidationReport:
    """Check the table of `suite`; with `docs`, the folder of the data docs, a page is added there.

    A missing column ends the check there. Raises `ExpectationBrokenError`.
    """
    client = clickhouse_client(settings)
    try:
        missing = _missing_columns(client, suite)
        if missing:
            return ValidationReport.of(1, missing, {})
        rows = _count(client, suite.table)
        view = f"checked_{suite.table}"
        is_recent = suite.recent is not None and rows > whole_rows
        client.command(f"CREATE OR REPLACE VIEW {view} AS {checked_query(suite, recent=is_recent)}")
        if is_recent:
            rows = _count(client, view)
        which = f"{rows:,} rows" + (" of the last day" if is_recent else "")
        one_in = -(-rows // sampled_rows) if rows > whole_rows else 1
        if one_in == 1:
            answers = run_in_clickhouse(settings, view, suite.statements, rows)
            statistics, checked_on = {"rows": float(rows), "sample_rate": 1.0}, f"all {which}"
        else:
            answers, sampled = _with_sample(client, settings, suite, view, rows, one_in)
            statistics = {"rows": float(rows), "sampled_rows": float(sampled), "sample_rate": 1 / one_in}
            checked_on = f"errors on all {which}, warnings on 1 in {one_in} by hash ({sampled:,} rows)"
    finally:
        client.close()
    report = ValidationReport.of(1 + len(answers), failures_of(answers), statistics, checked_on)
    return (
        report if docs is None else replace(report, data_docs=write_page(docs, suite.table, answers, report))
    )


def checked_query(suite: TableSuite, *, recent: bool = False) -> str:
    """The table, or its last day, with its derived columns; one of the table's own name stands in its place."""
    replaced = [f"{sql} AS {name}" for name, sql in suite.derived.items() if name in suite.columns]
    added = [f"{sql} AS {name}" for name, sql in suite.derived.items() if name not in suite.columns]
    star = f"* REPLACE ({', '.join(replaced)})" if replaced else "*"
    query = f"SELECT {', '.join([star, *added])} FROM {suite.table}"  # noqa: S608 - the suites are code
    return f"{query} WHERE {suite.recent}" if recent else query


def _with_sample(
    client: "Client", settings: Settings, suite: TableSuite, view: str, rows: int, one_in: int
) -> tuple[list[Answer], int]:
    sample = f"{view}_sample"
    chosen = f"SELECT * FROM {view} WHERE cityHash64({suite.key}) % {one_in:d} = 0"  # noqa: S608 - as above
    client.command(f"CREATE OR REPLACE VIEW {sample} AS {chosen}")
    errors = [s for s in suite.statements if s.severity == "error"]
    warnings = [s for s in suite.statements if s.severity == "warning"]
    sampled = _count(client, sample)
    answers = run_in_clickhouse(settings, view, errors, rows)
    return answers + run_in_clickhouse(settings, sample, warnings, sampled), sampled


def _missing_columns(client: "Client", suite: TableSuite) -> list[Failure]:
    described = client.query("DESCRIBE TABLE {table:Identifier}", parameters={"table": suite.table})
    there = {str(row[0]) for row in described.result_rows}
    return [
        Failure("columns_are_all_there", name, "error", "missing", ())
        for name in suite.columns
        if name not in there
    ]


def _count(client: "Client", table: str) -> int:
    [[rows]] = client.query("SELECT count() FROM {table:Identifier}", parameters={"table": table}).result_rows
    return int(rows)

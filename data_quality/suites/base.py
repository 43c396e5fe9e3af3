"""The vocabulary of the suites: a table's columns, the columns derived in SQL, and statements about both.

A statement about two columns is one about a derived column, which ClickHouse computes in the view that is checked
(`table_checks.py`): a 1 where the row disagrees with itself, or the distance that must be in bounds. The SQL here is
code, never input.

Severity: `error` for what no accepted input can cause, only a defect of ours or a write around us; it blocks what is
downstream. `warning` for what one odd client, profile or session can cause: it shows, and blocks nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from data_quality.report import Severity
from data_quality.training_set_suite import Statement

LARGEST_COUNT = 1e12
"""No count of ours comes near; a negative one stored unsigned is a million times larger."""


@dataclass(frozen=True)
class TableSuite:
    """`key`: the SQL by whose hash rows are sampled. `derived`: name -> SQL over the table's own columns; a name the
    table has already is that column in another form (an enum as text). `recent`: of a table that only grows, the SQL
    that is true of its last day and lets ClickHouse leave out the partitions before."""

    table: str
    key: str
    columns: tuple[str, ...]
    statements: tuple[Statement, ...]
    derived: Mapping[str, str] = field(default_factory=dict)
    recent: str | None = None


def not_empty() -> Statement:
    return Statement("there_are_rows", "", "ExpectTableRowCountToBeBetween", {"min_value": 1})


def not_missing(*columns: str) -> list[Statement]:
    return [Statement("nothing_is_missing", name, "ExpectColumnValuesToNotBeNull") for name in columns]


def between(
    name: str,
    column: str,
    low: float | None = None,
    high: float | None = None,
    *,
    severity: Severity = "error",
    mostly: float | None = None,
) -> Statement:
    """Values from `low` to `high`, both included; nulls are another statement's business. NaN is refused by two bounds,
    not by one: GX then looks for what lies beyond it.

    `mostly`: the share of the values for which it must hold, if not all.
    """
    given = {"min_value": low, "max_value": high, "mostly": mostly}
    arguments = {key: value for key, value in given.items() if value is not None}
    return Statement(name, column, "ExpectColumnValuesToBeBetween", arguments, severity)


def averages(*columns: str) -> list[Statement]:
    return [between("averages_are_not_negative", name, 0, LARGEST_COUNT) for name in columns]


def counts(*columns: str) -> list[Statement]:
    return [between("counts_are_not_negative", name, 0, LARGEST_COUNT) for name in columns]


def one_of(name: str, column: str, values: Sequence[Any], *, severity: Severity = "error") -> Statement:
    return Statement(name, column, "ExpectColumnValuesToBeInSet", {"value_set": list(values)}, severity)


def never(name: str, column: str, *, severity: Severity = "error") -> Statement:
    """The derived `column`, 1 where a row breaks the rule, is 0 everywhere."""
    return Statement(name, column, "ExpectColumnValuesToNotBeInSet", {"value_set": [1]}, severity)


def at_most_distinct(name: str, column: str, count: int) -> Statement:
    return Statement(name, column, "ExpectColumnUniqueValueCountToBeBetween", {"max_value": count})


def mean_between(
    name: str, column: str, low: float, high: float, *, severity: Severity = "error"
) -> Statement:
    arguments = {"min_value": low, "max_value": high}
    return Statement(name, column, "ExpectColumnMeanToBeBetween", arguments, severity)


def unique(name: str, *columns: str) -> Statement:
    """No two rows agree in all of `columns`. By a query of its own, which ClickHouse spills to disk if it must:
    GX's own expectation joins the table with itself, all columns of it."""
    key = ", ".join(columns)
    query = (
        f"SELECT {key}, count() AS copies FROM {{batch}}"  # noqa: S608 - names of our columns
        f" GROUP BY {key} HAVING copies > 1 ORDER BY {key} LIMIT 5"
    )
    return Statement(name, key, "UnexpectedRowsExpectation", {"unexpected_rows_query": query})

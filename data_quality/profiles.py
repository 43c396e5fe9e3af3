"""What a table looks like, by one query: rows, null rates, levels and extremes; and what it looked like before.

A table of events is its own past: one row of figures for each of its days. A table that is replaced whole has none,
so its figures are kept in `table_profiles`, at most 90 days, one set an hour counting.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from data_quality.windows import epoch_ms, from_epoch_ms

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

LOOK_BACK_DAYS = 60
KEPT_HOURS = 28
"""Sets of figures a new one is compared with."""

_TABLE = """
CREATE TABLE IF NOT EXISTS table_profiles (
    table_name LowCardinality(String),
    profiled_at DateTime64(3, 'UTC'),
    metric LowCardinality(String) COMMENT 'rows, or kind.column as null_rate.age',
    value Float64
)
ENGINE = MergeTree
ORDER BY (table_name, metric, profiled_at)
TTL toDateTime(profiled_at) + INTERVAL 90 DAY
"""
_LEVELS = {
    "mean": "avg({0})",
    "median": "quantileTDigest(0.5)({0})",
    "p95": "quantileTDigest(0.95)({0})",
    "min": "min({0})",
    "max": "max({0})",
}


@dataclass(frozen=True)
class Profiled:
    """How a table is profiled. `time`: when the thing a row tells of happened, for a table of events; `arrival`: when
    the row came. `missing` and `numbers`: name -> SQL, true where the value is missing, or the number. `shares`:
    name -> SQL, true for some rows. The SQL is code, never input."""

    table: str
    arrival: str
    time: str | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, str] = field(default_factory=dict)
    shares: Mapping[str, str] = field(default_factory=dict)


Figures = dict[str, float]


@dataclass(frozen=True)
class Profile:
    """The figures of each day (of a table of events), or of the whole table under the day it was profiled."""

    table: str
    days: dict[date, Figures]
    newest: datetime | None
    """The newest moment a row tells of, none in the future."""
    arrivals: tuple[datetime, ...]
    """The hours rows arrived in."""


def profile(client: "Client", table: Profiled) -> Profile:
    """Figures of the last 60 days of a table of events, or of all rows of another, by one query."""
    query, names = profile_query(table)
    rows = client.query(query, parameters={"days": LOOK_BACK_DAYS}).result_rows
    days: dict[date, Figures] = {}
    newest, arrivals = 0, set()
    for day, newest_ms, hours, *values in rows:
        days[day] = {
            name: float(value)
            for name, value in zip(names, values, strict=True)
            if value is not None and math.isfinite(value)
        }
        newest = max(newest, int(newest_ms))
        arrivals |= {datetime.fromtimestamp(int(hour), UTC) for hour in hours}
    return Profile(table.table, days, from_epoch_ms(newest) if days else None, tuple(sorted(arrivals)))


def profile_query(table: Profiled) -> tuple[str, list[str]]:
    """The query and the names of its figures, which come after the day, the newest moment and the arrival hours."""
    figures = {"rows": "count()"}
    figures |= {f"null_rate.{name}": f"countIf({sql}) / count()" for name, sql in table.missing.items()}
    figures |= {f"share.{name}": f"countIf({sql}) / count()" for name, sql in table.shares.items()}
    figures |= {
        f"{level}.{name}": function.format(f"toFloat64({sql})")
        for name, sql in table.numbers.items()
        for level, function in _LEVELS.items()
    }
    moment = table.time or table.arrival
    head = [
        f"toDate({table.time}, 'UTC') AS day" if table.time else "toDate(now('UTC')) AS day",
        f"toUnixTimestamp64Milli(max({moment}))",
        f"groupUniqArray(toUnixTimestamp(toStartOfHour({table.arrival})))",
    ]
    where = ""
    if table.time:  # one device's clock must not move the window: what is yet to come does not count
        newest = f"(SELECT max({moment}) FROM {table.table} WHERE {moment} <= now64(3))"  # noqa: S608 - code, see Profiled
        where = f"WHERE {moment} <= now64(3) AND {moment} > {newest} - INTERVAL {{days:UInt16}} DAY"
    chosen = ", ".join([*head, *figures.values()])
    query = f"SELECT {chosen} FROM {table.table} {where} GROUP BY day ORDER BY day"  # noqa: S608 - as above
    return query, list(figures)


def remember(client: "Client", profile: Profile, at: datetime) -> None:
    """Keep the figures of a table that has no past of its own. The newest moment is one of them."""
    client.command(_TABLE)
    figures = {"newest_ms": float(epoch_ms(profile.newest))} if profile.newest else {}
    for day in profile.days.values():
        figures |= day
    rows = [[profile.table, at, metric, value] for metric, value in figures.items()]
    if rows:
        client.insert("table_profiles", rows, ["table_name", "profiled_at", "metric", "value"])


def remembered(client: "Client", table: str, before: datetime) -> dict[str, list[float]]:
    """`metric -> figures`, oldest first: the last of each of the last hours in which the table was profiled."""
    client.command(_TABLE)
    result = client.query(
        "SELECT metric, arrayMap(x -> x.2, arraySort(groupArray((hour, figure)))) FROM ("
        " SELECT metric, toStartOfHour(profiled_at) AS hour, argMax(value, profiled_at) AS figure FROM table_profiles"
        " WHERE table_name = {table:String} AND profiled_at < fromUnixTimestamp64Milli({before_ms:Int64}, 'UTC')"
        " GROUP BY metric, hour ORDER BY hour DESC LIMIT {hours:UInt32} BY metric"
        ") GROUP BY metric",
        parameters={"table": table, "before_ms": epoch_ms(before), "hours": KEPT_HOURS},
    )
    return {str(metric): [float(value) for value in values] for metric, values in result.result_rows}

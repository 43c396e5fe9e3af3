"""What the warehouse found out, written back to Postgres: engagement to `users`, counters and trending to `videos`.

The columns written here are the pipeline's own: no load touches them after it has created a row, and this touches no
others. A row that says what the warehouse says already is not rewritten: `updated_at` moves with a value, not a run.
"""

# ruff: noqa: S608 - names in the statements are ours; every value travels through COPY or is bound
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from pyarrow import csv as arrow_csv
from sqlalchemy import text

from ingestion.clickhouse import connect as connect_to_clickhouse
from ingestion.postgres_schema import locked
from ingestion.report import Progress, silent
from stack.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

BATCH_ROWS = 10_000


@dataclass(frozen=True)
class WriteBack:
    """One Postgres table's own columns, and where their values come from.

    `columns` maps each to the value (SQL) of a row of which the warehouse knows nothing: the column's default."""

    table: str
    key: str
    columns: dict[str, str]
    query: str


# An id that no Postgres text can hold is no id of Postgres': such rows are counted and left out.
_FITS = "isValidUTF8({key}) AND position({key}, char(0)) = 0"

ENGAGEMENT: Final = WriteBack(
    table="users",
    key="user_id",
    columns={"engagement_score": "0"},
    query="SELECT user_id, engagement_score FROM user_engagement",
)
"""R1.3, over the feature window. A user whose sessions have left it has 0 again, as one who never had any: the column
takes no NULL, which `ORDER BY engagement_score DESC` would put first."""

COUNTERS: Final = WriteBack(
    table="videos",
    key="video_id",
    columns={"is_trending": "false", "view_count": "0", "like_count": "0"},
    query="""
        SELECT video_id, is_trending, plays_cumulative AS view_count, likes_cumulative AS like_count
        FROM trending_videos
    """,
)
"""`view_count` and `like_count` are our own plays and likes of all time, not added to what a catalogue said: that is
another platform's number, would count twice what was imported as events, and could not be written twice. A source's
numbers stand until the first write-back. ClickHouse reads the columns back as the catalogue's (`stg_videos`); nothing
that is written here is computed from them, so the loop carries a copy, never a feedback."""


@dataclass(frozen=True)
class WriteBackReport:
    """`rows` were read; `unknown` of them are not in Postgres; `changed` rows of Postgres were rewritten, `reset` of
    them because the warehouse says nothing of them (any more)."""

    table: str
    rows: int
    unknown: int
    changed: int
    reset: int
    batches: int
    seconds: float


def write_back(
    settings: Settings, what: WriteBack, *, progress: Progress = silent, batch_rows: int = BATCH_ROWS
) -> WriteBackReport:
    """Make Postgres say what ClickHouse says, in batches of `batch_rows`, each a transaction of its own.

    May be interrupted anywhere and run again: each batch is right in itself, and what is left is found by comparison.
    Batches go in the order of the key and wait for loads of the same table, so writers cannot block each other for
    good. Memory is bounded: rows stream through. Raises `StoreUnreachableError`, `LockHeldError`."""
    started = time.monotonic()
    with locked(settings, f"load of {what.table}") as connection:
        rows, unfit = _copy(settings, connection, what)
        changes, reset = _compare(connection, what)
        connection.commit()
        unknown = _scalar(
            connection,
            f"SELECT count(*) FROM reported AS r WHERE NOT EXISTS "
            f"(SELECT FROM {what.table} AS t WHERE t.{what.key} = r.{what.key})",
        )
        changed = batches = 0
        for first in range(0, changes, batch_rows):
            changed += _update(connection, what, first, first + batch_rows)
            connection.commit()
            batches += 1
            progress(f"{what.table}: {changed:,} of {changes:,} changed rows written")
    return WriteBackReport(
        table=what.table,
        rows=rows + unfit,
        unknown=unknown + unfit,
        changed=changed,
        reset=reset,
        batches=batches,
        seconds=time.monotonic() - started,
    )


def _copy(settings: Settings, connection: "Connection", what: WriteBack) -> tuple[int, int]:
    """Stream what ClickHouse says into the session's table `reported`; its rows, and those that Postgres can't hold."""
    columns = ", ".join([what.key, *what.columns])
    connection.execute(text(f"CREATE TEMP TABLE reported AS SELECT {columns} FROM {what.table} WHERE false"))
    cursor = connection.connection.cursor()
    rows = 0
    with _clickhouse_blocks(settings, what) as (blocks, unfit):
        for block in blocks:
            cursor.copy_expert(f"COPY reported ({columns}) FROM STDIN WITH (FORMAT csv)", _as_csv(block))
            rows += block.num_rows
    connection.execute(text(f"ALTER TABLE reported ADD PRIMARY KEY ({what.key})"))
    connection.execute(text("ANALYZE reported"))
    return rows, unfit


@contextmanager
def _clickhouse_blocks(settings: Settings, what: WriteBack) -> Iterator[tuple[Iterator[pa.RecordBatch], int]]:
    fits = _FITS.format(key=what.key)
    client = connect_to_clickhouse(settings)
    try:
        unfit = client.query(f"SELECT count() FROM ({what.query}) WHERE NOT ({fits})").result_rows[0][0]
        query = f"SELECT * FROM ({what.query}) WHERE {fits}"
        with client.query_arrow_stream(query, use_strings=True) as blocks:
            yield blocks, int(unfit)
    finally:
        client.close()


def _compare(connection: "Connection", what: WriteBack) -> tuple[int, int]:
    """Number the rows to change, in the order of their key, in the session's table `changes`; how many, and how many of
    them because nothing was reported."""
    values = ", ".join(f"coalesce(r.{name}, {default}) AS {name}" for name, default in what.columns.items())
    wanted = ", ".join(f"coalesce(r.{name}, {default})" for name, default in what.columns.items())
    current = ", ".join(f"t.{name}" for name in what.columns)
    connection.execute(
        text(
            f"CREATE TEMP TABLE changes AS SELECT row_number() OVER (ORDER BY t.{what.key}) - 1 AS n, "
            f"t.{what.key}, r.{what.key} IS NULL AS reset, {values} "
            f"FROM {what.table} AS t LEFT JOIN reported AS r ON r.{what.key} = t.{what.key} "
            f"WHERE ({current}) IS DISTINCT FROM ({wanted})"
        )
    )
    connection.execute(text("ALTER TABLE changes ADD PRIMARY KEY (n)"))
    connection.execute(text("ANALYZE changes"))
    found = connection.execute(text("SELECT count(*), count(*) FILTER (WHERE reset) FROM changes")).one()
    return int(found[0]), int(found[1])


def _update(connection: "Connection", what: WriteBack, first: int, end: int) -> int:
    """Write the changes numbered from `first` to before `end`; rows rewritten."""
    assign = ", ".join(f"{name} = c.{name}" for name in what.columns)
    current, wanted = (", ".join(f"{side}.{name}" for name in what.columns) for side in ("t", "c"))
    # By key, row by row: a hash join would read the whole table for every batch, twice.
    connection.execute(text("SET LOCAL enable_hashjoin = off"))
    connection.execute(text("SET LOCAL enable_mergejoin = off"))
    taken = connection.execute(
        text(
            f"WITH taken AS MATERIALIZED (SELECT c.* FROM changes AS c JOIN {what.table} AS t "
            f"ON t.{what.key} = c.{what.key} WHERE c.n >= :first AND c.n < :end "
            f"ORDER BY t.{what.key} FOR NO KEY UPDATE OF t) "
            f"UPDATE {what.table} AS t SET {assign}, updated_at = now() FROM taken AS c "
            f"WHERE t.{what.key} = c.{what.key} AND ({current}) IS DISTINCT FROM ({wanted})"
        ),
        {"first": first, "end": end},
    )
    return int(taken.rowcount)


def _scalar(connection: "Connection", query: str) -> int:
    return int(connection.execute(text(query)).scalar_one())


def _as_csv(block: pa.RecordBatch) -> io.BytesIO:
    target = io.BytesIO()
    arrow_csv.write_csv(block, target, arrow_csv.WriteOptions(include_header=False))
    target.seek(0)
    return target

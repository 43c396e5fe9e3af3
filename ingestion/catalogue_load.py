"""Users and videos of a source into Postgres: copied beside the table, merged in one transaction."""

import io
import time
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import csv as arrow_csv
from sqlalchemy import text

from data_quality.contract_checks import require_valid
from data_quality.contracts import KEYS, USERS, VIDEOS, Contract
from ingestion.erasure.refusal import erased_users, refuse
from ingestion.errors import ForeignDataError
from ingestion.postgres_schema import locked
from ingestion.report import LoadReport, Progress, silent
from ingestion.source import RECREATABLE, Source
from stack.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_COPY_ROWS = 50_000
# The source says how these begin; afterwards the pipeline counts.
_INITIAL_ONLY = {"is_trending", "view_count", "like_count"}
# Uploaded videos lie beside those of a source, which knows nothing of them: no load counts or removes them.
OF_SOURCES = {"users": "true", "videos": "peertube_uuid IS NULL"}


def load_users(settings: Settings, source: Source, progress: Progress | None = None) -> LoadReport:
    """Make `users` what `source` says: new and changed rows written, absent ones removed, equal ones left alone."""
    return _load(settings, source, USERS, progress or silent)


def load_videos(settings: Settings, source: Source, progress: Progress | None = None) -> LoadReport:
    """As `load_users`, for `videos`."""
    return _load(settings, source, VIDEOS, progress or silent)


def _load(settings: Settings, source: Source, contract: Contract, tell: Progress) -> LoadReport:
    started = time.monotonic()
    entity = contract.table
    fingerprint = source.fingerprint()
    with locked(settings, f"load of {entity}") as connection:
        loaded = _loaded(connection, entity)
        before = _count(connection, entity)
        if loaded is None and before:
            raise ForeignDataError(
                f"Postgres holds {before} {entity} that no demo source brought: {source.name} would mix with them; "
                "load it into an empty database"
            )
        skipped = loaded is not None and loaded[1] == fingerprint and before >= loaded[2]
        sent = stored = refused = 0
        if skipped:
            tell(f"{entity}: {source.name} {fingerprint[:12]} is loaded already")
        else:
            source.validate()
            rows = require_valid(
                contract, source.users() if contract is USERS else source.videos(), KEYS[entity]
            )
            if loaded and loaded[0] != source.name:
                tell(f"{entity}: those of {loaded[0]} make room for {source.name}")
            sent = rows.num_rows
            rows, refused = refuse(erased_users(connection), rows)
            stored = _merge(connection, contract, rows)
            _mark(connection, entity, source.name, fingerprint, rows.num_rows)
            connection.commit()
            tell(f"{entity}: {sent:,} read, {stored:,} new or changed")
        return LoadReport(
            entity=entity,
            source=source.name,
            fingerprint=fingerprint,
            rows_read=sent,
            sent=sent,
            stored=stored,
            duplicate=sent - stored - refused,
            quarantined=refused,
            table_rows=_count(connection, entity),
            seconds=time.monotonic() - started,
            skipped=skipped,
            replaced=loaded[0] if loaded and loaded[0] != source.name else None,
        )


def _loaded(connection: "Connection", entity: str) -> tuple[str, str, int] | None:
    """Source, fingerprint and row count of the last load."""
    found = connection.execute(
        text("SELECT source, fingerprint, rows FROM loaded_sources WHERE entity = :entity"),
        {"entity": entity},
    ).one_or_none()
    if found is None or found.source not in RECREATABLE:
        return None
    return found.source, found.fingerprint, found.rows


def _mark(connection: "Connection", entity: str, source: str, fingerprint: str, rows: int) -> None:
    connection.execute(
        text(
            "INSERT INTO loaded_sources (entity, source, fingerprint, rows) "
            "VALUES (:entity, :source, :fingerprint, :rows) "
            "ON CONFLICT (entity) DO UPDATE SET source = EXCLUDED.source, fingerprint = EXCLUDED.fingerprint, "
            "rows = EXCLUDED.rows, loaded_at = now()"
        ),
        {"entity": entity, "source": source, "fingerprint": fingerprint, "rows": rows},
    )


def _count(connection: "Connection", entity: str) -> int:
    query = f"SELECT count(*) FROM {entity} WHERE {OF_SOURCES[entity]}"  # noqa: S608 - a contract's name
    return connection.execute(text(query)).scalar_one()


def _merge(connection: "Connection", contract: Contract, rows: pa.Table) -> int:
    """Rows inserted or changed. Names in the SQL are the contract's; every value travels through COPY."""
    entity, key, names = contract.table, KEYS[contract.table], contract.names
    columns = ", ".join(names)
    connection.execute(
        text(f"CREATE TEMP TABLE incoming ON COMMIT DROP AS SELECT {columns} FROM {entity} WHERE false")  # noqa: S608
    )
    driver = connection.connection.cursor()
    for start in range(0, rows.num_rows, _COPY_ROWS):
        copied = _as_csv(rows.slice(start, _COPY_ROWS))
        driver.copy_expert(f"COPY incoming ({columns}) FROM STDIN WITH (FORMAT csv)", copied)
    connection.execute(text(f"ALTER TABLE incoming ADD PRIMARY KEY ({key})"))
    connection.execute(text("ANALYZE incoming"))
    connection.execute(
        text(
            f"DELETE FROM {entity} AS t "  # noqa: S608
            f"WHERE {OF_SOURCES[entity]} AND NOT EXISTS (SELECT FROM incoming AS i WHERE i.{key} = t.{key})"
        )
    )
    kept = [name for name in names if name != key and name not in _INITIAL_ONLY]
    assign = ", ".join(f"{name} = EXCLUDED.{name}" for name in kept)
    old, new = (", ".join(f"{table}.{name}" for name in kept) for table in ("t", "EXCLUDED"))
    written = connection.execute(
        text(
            f"INSERT INTO {entity} AS t ({columns}) SELECT {columns} FROM incoming "  # noqa: S608
            f"ON CONFLICT ({key}) DO UPDATE SET {assign}, updated_at = now() "
            f"WHERE ({old}) IS DISTINCT FROM ({new})"
        )
    )
    return written.rowcount


def _as_csv(rows: pa.Table) -> io.BytesIO:
    """The rows as COPY reads them: an unquoted nothing is NULL, lists are Postgres' array literals."""
    columns = [
        pa.chunked_array([_array_literals(column)], pa.string()) if pa.types.is_list(column.type) else column
        for column in rows.columns
    ]
    target = io.BytesIO()
    arrow_csv.write_csv(
        pa.table(columns, names=rows.column_names), target, arrow_csv.WriteOptions(include_header=False)
    )
    target.seek(0)
    return target


def _array_literals(column: pa.ChunkedArray) -> list[str | None]:
    return [None if values is None else _array_literal(values) for values in column.to_pylist()]


def _array_literal(values: list[str]) -> str:
    quoted = ('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values)
    return "{" + ",".join(quoted) + "}"

"""Events of a source into ClickHouse: through a staging table, each event id once, proved by the ledger."""

import time
import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from data_quality.contract_checks import Rejected, check_batch
from data_quality.contracts import EVENTS
from ingestion import ledger
from ingestion.clickhouse import connect, number
from ingestion.erasure.refusal import REASON, REDACTED, erased_users, refuse
from ingestion.errors import LedgerImbalanceError
from ingestion.postgres_schema import locked
from ingestion.report import LoadReport, Progress, silent
from ingestion.segment_book import SOURCE as ENDPOINT
from ingestion.source import Source
from stack.erased_users import ErasedUsers
from stack.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_STAGING = "playback_events_staging"
_FLUSH_ROWS = 1_000_000
# dbt builds it in increments, by arrival: it would keep the sessions of events that are gone.
_DERIVED = (
    "int_session_states",
    "int_daily_user_activity",
    "int_daily_video_activity",
    "session_inbox",
    "touched_sessions",
    "session_durations",
    "activity_inbox",
    "touched_days",
)
_NAMES = ", ".join(EVENTS.names)
_SESSION_KEYS = "SELECT DISTINCT user_id, cityHash64(user_id, session_id, video_id)"
_NEW = "event_id NOT IN (SELECT event_id FROM playback_events WHERE event_id IN (SELECT event_id FROM {staging}))"


def load_events(settings: Settings, source: Source, progress: Progress | None = None) -> LoadReport:
    """Store what `source` has and ClickHouse has not; skips at once when this very content was loaded before.

    Events of another demo source make room. A load that was killed is done again from its start. Raises
    `SourceError` before anything is written, `ForeignDataError`, `LedgerImbalanceError`.
    """
    tell = progress or silent
    started = time.monotonic()
    with locked(settings, "load of playback_events") as connection, connect(settings) as client:
        client.command(f"DROP TABLE IF EXISTS {_STAGING}")  # what a killed load left
        fingerprint = source.fingerprint()
        plan = ledger.plan(client, source.name, fingerprint)
        if plan.skip:
            tell(f"playback_events: {source.name} {fingerprint[:12]} is loaded already")
            return _report(client, source, fingerprint, started, skipped=True)
        source.validate()
        row = ledger.LedgerRow(uuid.uuid4(), source.name, fingerprint, datetime.now(UTC))
        ledger.write(client, row)  # from here on a kill is noticed
        ledger.forget_unfinished(client, source.name, keep=row.batch_id)
        if plan.replaces:
            tell(f"playback_events: the events of {plan.replaces} make room for {source.name}")
            _make_room(client, keep=row.batch_id)
        client.command(f"CREATE TABLE {_STAGING} AS playback_events ENGINE = MergeTree ORDER BY tuple()")
        try:
            erased = erased_users(connection)
            connection.commit()  # a load is long: no transaction stays open for it
            done = _store(client, source.events(), row, tell, erased)
        finally:
            client.command(f"DROP TABLE IF EXISTS {_STAGING}")
        found = min(plan.found, done.duplicate)
        done = replace(done, stored=done.stored + found, duplicate=done.duplicate - found)
        done = replace(done, rows_read=source.rows_read, finished_at=datetime.now(UTC))
        ledger.write(client, done)
        replaced = plan.replaces if plan.replaces != source.name else None
        return _report(client, source, fingerprint, started, row=done, replaced=replaced)


def _report(
    client: "Client",
    source: Source,
    fingerprint: str,
    started: float,
    *,
    row: ledger.LedgerRow | None = None,
    skipped: bool = False,
    replaced: str | None = None,
) -> LoadReport:
    return LoadReport(
        entity="playback_events",
        source=source.name,
        fingerprint=fingerprint,
        rows_read=row.rows_read if row else 0,
        sent=row.sent if row else 0,
        stored=row.stored if row else 0,
        duplicate=row.duplicate if row else 0,
        quarantined=row.quarantined if row else 0,
        table_rows=ledger.rows_of_sources(client),
        seconds=time.monotonic() - started,
        skipped=skipped,
        replaced=replaced,
        notes=source.notes() if row else {},
    )


def _make_room(client: "Client", keep: uuid.UUID) -> None:
    """Remove every event and what is derived from them alone; the ledger keeps the load that is to come, and what the
    endpoint refused: segments may still be counted there.

    A kill in here leaves that load unfinished in the ledger, so the next one comes here again.
    """
    for table in (*_DERIVED, "playback_events"):
        client.command(f"TRUNCATE TABLE IF EXISTS {table}")
    client.command(
        "DELETE FROM quarantined_events WHERE source != {kept:String}", parameters={"kept": ENDPOINT}
    )
    client.command(
        "DELETE FROM ingestion_ledger WHERE batch_id != {keep:UUID} AND source != {kept:String}",
        parameters={"keep": str(keep), "kept": ENDPOINT},
    )


def _store(
    client: "Client",
    batches: Iterable[pa.RecordBatch],
    row: ledger.LedgerRow,
    tell: Progress,
    erased: ErasedUsers,
) -> ledger.LedgerRow:
    """The ledger row with this load's counts; each is counted on its own, so that a loss shows."""
    staged = 0
    for batch in batches:
        wanted, refused = refuse(erased, batch)  # first: also a broken event of an erased user is not kept
        checked = check_batch(EVENTS, wanted)
        rejected = checked.rejected + [Rejected("user_id", REASON, REDACTED)] * refused
        _quarantine(client, row, rejected)
        if checked.valid.num_rows:
            client.insert_arrow(_STAGING, pa.Table.from_batches([checked.valid]))
        staged += checked.valid.num_rows
        row = replace(row, sent=row.sent + batch.num_rows, quarantined=row.quarantined + len(rejected))
        if staged >= _FLUSH_ROWS:
            row = _flush(client, row, staged)
            staged = 0
            tell(f"playback_events: {row.sent:,} sent, {row.stored:,} stored")
    return _flush(client, row, staged) if staged else row


def _flush(client: "Client", row: ledger.LedgerRow, staged: int) -> ledger.LedgerRow:
    """Move the staged events that are new into the table, the first of each id, and empty the staging table."""
    new = _NEW.format(staging=_STAGING)
    arrived, distinct, fresh = client.query(
        f"SELECT count(), uniqExact(event_id), uniqExactIf(event_id, {new}) FROM {_STAGING}"  # noqa: S608
    ).result_rows[0]
    if arrived != staged:
        raise LedgerImbalanceError(f"{staged} events sent to ClickHouse, {arrived} arrived")
    client.command(
        f"INSERT INTO playback_events ({_NAMES}) SELECT {_NAMES} FROM {_STAGING} WHERE {new} LIMIT 1 BY event_id"  # noqa: S608
    )
    present = number(
        client,
        f"SELECT uniqExact(event_id) FROM playback_events WHERE event_id IN (SELECT event_id FROM {_STAGING})",  # noqa: S608
    )
    if present != distinct:
        raise LedgerImbalanceError(f"{distinct} distinct events staged, {present} of them are stored")
    if fresh < distinct:
        # What is there already came with a load that may have died before its sessions were noted.
        client.command(f"INSERT INTO session_inbox {_SESSION_KEYS} FROM {_STAGING}")
    client.command(f"TRUNCATE TABLE {_STAGING}")
    return replace(row, stored=row.stored + fresh, duplicate=row.duplicate + staged - fresh)


def _quarantine(client: "Client", row: ledger.LedgerRow, rejected: list[Rejected]) -> None:
    if rejected:
        client.insert(
            "quarantined_events",
            [[row.batch_id, row.source, bad.field, bad.reason, bad.row] for bad in rejected],
            column_names=["batch_id", "source", "field", "reason", "event"],
        )

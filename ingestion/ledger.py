"""The ingestion ledger: which source's events are in ClickHouse, and whether each load came to its end."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ingestion.clickhouse import number
from ingestion.errors import ForeignDataError, LedgerImbalanceError
from ingestion.segment_book import SOURCE as ENDPOINT
from ingestion.segment_book import UNCOUNTED, UNDER_WAY
from ingestion.source import RECREATABLE

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_COLUMNS = (
    "batch_id",
    "source",
    "fingerprint",
    "rows_read",
    "sent",
    "stored",
    "duplicate",
    "quarantined",
    "started_at",
    "finished_at",
    "erasures",
    "last_segment",
)
_ELSEWHERE = "load it into an empty home (REELGRAPH_HOME) or after `make reset`"
NOT_FINISHED = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class LedgerRow:
    """One load: of `sent` events each is stored, a duplicate, or quarantined."""

    batch_id: uuid.UUID
    source: str
    fingerprint: str
    started_at: datetime
    rows_read: int = 0
    sent: int = 0
    stored: int = 0
    duplicate: int = 0
    quarantined: int = 0
    finished_at: datetime = NOT_FINISHED
    erasures: Sequence[uuid.UUID] = ()
    """Those that moved events from stored to quarantined."""
    last_segment: str = ""

    @property
    def finished(self) -> bool:
        return self.finished_at > NOT_FINISHED


def write(client: "Client", row: LedgerRow) -> None:
    """Add or replace the row of a load; raises `LedgerImbalanceError` rather than write one that doesn't add up."""
    if row.sent != row.stored + row.duplicate + row.quarantined:
        raise LedgerImbalanceError(
            f"{row.source}: {row.sent} events sent, but {row.stored} stored + {row.duplicate} duplicate + "
            f"{row.quarantined} quarantined = {row.stored + row.duplicate + row.quarantined}"
        )
    client.insert("ingestion_ledger", [[getattr(row, name) for name in _COLUMNS]], column_names=_COLUMNS)


def read(client: "Client") -> list[LedgerRow]:
    """Every load, oldest first."""
    names = ", ".join(_COLUMNS)
    found = client.query(f"SELECT {names} FROM ingestion_ledger FINAL ORDER BY started_at, batch_id")  # noqa: S608
    rows = [dict(zip(_COLUMNS, row, strict=True)) for row in found.result_rows]
    for row in rows:
        for name in ("started_at", "finished_at"):
            row[name] = row[name].replace(tzinfo=UTC)
    return [LedgerRow(**row) for row in rows]


def rows_of_sources(client: "Client") -> int:
    """Rows of `playback_events` that loads brought: what a demo compares, whatever people do at the endpoint meanwhile.
    Exact in a turn of one's own ("load of playback_events")."""
    tracked = f"SELECT sum(stored) FROM ingestion_ledger FINAL WHERE source = '{ENDPOINT}'"  # noqa: S608
    return number(client, f"SELECT toInt64(count()) - toInt64(({tracked})) FROM playback_events")  # noqa: S608


def forget_unfinished(client: "Client", source: str, *, keep: uuid.UUID) -> None:
    """Drop the rows of loads of `source` that were killed, and what those quarantined; not those of `keep`."""
    killed = [row.batch_id for row in read(client) if row.source == source and not row.finished]
    ids = {"ids": [str(batch_id) for batch_id in killed if batch_id != keep]}
    for table in ("quarantined_events", "ingestion_ledger"):
        client.command(f"DELETE FROM {table} WHERE batch_id IN {{ids:Array(UUID)}}", parameters=ids)  # noqa: S608


@dataclass(frozen=True)
class Plan:
    """What to do with a source's events: nothing, add them, or have them take the place of others."""

    skip: bool = False
    replaces: str | None = None
    """The source whose events are removed first; the source's own name after a load that was killed."""
    found: int = 0
    """Events that a load of this source stored before it was killed: they count as stored, not as duplicates."""


def plan(client: "Client", source: str, fingerprint: str) -> Plan:
    """Compare what is stored with what is to be loaded.

    Only data that can be made again is ever removed: raises `ForeignDataError` when that would touch other events, or
    when a demo source would be mixed into them. Beside events that the endpoint took it is loaded, as their ids differ;
    but it takes no other's place then.
    """
    rows = read(client)
    events = number(client, "SELECT count() FROM playback_events")
    stored = sum(row.stored for row in rows)
    under_way = number(client, UNDER_WAY)
    tracked = under_way + sum(row.stored for row in rows if row.source == ENDPOINT)
    mine = [row for row in rows if (row.source, row.fingerprint) == (source, fingerprint)]
    others = [row for row in rows if row not in mine and row.source in RECREATABLE]
    foreign = sorted({row.source for row in rows} - RECREATABLE - {ENDPOINT})
    if any(row.finished for row in mine) and events >= stored and not others:
        return Plan(skip=True)
    if mine and not others and (foreign or tracked):
        # A load of this source was killed: what it stored is found by its ids.
        uncounted = number(
            client,
            "SELECT count() FROM playback_events "  # noqa: S608
            f"WHERE (event_id, toUnixTimestamp64Milli(created_at)) IN ({UNCOUNTED})",
        )
        return Plan(found=max(0, events - stored - uncounted))
    if foreign:
        raise ForeignDataError(
            f"ClickHouse holds events of {', '.join(foreign)}: {source} would replace or mix with them; {_ELSEWHERE}"
        )
    unaccounted = events - stored - under_way
    if unaccounted > 0 and all(row.finished for row in rows):
        raise ForeignDataError(
            f"ClickHouse holds {unaccounted} events that no load in the ledger accounts for: {source} would "
            f"replace or mix with them; {_ELSEWHERE}"
        )
    if not mine and not others:
        return Plan()
    before = (others or mine)[-1].source
    if tracked:
        raise ForeignDataError(
            f"ClickHouse holds events that people sent to the endpoint: they would go with those of {before}, "
            f"whose place {source} would take; {_ELSEWHERE}"
        )
    return Plan(replaces=before)

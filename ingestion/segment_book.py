"""The endpoint's part of the ledger: a row for each process and day, summed up from its segments without a repeat."""

import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from ingestion.clickhouse import literal
from ingestion.clickhouse_http import ClickHouseHttp
from ingestion.errors import LedgerImbalanceError

SOURCE: Final = "endpoint"
NAMESPACE: Final = uuid.UUID("5f0c1b9e-3c1f-5d43-9d3e-0d6f5a1b7c11")
_PLANNED, _DONE = 1, 2
_COUNTS = ("sent", "stored", "duplicate", "quarantined")


@dataclass(frozen=True)
class Counts:
    """sent = stored + duplicate + quarantined; raises `LedgerImbalanceError` if not."""

    sent: int = 0
    stored: int = 0
    duplicate: int = 0
    quarantined: int = 0

    def __post_init__(self) -> None:
        if self.sent != self.stored + self.duplicate + self.quarantined or min(self.values) < 0:
            raise LedgerImbalanceError(f"{SOURCE}: {self} does not add up")

    @property
    def values(self) -> tuple[int, int, int, int]:
        return self.sent, self.stored, self.duplicate, self.quarantined

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(mine + theirs for mine, theirs in zip(self.values, other.values, strict=True)))


@dataclass(frozen=True)
class Entry:
    """A segment as it was planned, and whether the ledger counts it."""

    segment_id: str
    batch_id: str
    counts: Counts
    done: bool
    planned_at: str

    def with_more_refused(self, more: int) -> "Entry":
        """`more` events turned out to be an erased user's: stored no longer, or duplicates no longer."""
        stored = min(more, self.counts.stored)
        duplicate = min(more - stored, self.counts.duplicate)
        changed = Counts(
            self.counts.sent,
            self.counts.stored - stored,
            self.counts.duplicate - duplicate,
            self.counts.quarantined + stored + duplicate,
        )
        return replace(self, counts=changed)


@dataclass(frozen=True)
class _LedgerRow:
    key: str
    started_at: datetime
    finished_at: datetime
    counts: Counts


def entry(client: ClickHouseHttp, segment_id: str) -> Entry | None:
    """What is known of the segment."""
    found = client.rows(
        f"SELECT toString(batch_id), {', '.join(_COUNTS)}, state, toString(planned_at) "  # noqa: S608
        f"FROM shipped_segments FINAL WHERE segment_id = {literal(segment_id)}"
    )
    if not found:
        return None
    batch_id, *counts, state, planned_at = found[0]
    return Entry(segment_id, batch_id, Counts(*map(int, counts)), int(state) == _DONE, planned_at)


def plan(client: ClickHouseHttp, segment_id: str, counts: Counts) -> Entry:
    """Note what will be counted, before anything is stored; the ledger has a row of this process and day from now on,
    so that nobody takes its events for unaccounted ones."""
    now = datetime.now(UTC)
    key = f"{instance_of(segment_id)} {now:%Y-%m-%d}"
    batch_id = str(uuid.uuid5(NAMESPACE, key))
    planned = Entry(segment_id, batch_id, counts, done=False, planned_at=_text(now))
    if _ledger(client, batch_id) is None:
        _write_ledger(client, batch_id, _LedgerRow(key, now, now, Counts()))
    _write(client, planned, _PLANNED)
    return planned


def count(client: ClickHouseHttp, segment: Entry) -> None:
    """Have the ledger count the segment, once: `sent` tells whether it does already, as nothing else changes that (an
    erasure moves stored ones to the quarantined)."""
    before = client.rows(
        f"SELECT sum(sent) FROM shipped_segments FINAL WHERE startsWith(segment_id, "  # noqa: S608
        f"{literal(instance_of(segment.segment_id))}) AND batch_id = '{segment.batch_id}' AND state = {_DONE}"
    )
    row = _ledger(client, segment.batch_id)
    if row is None:
        raise LedgerImbalanceError(f"{SOURCE}: the ledger's row of segment {segment.segment_id} is gone")
    if row.counts.sent == int(before[0][0]):
        _write_ledger(client, segment.batch_id, replace(row, counts=row.counts + segment.counts))
    _write(client, segment, _DONE)


def instance_of(segment_id: str) -> str:
    """The process that wrote the segment: its id without the number."""
    return segment_id.rpartition("-")[0]


def _write(client: ClickHouseHttp, segment: Entry, state: int) -> None:
    row = {"segment_id": segment.segment_id, "batch_id": segment.batch_id}
    counts = dict(zip(_COUNTS, segment.counts.values, strict=True))
    columns = ("segment_id", "batch_id", *_COUNTS, "state", "planned_at")
    client.insert(
        "shipped_segments", columns, [{**row, **counts, "state": state, "planned_at": segment.planned_at}]
    )


def _ledger(client: ClickHouseHttp, batch_id: str) -> _LedgerRow | None:
    found = client.rows(
        f"SELECT fingerprint, toUnixTimestamp64Milli(started_at), toUnixTimestamp64Milli(finished_at), "  # noqa: S608
        f"{', '.join(_COUNTS)} FROM ingestion_ledger FINAL WHERE source = '{SOURCE}' AND batch_id = '{batch_id}'"
    )
    if not found:
        return None
    key, started, finished, *counts = found[0]
    return _LedgerRow(key, _moment(started), _moment(finished), Counts(*map(int, counts)))


def _write_ledger(client: ClickHouseHttp, batch_id: str, row: _LedgerRow) -> None:
    """The row with the highest `finished_at` counts, whatever the clock does."""
    finished = max(datetime.now(UTC), row.finished_at + timedelta(milliseconds=1))
    values = {
        "batch_id": batch_id, "source": SOURCE, "fingerprint": row.key, "rows_read": row.counts.sent,
        **dict(zip(_COUNTS, row.counts.values, strict=True)),
        "started_at": _text(row.started_at), "finished_at": _text(finished),
    }  # fmt: skip
    client.insert("ingestion_ledger", tuple(values), [values])


def _moment(ms: str | int) -> datetime:
    return datetime.fromtimestamp(int(ms) / 1000, UTC)


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d}"

"""The endpoint's part of the ledger: a row for each process and day, summed up from its segments without a repeat."""

import uuid
from collections.abc import Sequence
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
UNCOUNTED: Final = (
    f"SELECT arrayJoin(new_events) FROM shipped_segments FINAL WHERE state = {_PLANNED} "  # noqa: S608
    "AND segment_id NOT IN (SELECT last_segment FROM ingestion_ledger FINAL)"
)
"""Events that segments under way have stored or will, (event_id, milliseconds of created_at); not those of a segment
that the ledger counts already, though a kill kept it from being marked as done."""

UNDER_WAY: Final = f"SELECT sum(stored) FROM shipped_segments FINAL WHERE state = {_PLANNED}"  # noqa: S608
"""How many events segments under way have stored or will."""

Arrival = tuple[str, int]
"""An event by its id and the milliseconds since 1970 of its arrival: who stored the event is told by both."""


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
    new: Sequence[Arrival] = ()
    """The events that it is to store, while it is not done."""

    def with_refused(self, refused: int) -> "Entry":
        """ClickHouse did not take `refused` of the events that were to be stored."""
        now = self.counts
        counts = Counts(now.sent, now.stored - refused, now.duplicate, now.quarantined + refused)
        return replace(self, counts=counts)


@dataclass(frozen=True)
class _LedgerRow:
    key: str
    started_at: datetime
    finished_at: datetime
    counts: Counts
    erasures: Sequence[str] = ()
    last_segment: str = ""


def entry(client: ClickHouseHttp, segment_id: str) -> Entry | None:
    """What is known of the segment."""
    found = client.rows(
        f"SELECT toString(batch_id), {', '.join(_COUNTS)}, state, toString(planned_at), "  # noqa: S608
        "arrayMap(event -> (toString(event.1), toString(event.2)), new_events) "
        f"FROM shipped_segments FINAL WHERE segment_id = {literal(segment_id)}"
    )
    if not found:
        return None
    batch_id, *counts, state, planned_at, new = found[0]
    return Entry(
        segment_id,
        batch_id,
        Counts(*map(int, counts)),
        done=int(state) == _DONE,
        planned_at=planned_at,
        new=[(event_id, int(ms)) for event_id, ms in new],
    )


def plan(client: ClickHouseHttp, segment_id: str, counts: Counts, new: Sequence[Arrival]) -> Entry:
    """Note what will be counted and stored, before anything is stored; the ledger has a row of this process and day
    from now on, so that nobody takes its events for unaccounted ones."""
    now = datetime.now(UTC)
    key = f"{instance_of(segment_id)} {now:%Y-%m-%d}"
    batch_id = str(uuid.uuid5(NAMESPACE, key))
    planned = Entry(segment_id, batch_id, counts, done=False, planned_at=_text(now), new=new)
    if _ledger(client, batch_id) is None:
        _write_ledger(client, batch_id, _LedgerRow(key, now, now, Counts()))
    _write(client, planned, _PLANNED)
    return planned


def plan_again(client: ClickHouseHttp, planned: Entry, counts: Counts, new: Sequence[Arrival]) -> Entry:
    """The plan of a segment that was cut off, after what has happened since; of equal versions the last row counts."""
    changed = replace(planned, counts=counts, new=new)
    _write(client, changed, _PLANNED)
    return changed


def count(client: ClickHouseHttp, segment: Entry) -> None:
    """Have the ledger count the segment, once: its row names the one that it counted last, which is marked as done
    before the next is counted, should a kill have come between."""
    row = _ledger(client, segment.batch_id)
    if row is None:
        raise LedgerImbalanceError(f"{SOURCE}: the ledger's row of segment {segment.segment_id} is gone")
    if row.last_segment != segment.segment_id:
        last = entry(client, row.last_segment)
        if last is not None and not last.done:
            _write(client, replace(last, new=()), _DONE)
        counted = replace(row, counts=row.counts + segment.counts, last_segment=segment.segment_id)
        _write_ledger(client, segment.batch_id, counted)
    _write(client, replace(segment, new=()), _DONE)


def instance_of(segment_id: str) -> str:
    """The process that wrote the segment: its id without the number."""
    return segment_id.rpartition("-")[0]


def _write(client: ClickHouseHttp, segment: Entry, state: int) -> None:
    row = {"segment_id": segment.segment_id, "batch_id": segment.batch_id}
    counts = dict(zip(_COUNTS, segment.counts.values, strict=True))
    columns = ("segment_id", "batch_id", *_COUNTS, "state", "planned_at", "new_events")
    rest = {"state": state, "planned_at": segment.planned_at, "new_events": segment.new}
    client.insert("shipped_segments", columns, [{**row, **counts, **rest}])


def _ledger(client: ClickHouseHttp, batch_id: str) -> _LedgerRow | None:
    found = client.rows(
        f"SELECT fingerprint, toUnixTimestamp64Milli(started_at), toUnixTimestamp64Milli(finished_at), "  # noqa: S608
        f"{', '.join(_COUNTS)}, erasures, last_segment "
        f"FROM ingestion_ledger FINAL WHERE source = '{SOURCE}' AND batch_id = '{batch_id}'"
    )
    if not found:
        return None
    key, started, finished, *counts, erasures, last = found[0]
    return _LedgerRow(key, _moment(started), _moment(finished), Counts(*map(int, counts)), erasures, last)


def _write_ledger(client: ClickHouseHttp, batch_id: str, row: _LedgerRow) -> None:
    """The row with the highest `finished_at` counts, whatever the clock does."""
    finished = max(datetime.now(UTC), row.finished_at + timedelta(milliseconds=1))
    values = {
        "batch_id": batch_id, "source": SOURCE, "fingerprint": row.key, "rows_read": row.counts.sent,
        **dict(zip(_COUNTS, row.counts.values, strict=True)),
        "started_at": _text(row.started_at), "finished_at": _text(finished),
        "erasures": row.erasures, "last_segment": row.last_segment,
    }  # fmt: skip
    client.insert("ingestion_ledger", tuple(values), [values])


def _moment(ms: str | int) -> datetime:
    return datetime.fromtimestamp(int(ms) / 1000, UTC)


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d}"

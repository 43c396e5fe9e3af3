"""Segments of tracked events into ClickHouse: sent once or many times, each event counts once, the ledger proves it."""

import logging
import uuid
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from ingestion import segment_book
from ingestion.clickhouse import literal
from ingestion.clickhouse_http import ClickHouseHttp, RowsRefusedError
from ingestion.erasure.redaction import REASON, REDACTED
from ingestion.errors import LedgerImbalanceError
from ingestion.event_checks import FIELDS, fault
from ingestion.segment_book import SOURCE, Arrival, Counts

log = logging.getLogger(__name__)

REFUSED_LINE: Final = orjson.dumps({"refused": REASON})
"""What the endpoint spools of an event of an erased user: that there was one."""
_AT_ONCE = 5_000
_MOST_REFUSED = 50
"""So many bad events of a segment are looked for one by one; then it is no matter of single events."""
_COLUMNS: Final = (*FIELDS, "created_at")
_INSTANTS: Final = ("impression_timestamp", "created_at")


@dataclass(frozen=True)
class Rejected:
    """An event that breaks the contract or belongs to an erased user; `event` is what is kept of it, as JSON."""

    field: str
    reason: str
    event: str


@dataclass(frozen=True)
class Sorted:
    """The events of a segment; `good` has no id twice, `repeated` counts those that would."""

    good: list[dict[str, Any]]
    rejected: list[Rejected]
    repeated: int

    @property
    def sent(self) -> int:
        return len(self.good) + len(self.rejected) + self.repeated


def store_segment(client: ClickHouseHttp, content: bytes, segment_id: str, erased: Container[str]) -> Counts:
    """Store what is new of a segment's lines (JSON, times in milliseconds), quarantine what is bad, write the ledger.

    Does nothing for a segment that is done, and goes on with one that was cut off. One caller at a time, please: two
    that store one event at the same moment would both count it. Raises `StoreUnreachableError`, `StoreRefusedError`,
    `LedgerImbalanceError`.
    """
    book = segment_book.entry(client, segment_id)
    if book is not None and book.done:
        return book.counts
    events = sort_lines(content.removesuffix(b"\n").split(b"\n"), erased)
    present = _present(client, events.good)
    begun = (
        frozenset(book.new) if book else frozenset()
    )  # what is found of these, an attempt that was cut off stored
    new = [
        _arrival(e) for e in events.good if e["event_id"] not in present or present[e["event_id"]] in begun
    ]
    bad = len(events.rejected)
    counts = Counts(events.sent, len(new), events.sent - len(new) - bad, bad)
    if book is None:
        book = segment_book.plan(client, segment_id, counts, new)
    else:
        book = segment_book.plan_again(client, book, counts, new)
    refused: list[Rejected] = []
    for some in _chunks([event for event in events.good if event["event_id"] not in present]):
        _insert(client, some, refused)
    if len(refused) > _MOST_REFUSED:
        log.error("segment %s: ClickHouse refuses too many events, %d are quarantined: %s",
                  segment_id, len(refused), refused[0].reason)  # fmt: skip
    _quarantine(client, segment_id, events.rejected + refused)
    stored = _present(client, events.good)
    if len(stored) + len(refused) != len(events.good):
        raise LedgerImbalanceError(f"{len(events.good)} events sent to ClickHouse, {len(stored)} are stored")
    _note_sessions(client, [event for event in events.good if event["event_id"] in present])
    book = book.with_refused(len(refused))
    segment_book.count(client, book)
    return book.counts


def sort_lines(lines: Iterable[bytes], erased: Container[str]) -> Sorted:
    """Erased users first: also a broken event of theirs is not kept."""
    good: dict[str, dict[str, Any]] = {}
    rejected: list[Rejected] = []
    valid = 0
    for line in lines:
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            event = None
        if not isinstance(event, dict):
            rejected.append(Rejected("event", "the line is not a JSON object", _kept(line)))
        elif "refused" in event or (isinstance(event.get("user_id"), str) and event["user_id"] in erased):
            rejected.append(Rejected("user_id", REASON, REDACTED))
        elif wrong := fault(event):
            rejected.append(Rejected(*wrong, _kept(line)))
        else:
            valid += 1
            good.setdefault(event["event_id"].lower(), {**event, "event_id": event["event_id"].lower()})
    return Sorted(list(good.values()), rejected, valid - len(good))


def _kept(line: bytes) -> str:
    return line.decode("utf-8", "replace")


def _insert(client: ClickHouseHttp, events: Sequence[dict[str, Any]], refused: list[Rejected]) -> None:
    """Store them; those that ClickHouse will never take are found by halves and added to `refused`. Once these are
    many, whatever is refused together goes there together."""
    try:
        client.insert("playback_events", _COLUMNS, map(_row, events))
    except RowsRefusedError as error:
        if len(events) == 1 or len(refused) >= _MOST_REFUSED:
            what = f"it and {len(events) - 1} others" if len(events) > 1 else "it"
            reason = f"ClickHouse refuses {what}: {error}"
            refused += [Rejected("event", reason, _kept(orjson.dumps(event))) for event in events]
            return
        half = len(events) // 2
        _insert(client, events[:half], refused)
        _insert(client, events[half:], refused)


def _row(event: dict[str, Any]) -> dict[str, Any]:
    return {name: instant(event[name]) if name in _INSTANTS else event.get(name) for name in _COLUMNS}


def _arrival(event: dict[str, Any]) -> Arrival:
    return event["event_id"], event["created_at"]


def instant(ms: int) -> str:
    """Milliseconds since 1970 as ClickHouse reads them."""
    seconds, rest = divmod(ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest:03d}"


def _present(client: ClickHouseHttp, events: Sequence[dict[str, Any]]) -> dict[str, Arrival]:
    """What is stored already, by its id. Looked for among the events of the same users, which the table's order
    finds."""
    found: dict[str, Arrival] = {}
    for some in _chunks(events):
        rows = client.rows(
            "SELECT toString(event_id), toUnixTimestamp64Milli(created_at) "  # noqa: S608
            f"FROM playback_events WHERE {_these(some)}"
        )
        found.update((event_id, (event_id, int(ms))) for event_id, ms in rows)
    return found


def _note_sessions(client: ClickHouseHttp, events: Sequence[dict[str, Any]]) -> None:
    """What was there already came with an attempt that may have died before its sessions were noted."""
    for some in _chunks(events):
        client.run(
            "INSERT INTO session_inbox (user_id, session_key) SELECT DISTINCT user_id, session_key "  # noqa: S608
            f"FROM playback_events WHERE {_these(some)}"
        )


def _these(events: Sequence[dict[str, Any]]) -> str:
    users = ", ".join(sorted({literal(event["user_id"]) for event in events}))
    ids = ", ".join(f"'{event['event_id']}'" for event in events)  # checked: hexadecimal digits and dashes
    return f"user_id IN ({users}) AND event_id IN ({ids})"


def _quarantine(client: ClickHouseHttp, segment_id: str, rejected: Sequence[Rejected]) -> None:
    if not rejected:
        return
    batch = str(quarantine_id(segment_id))
    [[there]] = client.rows(
        f"SELECT count() FROM quarantined_events WHERE source = '{SOURCE}' AND batch_id = '{batch}'"  # noqa: S608
    )
    if int(there) >= len(rejected):
        return
    columns = ("batch_id", "source", "field", "reason", "event")
    rows = [(batch, SOURCE, bad.field, bad.reason, bad.event) for bad in rejected[int(there) :]]
    client.insert("quarantined_events", columns, (dict(zip(columns, row, strict=True)) for row in rows))


def quarantine_id(segment_id: str) -> uuid.UUID:
    """`batch_id` of what is quarantined of a segment."""
    return uuid.uuid5(segment_book.NAMESPACE, f"segment {segment_id}")


def _chunks(events: Sequence[dict[str, Any]]) -> Iterator[Sequence[dict[str, Any]]]:
    for start in range(0, len(events), _AT_ONCE):
        yield events[start : start + _AT_ONCE]

"""A durable queue of JSON lines: written to disk in group commits, shipped from there in segments."""

import asyncio
import errno
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from serving.spool.entries import Entry, tell
from serving.spool.metrics import (
    SegmentDeclinedError,
    SegmentRefusedError,
    ShipReport,
    SpoolBrokenError,
    SpoolError,
    SpoolFullError,
    metrics_of,
)
from serving.spool.segments import OpenSegment, SegmentFolder
from serving.spool.shipper import Ship, Shipper
from serving.telemetry.tracing_batches import BatchSpans

__all__ = [
    "SegmentDeclinedError",
    "SegmentRefusedError",
    "ShipReport",
    "Spool",
    "SpoolBrokenError",
    "SpoolError",
    "SpoolFullError",
]

log = logging.getLogger(__name__)

LINGER_S = 0.05
"""How long a line nobody waits for may stay in memory, to be written with others."""
RETRY_S = 0.5
BEHIND_S = 30.0
"""How old a segment gets while others wait: after an hour without ClickHouse 120 are to be shipped, not 3,600."""
WRITE_S = 5.0
"""What a stop gives the disk to take what is held, however short its time-out."""
MAX_HELD_BYTES = 16_000_000
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Spool:
    """Lines in `folder`, a segment file after the other; `ship(content, segment_id)` gets whole sealed segments in a
    thread of its own and must be idempotent by the id. `kill -9` loses nothing that `durable` has returned for."""

    def __init__(
        self,
        folder: Path,
        ship: Ship,
        *,
        registry: CollectorRegistry,
        name: str,
        max_segment_bytes: int = 8_000_000,
        max_segment_age_s: float = 1.0,
        max_bytes: int = 4_000_000_000,
    ) -> None:
        self.name = name
        self._folder = SegmentFolder(folder)
        self._metrics = metrics_of(registry)
        self._spans = BatchSpans(f"ship {name}")
        self._shipper = Shipper(self._folder, self._spans.around(ship), self._metrics, name)
        self._max_segment_bytes = max_segment_bytes
        self._max_segment_age_s = max_segment_age_s
        self._max_bytes = max_bytes
        self._held: deque[Entry] = deque()
        self._held_bytes = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._losing = False
        self._broken: SpoolError | None = None
        self._opened = False
        self._segment: OpenSegment | None = None
        self._number = 0
        self._writer = threading.Thread(target=self._write, name=f"spool-{name}-writer", daemon=True)
        self._metrics.watch(
            name, lambda: self.waiting()[0], lambda: self.waiting()[1], lambda: self.waiting()[2]
        )

    def start(self) -> None:
        """Start writing and shipping, first what dead processes left. Lines may be appended before."""
        self._writer.start()
        self._shipper.start()

    @property
    def instance(self) -> str:
        """Begins the ids of the segments that this process writes."""
        return self._folder.instance

    def append(self, line: bytes) -> None:
        """Have the line written soon; never waits. What finds no room, in memory after the disk, is counted lost."""
        if b"\n" in line:
            raise ValueError("a line must not hold a line break")
        self._spans.asked()
        with self._changed:
            if not self._stopping and self._held_bytes + len(line) < MAX_HELD_BYTES:
                self._hold(Entry(line + b"\n", 1, None))
                self._losing = False
                return
            first, self._losing = not self._losing, True
        self._metrics.lost.labels(self.name).inc()
        if first:
            log.error(
                "%s are lost: they come faster than the disk takes them, or the spool is stopped", self.name
            )

    async def durable(self, line: bytes) -> None:
        """Returns when the line is on disk; raises `SpoolFullError`, `SpoolBrokenError`."""
        await self.all_durable([line])

    async def all_durable(self, lines: Sequence[bytes]) -> None:
        """The same for several lines: all of them, or on an error none."""
        content = b"\n".join(lines) + b"\n"
        if content.count(b"\n") != len(lines):
            raise ValueError("a line must not hold a line break")
        self._spans.asked()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._changed:
            if self._stopping:
                raise SpoolBrokenError(f"the spool of {self.name} is stopped")
            if self._held_bytes + len(content) >= MAX_HELD_BYTES:
                raise SpoolFullError(f"{self.name} come faster than the disk takes them")
            self._hold(Entry(content, len(lines), future))
        await future

    def waiting(self) -> tuple[int, int, float]:
        """Lines and bytes that are not shipped yet, and the age in seconds of the oldest."""
        lines, size, oldest = self._shipper.waiting()
        with self._changed:
            lines += sum(entry.lines for entry in self._held)
            size += self._held_bytes
            segment = self._segment
        if segment is not None and segment.lines:
            lines, size = lines + segment.lines, size + segment.size
            oldest = segment.since if oldest is None else oldest
        return lines, size, 0.0 if oldest is None else max(0.0, time.time() - oldest)

    async def stop(self, timeout_s: float) -> None:
        """Write what is held, then ship until the time-out; what is left is shipped by the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        await asyncio.to_thread(self._stop, timeout_s)

    # --- The writer's thread ----------------------------------------------------------------------------------

    def _hold(self, entry: Entry) -> None:
        self._held.append(entry)
        self._held_bytes += len(entry.content)
        if entry.future is not None or len(self._held) == 1:
            self._changed.notify()

    def _stop(self, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        if self._writer.is_alive():
            self._writer.join(max(timeout_s, WRITE_S))
        shipped = self._shipper.finish(max(0.0, until - time.monotonic()))
        if shipped and not self._writer.is_alive():
            try:
                self._folder.close()
            except OSError:
                log.exception("the folder of %s cannot be closed", self.name)

    def _write(self) -> None:
        while True:
            entries, stopping = self._taken()
            failed = self._store(entries) if entries else None
            if entries:
                self._answer(entries, failed)
            if stopping or self._due():
                self._seal()
            if stopping and (failed or not self._held):
                break
        left = sum(entry.lines for entry in self._held)
        if left:
            self._metrics.lost.labels(self.name).inc(left)
            log.error("%d lines of %s are lost: the disk takes nothing", left, self.name)

    def _taken(self) -> tuple[list[Entry], bool]:
        """What to write now; empty when it is only time to seal."""
        with self._changed:
            if not self._opened or not self._held:
                self._changed.wait_for(lambda: self._held or self._stopping, self._until_due())
            if self._held and not self._stopping:
                linger = LINGER_S if self._broken is None else RETRY_S
                self._changed.wait_for(
                    lambda: self._stopping or any(entry.future for entry in self._held), linger
                )
            entries = list(self._held)
            self._held.clear()
            self._held_bytes = 0
            return entries, self._stopping

    def _until_due(self) -> float | None:
        if not self._opened:
            return 0.0 if self._broken is None else RETRY_S
        if self._segment is None:
            return None
        age = max(self._max_segment_age_s, BEHIND_S) if self._shipper.behind else self._max_segment_age_s
        return max(0.0, self._segment.opened + age - time.monotonic())

    def _due(self) -> bool:
        if not self._opened:
            self._open()
        return self._segment is not None and (
            self._segment.size >= self._max_segment_bytes or self._until_due() == 0.0
        )

    def _open(self) -> None:
        try:
            left = self._folder.open()
        except OSError as error:
            self._mark(SpoolBrokenError(f"the folder of {self.name} cannot be used: {error.strerror}"))
            return
        self._opened = True
        self._metrics.torn.labels(self.name).inc(self._folder.torn)
        self._mark(None)
        self._shipper.add(left)

    def _store(self, entries: list[Entry]) -> SpoolError | None:
        if not self._opened:
            self._open()
        if not self._opened:
            return self._broken
        try:
            self._append_to_segment(entries)
        except SpoolFullError as error:
            self._mark(error)
        except OSError as error:
            self._seal()  # what is whole in it is shipped; the next attempt has a file of its own
            kind = SpoolFullError if error.errno in _NO_ROOM else SpoolBrokenError
            self._mark(kind(f"{self.name} cannot be written: {error.strerror}"))
        except (
            Exception
        ):  # the thread must outlive whatever it meets: who waits is told, the next attempt may work
            log.exception("%s cannot be written", self.name)
            self._mark(SpoolBrokenError(f"{self.name} cannot be written"))
        else:
            self._mark(None)
        return self._broken

    def _append_to_segment(self, entries: list[Entry]) -> None:
        content = b"".join(entry.content for entry in entries)
        lines = sum(entry.lines for entry in entries)
        waiting = self._shipper.size + (self._segment.size if self._segment else 0)
        if waiting + len(content) > self._max_bytes:
            raise SpoolFullError(f"{waiting} bytes of {self.name} wait to be shipped, no more are taken")
        if self._segment is None:
            self._number += 1
            self._segment = OpenSegment(self._folder.own, f"{self._folder.instance}-{self._number:08d}")
        began = time.perf_counter()
        self._segment.write(content, lines, sync=any(entry.future for entry in entries))
        self._metrics.sync_seconds.labels(self.name).observe(time.perf_counter() - began)
        self._metrics.written.labels(self.name).inc(lines)

    def _seal(self) -> None:
        segment = self._segment
        if segment is None:
            return
        try:
            if (sealed := segment.seal()) is not None:
                self._shipper.add([sealed])
        except OSError as error:
            # Its whole lines are on disk; the next start mends and ships them.
            log.error("a segment of %s waits for the next start: %s", self.name, error.strerror)  # noqa: TRY400
        self._segment = None  # last: what waits is never counted as nothing

    def _answer(self, entries: list[Entry], error: SpoolError | None) -> None:
        """Tell those who wait; after an error the lines nobody waits for are kept for the next attempt."""
        tell(entries, error)
        if error is not None:
            kept = [entry for entry in entries if entry.future is None]
            with self._changed:
                self._held.extendleft(reversed(kept))
                self._held_bytes += sum(len(entry.content) for entry in kept)

    def _mark(self, error: SpoolError | None) -> None:
        if error is not None and self._broken is None:
            log.error("%s", error)
        elif error is None and self._broken is not None:
            log.info("%s are written again", self.name)
        self._broken = error

"""The thread that ships sealed segments, the oldest first: none is given up, and none blocks the others for good."""

import logging
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable

from serving.spool.metrics import SegmentDeclinedError, SegmentRefusedError, ShipReport, SpoolMetrics
from serving.spool.segments import Segment, SegmentFolder

log = logging.getLogger(__name__)

BACK_OFF_S = (0.2, 10.0)
PATIENCE = 5
"""After so many failures that are its own a segment moves behind the others, or is set aside if it cannot be read."""
PILE = 3
GRACE_S = 0.5
"""How long an attempt under way at the time-out may take to end."""

Ship = Callable[[bytes, str], ShipReport | None]


class Shipper:
    """Retries with exponential back-off and jitter until a segment is shipped; only then is its file deleted."""

    def __init__(self, folder: SegmentFolder, ship: Ship, metrics: SpoolMetrics, name: str) -> None:
        self._folder = folder
        self._ship = ship
        self._metrics = metrics
        self._name = name
        self._queue: deque[Segment] = deque()
        self._lines = 0
        self._bytes = 0
        self._changed = threading.Condition()
        self._no_more = False
        self._deadline = float("inf")
        self._failing = False
        self._own_failures: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name=f"spool-{name}-shipper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, segments: Iterable[Segment]) -> None:
        with self._changed:
            for segment in segments:
                self._queue.append(segment)
                self._lines += segment.lines
                self._bytes += segment.size
            self._changed.notify_all()

    @property
    def behind(self) -> bool:
        """Whether segments pile up: larger ones are shipped in fewer steps then."""
        return len(self._queue) > PILE

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._bytes

    def waiting(self) -> tuple[int, int, float | None]:
        """Lines, bytes, and when the oldest line came (None if nothing waits)."""
        with self._changed:
            oldest = min((segment.since for segment in self._queue), default=None)
            return self._lines, self._bytes, oldest

    def finish(self, timeout_s: float) -> bool:
        """Nothing more will be added: ship what is left for so long; False if it is still in an attempt then."""
        with self._changed:
            self._no_more = True
            self._deadline = time.monotonic() + timeout_s
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s + GRACE_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        attempt = 0
        while (segment := self._next()) is not None:
            if self._shipped(segment):
                attempt = 0
                del self._own_failures[segment.id]
                with self._changed:
                    self._queue.popleft()
                    self._lines -= segment.lines
                    self._bytes -= segment.size
            else:
                shortest, longest = BACK_OFF_S
                pause = min(longest, shortest * 2**attempt) * random.uniform(0.5, 1.0)  # noqa: S311
                with self._changed:
                    if self._own_failures[segment.id] >= PATIENCE:
                        self._queue.rotate(-1)
                    if self._no_more and attempt:
                        return  # a store that is down holds up no stop: what is left is shipped by the next start
                    if self._no_more:
                        pause = min(pause, shortest)
                    self._changed.wait(max(0.0, min(pause, self._deadline - time.monotonic(), 3600)))
                attempt = min(attempt + 1, 10)

    def _next(self) -> Segment | None:
        with self._changed:
            while not self._queue and not self._no_more:
                self._changed.wait()
            over = self._no_more and (not self._queue or time.monotonic() >= self._deadline)
            return None if over else self._queue[0]

    def _shipped(self, segment: Segment) -> bool:
        """Whether it is out of the way."""
        try:
            content = segment.path.read_bytes()
        except FileNotFoundError:
            return self._vanished(segment)
        except OSError as error:
            return self._unreadable(segment, error)
        try:
            report = self._ship(content, segment.id)
        except SegmentRefusedError as error:
            return self._set_aside(segment, str(error), error.kept)
        except Exception as error:  # a store that is down or in trouble: kept and tried again
            self._own_failures[segment.id] += isinstance(error, SegmentDeclinedError)
            self._metrics.failures.labels(self._name).inc()
            self._metrics.failing.labels(self._name).set(1)
            if not self._failing:
                self._failing = True
                log.warning("%s are kept on disk, shipping them failed: %s: %s",
                            self._name, type(error).__name__, str(error)[:300])  # fmt: skip
            return False
        if self._failing:
            self._failing = False
            log.info("%s are shipped again", self._name)
        self._metrics.failing.labels(self._name).set(0)
        done = report or ShipReport(segment.lines, segment.lines)
        for result in ("stored", "duplicate", "quarantined"):
            self._metrics.shipped.labels(self._name, result).inc(getattr(done, result))
        return self._deleted(segment)

    def _vanished(self, segment: Segment) -> bool:
        self._metrics.lost.labels(self._name).inc(segment.lines)
        log.error("segment %s of %s (%d lines) is lost: somebody removed its file",
                  segment.id, self._name, segment.lines)  # fmt: skip
        return True

    def _unreadable(self, segment: Segment, error: OSError) -> bool:
        """What may pass (no file handle left) is tried again, but not for ever."""
        self._metrics.failures.labels(self._name).inc()
        self._own_failures[segment.id] += 1
        if self._own_failures[segment.id] < PATIENCE:
            return False
        return self._set_aside(segment, f"its file cannot be read: {error.strerror}", None)

    def _set_aside(self, segment: Segment, why: str, kept: bytes | None) -> bool:
        try:
            place = self._folder.refuse(segment, kept)
        except FileNotFoundError:
            return self._vanished(segment)
        except OSError:
            self._own_failures[segment.id] += 1
            log.exception("segment %s of %s is refused and cannot be set aside", segment.id, self._name)
            return False
        self._metrics.refused.labels(self._name).inc(segment.lines)
        log.error("segment %s of %s (%d lines) is refused, see %s: %s",
                  segment.id, self._name, segment.lines, place, why[:300])  # fmt: skip
        return True

    def _deleted(self, segment: Segment) -> bool:
        """Shipping it again changes nothing, so a file that stays is only tried again."""
        try:
            segment.path.unlink(missing_ok=True)
        except OSError:
            log.exception("segment %s of %s is shipped and cannot be deleted", segment.id, self._name)
            return False
        return True

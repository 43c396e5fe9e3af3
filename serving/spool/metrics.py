"""What a spool counts and what can go wrong with it: one set of series for all spools of a registry."""

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class SpoolError(Exception):
    """A line could not be made durable; nothing of it will be shipped, as far as the disk can tell."""


class SpoolFullError(SpoolError):
    """There is no room: the disk is full, or more is waiting than the spool may hold."""


class SpoolBrokenError(SpoolError):
    """The folder cannot be written, or the spool is not running."""


class SegmentRefusedError(Exception):
    """Raised by `ship`: the segment will never be taken, whatever is tried. It is set aside, or only what may be
    `kept` of it: users may have been erased since it was written."""

    def __init__(self, why: str, kept: bytes | None = None) -> None:
        super().__init__(why)
        self.kept = kept


class SegmentDeclinedError(Exception):
    """Raised by `ship`: the store is there and did not take this segment. It is tried again, in the end behind the
    others; any other error says that the store is away, and that all segments wait."""


@dataclass(frozen=True)
class ShipReport:
    """What became of a segment's lines: sent = stored + duplicate + quarantined."""

    sent: int
    stored: int
    duplicate: int = 0
    quarantined: int = 0


class SpoolMetrics:
    """The series of one registry, labelled by the spool's name."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lost = Counter(
            "reelgraph_spool_lost", "Lines dropped: no room in memory or disk", ["spool"], registry=registry
        )
        self.torn = Counter(
            "reelgraph_spool_torn", "Half lines that killed processes left", ["spool"], registry=registry
        )
        self.refused = Counter(
            "reelgraph_spool_refused", "Lines of segments that were set aside", ["spool"], registry=registry
        )
        self.written = Counter(
            "reelgraph_spool_written", "Lines written to disk", ["spool"], registry=registry
        )
        self.shipped = Counter(
            "reelgraph_spool_shipped", "Lines shipped, by what became of them", ["spool", "result"],
            registry=registry,
        )  # fmt: skip
        self.failures = Counter(
            "reelgraph_spool_ship_failures", "Attempts to ship that failed", ["spool"], registry=registry
        )
        self.failing = Gauge(
            "reelgraph_spool_failing", "1 while the store takes nothing", ["spool"], registry=registry
        )
        self.sync_seconds = Histogram(
            "reelgraph_spool_sync_seconds", "Time of one group commit", ["spool"], buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self._waiting_lines = Gauge(
            "reelgraph_spool_waiting_lines", "Lines not shipped yet", ["spool"], registry=registry
        )
        self._waiting_bytes = Gauge(
            "reelgraph_spool_waiting_bytes", "Bytes not shipped yet", ["spool"], registry=registry
        )
        self._waiting_seconds = Gauge(
            "reelgraph_spool_waiting_seconds", "Age of the oldest line not shipped yet", ["spool"],
            registry=registry,
        )  # fmt: skip

    def watch(
        self, name: str, lines: Callable[[], float], size: Callable[[], float], age: Callable[[], float]
    ) -> None:
        """Have the gauges ask, whenever they are read."""
        self._waiting_lines.labels(name).set_function(lines)
        self._waiting_bytes.labels(name).set_function(size)
        self._waiting_seconds.labels(name).set_function(age)


_OF_REGISTRY: "WeakKeyDictionary[CollectorRegistry, SpoolMetrics]" = WeakKeyDictionary()


def metrics_of(registry: CollectorRegistry) -> SpoolMetrics:
    """The registry's series; a name can be registered once only."""
    if registry not in _OF_REGISTRY:
        _OF_REGISTRY[registry] = SpoolMetrics(registry)
    return _OF_REGISTRY[registry]

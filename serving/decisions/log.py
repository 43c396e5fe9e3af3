"""The decision log: every list the endpoint answers becomes a row of ClickHouse, off the request's path."""

import logging
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter

from serving.decisions.decision import Decision
from serving.decisions.row import UnrecordableDecisionError, line_of
from serving.decisions.shipping import DecisionShipper
from serving.spool.spool import Spool
from stack.settings import Settings

log = logging.getLogger(__name__)

FOLDER = "decisions"
BATCH_BYTES, BATCH_S = 1_000_000, 1.0
MAX_BYTES = 2_000_000_000
"""About a million lists of 20: what ClickHouse may miss before decisions are dropped."""
STOP_S = 5.0


class DecisionMetrics:
    """What waits and what was lost, the spool counts (`reelgraph_spool_*`, `spool="decisions"`)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.recorded = Counter(
            "reelgraph_decisions_recorded", "Decisions put into the log", registry=registry
        )
        self.unrecordable = Counter(
            "reelgraph_decisions_unrecordable", "Decisions that cannot be a row, dropped", registry=registry
        )


class DecisionLog:
    """`record` costs a request microseconds and never fails it. Lines are on disk within the spool's linger, in
    ClickHouse within a second or so; a clean stop loses none, with ClickHouse down they wait for the next start."""

    def __init__(
        self,
        settings: Settings,
        registry: CollectorRegistry,
        *,
        is_erased: Callable[[str], bool] = lambda user_id: False,
    ) -> None:
        self._metrics = DecisionMetrics(registry)
        self._shipper = DecisionShipper(settings, is_erased)
        self.spool = Spool(
            settings.spool_dir / FOLDER,
            self._shipper.ship,
            registry=registry,
            name=FOLDER,
            max_segment_bytes=BATCH_BYTES,
            max_segment_age_s=BATCH_S,
            max_bytes=MAX_BYTES,
        )
        self._told = False

    def start(self) -> None:
        self.spool.start()

    def record(self, decision: Decision) -> None:
        """Have it written soon; never waits, never raises. What cannot be a row is counted and told once."""
        try:
            line = line_of(decision)
        except UnrecordableDecisionError as error:
            self._metrics.unrecordable.inc()
            if not self._told:
                self._told = True
                log.error("a decision of %s is not recorded: %s", decision.route, error)  # noqa: TRY400
            return
        self.spool.append(line)
        self._metrics.recorded.inc()

    async def close(self, timeout_s: float = STOP_S) -> None:
        """Write all that was recorded, then ship until the time-out; the rest waits on disk."""
        await self.spool.stop(timeout_s)
        self._shipper.close()

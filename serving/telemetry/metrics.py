"""What Prometheus reads: a registry of our own, no label that holds an id of a user or a video."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from serving.telemetry.outcomes import OutcomeMetrics

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5)
_STEP_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)


class Metrics:
    """One endpoint's metrics."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "reelgraph_requests", "Requests answered", ["route", "method", "status"], registry=registry
        )
        self.seconds = Histogram(
            "reelgraph_request_seconds", "Time to answer", ["route"], buckets=_SECONDS, registry=registry
        )
        self.lists = Counter(
            "reelgraph_lists", "Ranked lists by where they came from", ["source", "model"], registry=registry
        )
        self.degraded = Counter(
            "reelgraph_degraded", "Lists made without something", ["missing"], registry=registry
        )
        self.swaps = Counter(
            "reelgraph_bundle_swaps", "Bundles met, by what became of them", ["result"], registry=registry
        )
        self.bundle = Gauge(
            "reelgraph_bundle_loaded",
            "1 for the bundle in service",
            ["bundle", "champion", "version"],
            registry=registry,
        )
        self.bundle_refused = Gauge(
            "reelgraph_bundle_refused",
            "1 while the published bundle is refused and an older one serves",
            registry=registry,
        )
        self.code_differs = Gauge(
            "reelgraph_bundle_code_differs",
            "1 while the bundle in service was made by other code than serves it",
            registry=registry,
        )
        self.load_seconds = Gauge(
            "reelgraph_bundle_load_seconds", "Time the last bundle took to load", registry=registry
        )
        self.dependency_up = Gauge(
            "reelgraph_dependency_up", "1 if it answered last time", ["dependency"], registry=registry
        )
        self.dependency_failures = Counter(
            "reelgraph_dependency_failures",
            "Calls that failed or were too slow",
            ["dependency"],
            registry=registry,
        )
        self.redis_up = Gauge("reelgraph_redis_up", "1 if recent items can be read", registry=registry)
        self.step_seconds = Histogram(
            "reelgraph_step_seconds",
            "Time of one step of the ranking pipeline",
            ["step"],
            buckets=_STEP_SECONDS,
            registry=registry,
        )
        self.outcomes = OutcomeMetrics(registry)
        self._steps: dict[str, Histogram] = {}
        ProcessCollector(registry=registry)

    def observe_step(self, step: str, seconds: float) -> None:
        """One step of the pipeline took that long; cheap enough (about 1 us) for every step of every request.

        `step` is a name from the code, never from a request: each makes a series that stays."""
        child = self._steps.get(step)
        if child is None:
            child = self._steps[step] = self.step_seconds.labels(step)
        child.observe(seconds)

    def render(self) -> bytes:
        return generate_latest(self.registry)

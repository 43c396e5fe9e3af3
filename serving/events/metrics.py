"""What Prometheus reads of tracked events."""

from prometheus_client import CollectorRegistry, Counter, Histogram

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class EventMetrics:
    """`result`: accepted, invalid, erased, forbidden, unavailable."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Counter(
            "reelgraph_events", "Events that clients sent", ["event_type", "result"], registry=registry
        )
        self.seconds = Histogram(
            "reelgraph_event_seconds", "Time to make a request's events durable and known", buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip

    def count(self, result: str, event_type: str = "unknown") -> None:
        self._events.labels(event_type, result).inc()

"""What CTR is made of, as it happens: impressions by variant, and what viewers did with them.

For a dashboard and for alarms. What is decided on is the analysis of the decision log: this forgets at a restart, and
attributes only events whose feed this very process answered.
"""

from collections import OrderedDict
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram

REMEMBERED = 100_000
"""Answers whose variants are remembered; about 30 MB at the most."""
_DELAYS = (0.1, 0.5, 1, 5, 30, 60, 300, 900, 3600, 86400)


class OutcomeMetrics:
    """Feed it every decision and every accepted event; about 2 us each."""

    def __init__(self, registry: CollectorRegistry, remembered: int = REMEMBERED) -> None:
        self.impressions = Counter(
            "reelgraph_impressions", "Videos put into lists", ["experiment", "variant"], registry=registry
        )
        self.outcomes = Counter(
            "reelgraph_outcomes",
            "Accepted events on videos of lists, by the variant that made the list",
            ["experiment", "variant", "type"],
            registry=registry,
        )
        self.delay = Histogram(
            "reelgraph_event_delay_seconds",
            "From when an event happened (by the client's clock) to its arrival",
            buckets=_DELAYS,
            registry=registry,
        )
        self._remembered = remembered
        self._variants: OrderedDict[str, Mapping[str, str]] = OrderedDict()

    def shown(self, request_id: str, variants: Mapping[str, str], videos: int) -> None:
        """A list of so many videos was answered. `variants`: experiment -> variant; empty outside any experiment, and
        for a tester who chose theirs."""
        if not variants:
            self.impressions.labels("", "").inc(videos)
            return
        for experiment, variant in variants.items():
            self.impressions.labels(experiment, variant).inc(videos)
        self._variants[request_id] = variants
        if len(self._variants) > self._remembered:
            self._variants.popitem(last=False)

    def happened(self, event_type: str, request_id: str, delay_s: float) -> None:
        """An event was accepted. `request_id`: of the list that showed the video, '' if none did."""
        self.delay.observe(max(0.0, delay_s))
        for experiment, variant in self._variants.get(request_id, {}).items():
            self.outcomes.labels(experiment, variant, event_type).inc()

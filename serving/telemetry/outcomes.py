"""What CTR is made of, as it happens: impressions by variant, and what viewers did with them.

For a dashboard and for alarms. What is decided on is the analysis of the decision log: this forgets at a restart, and
attributes only events whose feed this very process answered.
"""

from collections import OrderedDict
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram

REMEMBERED = 100_000
"""Answers whose variants are remembered; 18 MB at the most."""
_DELAYS = (0.1, 0.5, 1, 5, 30, 60, 300, 900, 3600, 86400)


Variants = tuple[tuple[str, str], ...]
"""Experiment and variant, for each experiment; () outside any."""


class OutcomeMetrics:
    """Feed it every decision and every accepted event; a few microseconds each."""

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
        # One object for all lists of the same variants: a collection must not walk an object a list.
        self._counted: dict[Variants, tuple[Variants, list[Counter]]] = {}
        self._variants: OrderedDict[str, Variants] = OrderedDict()

    def shown(self, request_id: str, variants: Mapping[str, str], videos: int) -> None:
        """A list of so many videos was answered. `variants`: experiment -> variant; empty outside any experiment, and
        for a tester who chose theirs."""
        found = self._counted.get(tuple(variants.items()))
        if found is None:
            found = self._first(tuple(variants.items()))
        same, counters = found
        for counter in counters:
            counter.inc(videos)
        if same:
            self._variants[request_id] = same
            if len(self._variants) > self._remembered:
                self._variants.popitem(last=False)

    def happened(self, event_type: str, request_id: str, delay_s: float) -> None:
        """An event was accepted. `request_id`: of the list that showed the video, '' if none did."""
        self.delay.observe(max(0.0, delay_s))
        for experiment, variant in self._variants.get(request_id, ()):
            self.outcomes.labels(experiment, variant, event_type).inc()

    def _first(self, variants: Variants) -> tuple[Variants, list[Counter]]:
        counters = [self.impressions.labels(*pair) for pair in variants or (("", ""),)]
        self._counted[variants] = variants, counters
        return self._counted[variants]

"""The highest rate that a server sustains: p99 below a bound, nothing failed, hardly anything degraded."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from serving.bench.samples import DEGRADED, Samples

BOUND_MS = 100.0
PRECISION = 0.04
DEGRADED_SHARE = 0.01


@dataclass
class Search:
    """`rate` is the highest that held; `tries` what each rate gave."""

    rate: float
    tries: list[dict[str, Any]] = field(default_factory=list)


def holds(samples: Samples, bound_ms: float = BOUND_MS) -> bool:
    """A degraded list is quick to make: a rate at which more than a few are does not count."""
    degraded = samples.flagged(DEGRADED) / len(samples)
    return samples.failed == 0 and degraded <= DEGRADED_SHARE and samples.percentile_ms(99) < bound_ms


def highest_rate(ask: Callable[[float], Samples], first: float, bound_ms: float = BOUND_MS) -> Search:
    """Doubles (or halves) from `first` until one rate holds and the next doesn't, then halves the gap to 4%.

    A rate that fails is tried once more before it counts: a pause of the machine is not the server's limit.
    """
    search = Search(0.0)

    def good(rate: float) -> bool:
        for _ in range(2):
            samples = ask(rate)
            held = holds(samples, bound_ms)
            search.tries.append({"rate": round(rate, 1), "held": held, **samples.summary()})
            if held:
                return True
            if samples.percentile_ms(50) > bound_ms:  # no pause, an overload
                return False
        return False

    low, high = 0.0, first
    while good(high):
        low, high = high, high * 2
    if not low:
        while high > 1 and not good(high / 2):
            high /= 2
        low = high / 2
    while high - low > PRECISION * low:
        middle = (low + high) / 2
        if good(middle):
            low = middle
        else:
            high = middle
    search.rate = low
    return search

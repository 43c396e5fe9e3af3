"""How the process fares: how late its event loop is, how long collections stop it, how old the bundle in service is."""

import asyncio
import contextlib
import gc
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, Histogram

EVERY_S = 0.1
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class RuntimeMetrics:
    """`bundle_made_at`: when the bundle in service was made, in seconds since 1970; None while there is none."""

    def __init__(self, registry: CollectorRegistry, bundle_made_at: Callable[[], float | None]) -> None:
        self.loop_lag = Histogram(
            "reelgraph_event_loop_lag_seconds",
            "How much later than asked for the event loop took up a task: every request waits as long",
            buckets=_SECONDS,
            registry=registry,
        )
        self.gc_seconds = Histogram(
            "reelgraph_gc_seconds",
            "How long a garbage collection stopped the process",
            ["generation"],
            buckets=_SECONDS,
            registry=registry,
        )
        age = Gauge(
            "reelgraph_bundle_age_seconds",
            "Time since the bundle in service was made; NaN while there is none",
            registry=registry,
        )
        age.set_function(lambda: _since(bundle_made_at()))
        self._by_generation = [self.gc_seconds.labels(str(generation)) for generation in range(3)]
        self._collecting_since = 0.0
        # Bounded: what nobody watches is not worth keeping.
        self._pauses: deque[tuple[int, float]] = deque(maxlen=10_000)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """On the event loop that is to be watched."""
        gc.callbacks.append(self._collected)
        self._task = asyncio.create_task(self._watch(), name="event-loop-lag")

    async def close(self) -> None:
        if self._collected in gc.callbacks:
            gc.callbacks.remove(self._collected)
        self._tell_pauses()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(EVERY_S)
            self.loop_lag.observe(max(0.0, time.perf_counter() - asked - EVERY_S))
            self._tell_pauses()

    def _collected(self, phase: str, about: dict[str, Any]) -> None:
        if phase == "start":
            self._collecting_since = time.perf_counter()
        else:
            self._pauses.append((about["generation"], time.perf_counter() - self._collecting_since))

    def _tell_pauses(self) -> None:
        """Not from `_collected`: a collection may begin in a thread that holds a metric's lock, and would wait for
        itself for ever."""
        while self._pauses:
            generation, took = self._pauses.popleft()
            self._by_generation[generation].observe(took)


def _since(made_at: float | None) -> float:
    return float("nan") if made_at is None else time.time() - made_at

"""A circuit breaker with a time budget: something that is down costs a request its budget a few times, then nothing."""

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import TypeVar

from serving.budget import Budget
from serving.telemetry.metrics import Metrics
from serving.telemetry.tracing import span

log = logging.getLogger(__name__)

FAILURES_TO_OPEN = 3
OPEN_S = 5.0

T = TypeVar("T")


class DependencyError(Exception):
    """The dependency failed, was too slow, or is not asked for a while; `__cause__` says which."""


class Breaker:
    """Guards calls of one dependency. Opens after `FAILURES_TO_OPEN` failures in a row, lets one call through again
    after `open_s`. `up` says whether the last word was good."""

    def __init__(
        self,
        name: str,
        metrics: Metrics,
        *,
        budget_s: float,
        open_s: float = OPEN_S,
        failures_to_open: int = FAILURES_TO_OPEN,
    ) -> None:
        self.name = name
        self.budget_s = budget_s
        self.open_s = open_s
        self.up = True
        self._metrics = metrics
        self._failures_to_open = failures_to_open
        self._failures = 0
        self._retry_at = 0.0
        metrics.dependency_up.labels(name).set(1)

    @property
    def is_open(self) -> bool:
        """Whether a call would be refused now, without asking."""
        return self._failures >= self._failures_to_open and time.monotonic() < self._retry_at

    async def call(self, work: Awaitable[T], *failures: type[BaseException]) -> T:
        """The result of `work` within the budget. Raises `DependencyError` if the breaker is open, on a time-out, on
        `OSError` and on what is named in `failures`."""
        if self.is_open:
            if asyncio.iscoroutine(work):
                work.close()
            raise DependencyError(f"{self.name} is not asked for now")
        if self._failures >= self._failures_to_open:
            self._retry_at = time.monotonic() + self.open_s  # one tries, the others go on without
        caught: tuple[type[BaseException], ...] = (OSError, TimeoutError, *failures)
        try:
            with span(self.name):
                async with Budget(self.budget_s):
                    result = await work
        except caught as error:
            self.failed(error)
            raise DependencyError(f"{self.name}: {type(error).__name__}") from error
        self.worked()
        return result

    def failed(self, error: BaseException) -> None:
        self._failures += 1
        self._retry_at = time.monotonic() + self.open_s
        self._metrics.dependency_failures.labels(self.name).inc()
        if self._failures >= self._failures_to_open and self.up:
            self.up = False
            self._metrics.dependency_up.labels(self.name).set(0)
            log.warning(
                "%s does not answer (%s): answers go on without it, asked again every %.0f s",
                self.name, type(error).__name__, self.open_s,
            )  # fmt: skip

    def worked(self) -> None:
        if not self.up:
            log.info("%s answers again", self.name)
            self.up = True
            self._metrics.dependency_up.labels(self.name).set(1)
        self._failures = 0

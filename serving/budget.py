"""A time-out that blames the dependency, not ourselves: what arrived while the event loop was busy still counts."""

import asyncio
from types import TracebackType
from typing import Self

_TURN_S = 0.001


class Budget:
    """`async with Budget(0.02):` raises `TimeoutError` when the work inside took longer than that.

    With `asyncio.timeout` a standstill of this process or its whole machine looks like a Redis that is down, to every
    request that waits. Here the time by which the loop itself was late is given back once, at most doubling the
    budget, and there is always one more turn, for what arrived together with the end of the budget.
    """

    __slots__ = ("_due", "_excused", "_limit", "_loop", "_seconds", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._excused = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._limit = asyncio.timeout(None)
        await self._limit.__aenter__()
        self._due = self._loop.time() + self._seconds
        self._timer = self._loop.call_at(self._due, self._over)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._limit.__aexit__(kind, error, trace)

    def _over(self) -> None:
        now = self._loop.time()
        if self._excused:
            self._limit.reschedule(now)
            return
        self._excused = True
        late = now - self._due
        self._timer = self._loop.call_later(min(max(late, _TURN_S), self._seconds), self._over)

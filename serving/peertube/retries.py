"""Again, a little later: jittered back-off for calls that may be repeated."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from time import time
from typing import TypeVar

from serving.peertube.errors import PeerTubeUnavailableError

ATTEMPTS = 3
FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 5.0
"""Of one wait; PeerTube asking for more (`Retry-After`) is an answer: not now."""

T = TypeVar("T")
_jitter = random.SystemRandom()


class TryAgainError(PeerTubeUnavailableError):
    """It may work in a moment. `after_s`: what PeerTube asked for."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


async def retried(call: Callable[[], Awaitable[T]], attempts: int = ATTEMPTS) -> T:
    """The result of `call`, asked up to `attempts` times while it raises `TryAgainError`. Waits between 0 and
    0.2 s, 0.4 s, ... ("full jitter"), or what PeerTube asked for if that is not longer than `LONGEST_DELAY_S`."""
    for attempt in range(1, attempts + 1):
        try:
            return await call()
        except TryAgainError as error:
            wait = _jitter.uniform(0, FIRST_DELAY_S * 2 ** (attempt - 1))
            if error.after_s is not None:
                wait = max(error.after_s, wait)
            if attempt == attempts or wait > LONGEST_DELAY_S:
                raise
        await asyncio.sleep(wait)
    raise AssertionError("unreachable")


def retry_after(header: str | None) -> float | None:
    """Seconds of a `Retry-After` header, which is a number or a date; None if there is none that makes sense."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass  # not a number: a date, or nonsense
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time())
    except ValueError:
        return None

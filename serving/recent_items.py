"""What a user met since the bundle was made: `user:{id}:recent_items` in Redis, if it answers in time."""

import asyncio
import logging
import time

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from serving.metrics import Metrics

log = logging.getLogger(__name__)

BUDGET_S = 0.02
CONNECT_TIMEOUT_S = 1.0
# A circuit breaker: after this many failures in a row Redis is not asked again for a while.
FAILURES_TO_OPEN = 3
OPEN_S = 5.0
RECENT_ITEMS = 20


class RecentItems:
    """Reads recent items within a budget. Redis down costs a request nothing once the breaker is open."""

    def __init__(
        self, redis_url: str, metrics: Metrics, budget_s: float = BUDGET_S, open_s: float = OPEN_S
    ) -> None:
        self._redis = Redis.from_url(
            redis_url,
            decode_responses=True,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            max_connections=64,
        )
        self._metrics = metrics
        self._budget_s = budget_s
        self._open_s = open_s
        self._failures = 0
        self._retry_at = 0.0
        self.available = True

    async def of(self, user_id: str) -> list[str] | None:
        """Ids of the videos the user met last, newest first; None if Redis could not say."""
        if self._failures >= FAILURES_TO_OPEN and time.monotonic() < self._retry_at:
            return None
        try:
            async with asyncio.timeout(self._budget_s):
                items = await self._redis.lrange(f"user:{user_id}:recent_items", 0, RECENT_ITEMS - 1)  # type: ignore[misc]
        except (RedisError, OSError, TimeoutError, UnicodeDecodeError) as error:
            self._failed(error)
            return None
        self._worked()
        return [str(item) for item in items]

    async def close(self) -> None:
        await self._redis.aclose()

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._retry_at = time.monotonic() + self._open_s
        if self._failures >= FAILURES_TO_OPEN and self.available:
            self.available = False
            self._metrics.redis_up.set(0)
            log.warning(
                "recent items cannot be read (%s): feeds go on without them, asked again every %.0f s",
                type(error).__name__, self._open_s,
            )  # fmt: skip

    def _worked(self) -> None:
        if not self.available:
            log.info("recent items can be read again")
        self._failures = 0
        self.available = True
        self._metrics.redis_up.set(1)

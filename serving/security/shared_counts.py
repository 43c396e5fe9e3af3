"""What the replicas tell each other of busy callers, through Redis and never in a request's path.

A hash per caller has a field per replica: its counts by slot, written whole, so that writing twice changes nothing.
The caller is a pseudonym there. Redis down: each replica counts alone.
"""

import asyncio
import logging
import secrets
from hashlib import blake2b

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from serving.breaker import Breaker, DependencyError
from serving.security.rate_limit import SLOT_S, SLOTS, RateLimiter
from serving.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

EVERY_S = 0.25
BUDGET_S = 1.0
MOST_AT_ONCE = 50  # callers a round: more would hold the event loop for milliseconds
_KEPT_S = SLOTS * SLOT_S + 15


class SharedCounts:
    """Pushes this replica's counts and takes up the others'."""

    def __init__(
        self,
        redis_url: str,
        limiter: RateLimiter,
        metrics: Metrics,
        *,
        every_s: float = EVERY_S,
        prefix: str = "reelgraph:rate",
    ) -> None:
        self._redis = Redis.from_url(
            redis_url,
            socket_connect_timeout=BUDGET_S,
            retry=Retry(NoBackoff(), 0),
            max_connections=2,
        )
        self._breaker = Breaker("redis_rate_limits", metrics, budget_s=BUDGET_S)
        self._limiter = limiter
        self._every_s = every_s
        self._prefix = prefix
        self._replica = secrets.token_hex(6).encode()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._go_on(), name="shared-rate-limits")

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._redis.aclose()

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.exchange()
            except Exception:  # the task must outlive whatever it meets: each replica counts on
                log.exception("rate limits were not shared")

    async def exchange(self) -> bool:
        """One round for the callers touched since the last; False if Redis could not be asked."""
        touched = self._limiter.touched
        callers = [touched.pop() for _ in range(min(len(touched), MOST_AT_ONCE))]
        if not callers:
            return True
        try:
            answers = await self._breaker.call(self._round(callers), RedisError)
        except DependencyError:
            self._limiter.tell_again(callers)
            return False
        for caller, fields in zip(callers, answers, strict=True):
            self._limiter.hear(caller, self._others(fields))
        return True

    async def _round(self, callers: list[str]) -> list[dict[bytes, bytes]]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for caller in callers:
                key = self._key(caller)
                pipe.hset(key, self._replica, _text(self._limiter.own_slots(caller)))  # type: ignore[arg-type]
                pipe.expire(key, _KEPT_S)
                pipe.hgetall(key)
            return list((await pipe.execute())[2::3])

    def _others(self, fields: dict[bytes, bytes]) -> dict[int, int]:
        total: dict[int, int] = {}
        for replica, text in fields.items():
            if replica != self._replica:
                for slot, count in _slots(text).items():
                    total[slot] = total.get(slot, 0) + count
        return total

    def _key(self, caller: str) -> str:
        digest = blake2b(caller.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return f"{self._prefix}:{digest}"


def _text(slots: dict[int, int]) -> str:
    return ",".join(f"{slot}:{count}" for slot, count in slots.items())


def _slots(text: bytes) -> dict[int, int]:
    """What `_text` wrote; nothing of what somebody else may have written there."""
    found = {}
    for pair in text.split(b","):
        slot, _, count = pair.partition(b":")
        if slot.isdigit() and count.isdigit() and len(pair) < 32:
            found[int(slot)] = int(count)
    return found

"""Lists that were made a moment ago: in memory, then in Redis; dropped when the user acts or the bundle changes."""

import asyncio
import logging
import math
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from serving.breaker import Breaker, DependencyError
from serving.cached_list import CachedList, packed, unpacked
from serving.metrics import Metrics

log = logging.getLogger(__name__)

BUDGET_S = 0.02
MAX_USERS = 50_000
MAX_LISTS_OF_A_USER = 8
# Of items as they are sent: about 35,000 first pages.
MAX_BYTES = 256_000_000
# Lists that were made together do not run out together.
JITTER = 0.1


class CacheMetrics:
    """How often a list was there."""

    def __init__(self, registry: CollectorRegistry) -> None:
        asked = Counter("reelgraph_feed_cache", "Lists asked of the cache", ["result"], registry=registry)
        self.memory, self.redis, self.missed = (asked.labels(name) for name in ("memory", "redis", "missed"))
        self.shared = asked.labels("shared")
        self.users = Gauge("reelgraph_feed_cache_users", "Users with a list in memory", registry=registry)


class FeedCache:
    """Lists by user and key; a key names everything a list depends on (bundle, model, page, variants).

    Redis holds a hash a user, `user:{id}:feeds`, so that one command drops all of them. Of several requests for one
    list that is not there one makes it and the others wait for that.
    """

    def __init__(
        self,
        redis_url: str,
        metrics: Metrics,
        ttl_s: float,
        *,
        max_users: int = MAX_USERS,
        max_bytes: int = MAX_BYTES,
        budget_s: float = BUDGET_S,
    ) -> None:
        self._ttl_s = ttl_s
        self._max_users = max_users
        self._max_bytes = max_bytes
        self._bytes = 0
        self._users: OrderedDict[str, dict[str, tuple[float, CachedList]]] = OrderedDict()
        self._making: dict[tuple[str, str], asyncio.Task[tuple[CachedList, bool]]] = {}
        self._writing: dict[asyncio.Task[None], str] = {}
        # Users whose lists in Redis are of before they acted, until Redis says that they are gone or they run out.
        self._outdated: OrderedDict[str, float] = OrderedDict()
        self._redis = Redis.from_url(
            redis_url, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 0), max_connections=64
        )
        self._breaker = Breaker("feed cache", metrics, budget_s=budget_s)
        self._background: set[asyncio.Task[None]] = set()
        self._counts = CacheMetrics(metrics.registry)

    @property
    def on(self) -> bool:
        return self._ttl_s > 0

    def in_memory(self, user_id: str, key: str) -> CachedList | None:
        """Without waiting for anything."""
        lists = self._users.get(user_id)
        found = lists.get(key) if lists else None
        if found is None or found[0] < time.monotonic():
            return None
        self._users.move_to_end(user_id)
        self._counts.memory.inc()
        return found[1]

    async def get(
        self, user_id: str, key: str, make: Callable[[], Awaitable[tuple[CachedList, bool]]]
    ) -> tuple[CachedList, bool]:
        """The list, and whether it had been there. `make` gives the list and whether it may be kept."""
        if not self.on:
            return (await make())[0], False
        if (kept := self.in_memory(user_id, key)) is not None:
            return kept, True
        making = self._making.get((user_id, key))
        shared = making is not None
        if making is None:
            # A task of its own: a client that hangs up must not take the others' list with it.
            making = asyncio.ensure_future(self._made(user_id, key, make))
            self._making[user_id, key] = making
            making.add_done_callback(lambda done: self._is_made(user_id, key, done))
        else:
            self._counts.shared.inc()
        found, was_there = await asyncio.shield(making)
        return found, was_there or shared

    def drop(self, user_id: str) -> None:
        """The user acted: nothing that was made before, or is being made, may answer for them."""
        self._drop_lists(self._users.pop(user_id, {}))
        self._counts.users.set(len(self._users))
        for key in [key for key in self._making if key[0] == user_id]:
            del self._making[key]  # who waits for it gets it, who asks from now on does not
        if self.on:
            self._mark_outdated(user_id)
            self._later(self._forget(user_id))

    def clear(self) -> None:
        """Nothing in memory is true any more (a list of videos that must not be shown changed)."""
        self._users.clear()
        self._bytes = 0
        self._making.clear()

    async def close(self) -> None:
        if self._background:
            await asyncio.wait(self._background, timeout=1)
        await self._redis.aclose()

    # --- inside ---------------------------------------------------------------------------------------------

    async def _made(
        self, user_id: str, key: str, make: Callable[[], Awaitable[tuple[CachedList, bool]]]
    ) -> tuple[CachedList, bool]:
        mine = asyncio.current_task()
        found = await self._from_redis(user_id, key)
        if found is not None and self._making.get((user_id, key)) is mine:
            self._counts.redis.inc()
            kept, left_s = found
            self._keep(user_id, key, kept, left_s)
            return kept, True
        self._counts.missed.inc()
        made, keep = await make()
        if keep and self._making.get((user_id, key)) is mine:  # the user has not acted meanwhile
            ttl_s = self._ttl_s * (1 - JITTER * random.random())  # noqa: S311
            self._keep(user_id, key, made, ttl_s)
            writing = self._later(self._to_redis(user_id, key, made, ttl_s, self._outdated.get(user_id)))
            self._writing[writing] = user_id
            writing.add_done_callback(self._writing.pop)
        return made, False

    def _keep(self, user_id: str, key: str, made: CachedList, ttl_s: float) -> None:
        lists = self._users.setdefault(user_id, {})
        self._drop_lists({key: lists.pop(key)} if key in lists else {})
        while len(lists) >= MAX_LISTS_OF_A_USER:
            oldest = next(iter(lists))
            self._drop_lists({oldest: lists.pop(oldest)})
        lists[key] = (time.monotonic() + ttl_s, made)
        self._bytes += len(made.items)
        self._users.move_to_end(user_id)
        while self._users and (len(self._users) > self._max_users or self._bytes > self._max_bytes):
            self._drop_lists(self._users.popitem(last=False)[1])
        self._counts.users.set(len(self._users))

    def _drop_lists(self, lists: Mapping[str, tuple[float, CachedList]]) -> None:
        self._bytes -= sum(len(made.items) for _, made in lists.values())

    def _is_made(self, user_id: str, key: str, done: "asyncio.Task[tuple[CachedList, bool]]") -> None:
        if self._making.get((user_id, key)) is done:
            del self._making[user_id, key]

    def _mark_outdated(self, user_id: str) -> None:
        now = time.monotonic()
        self._outdated.pop(user_id, None)
        self._outdated[user_id] = now + self._ttl_s
        while (oldest := next(iter(self._outdated))) and self._outdated[oldest] < now:
            del self._outdated[oldest]

    async def _from_redis(self, user_id: str, key: str) -> tuple[CachedList, float] | None:
        if self._outdated.get(user_id, 0) > time.monotonic():
            return None
        try:
            value = await self._breaker.call(self._redis.hget(_name(user_id), key), RedisError)  # type: ignore[arg-type]
        except DependencyError:
            return None
        return unpacked(value) if value else None

    async def _to_redis(
        self, user_id: str, key: str, made: CachedList, ttl_s: float, outdated: float | None
    ) -> None:
        async def write() -> None:
            pipeline = self._redis.pipeline(transaction=False)
            if outdated is not None:
                pipeline.delete(_name(user_id))
            pipeline.hset(_name(user_id), key, packed(made, time.time() + ttl_s))
            pipeline.expire(_name(user_id), max(1, math.ceil(self._ttl_s)))
            await pipeline.execute()

        if await self._quietly(write()) and outdated is not None:
            self._is_gone(user_id, outdated)

    async def _forget(self, user_id: str) -> None:
        outdated = self._outdated.get(user_id)
        # What is on its way on another connection could come after the deletion.
        if writing := [task for task, user in self._writing.items() if user == user_id]:
            await asyncio.wait(writing)

        async def delete() -> None:
            await self._redis.delete(_name(user_id))

        if await self._quietly(delete()) and outdated is not None:
            self._is_gone(user_id, outdated)

    def _is_gone(self, user_id: str, outdated: float) -> None:
        if self._outdated.get(user_id) == outdated:  # they have not acted again meanwhile
            del self._outdated[user_id]

    async def _quietly(self, work: Awaitable[None]) -> bool:
        try:
            await self._breaker.call(work, RedisError)
        except DependencyError as error:
            log.debug("the feed cache in Redis: %s", error)  # the breaker has counted and said it
            return False
        return True

    def _later(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


def _name(user_id: str) -> str:
    return f"user:{user_id}:feeds"

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
from serving.lists.cached_list import CachedList, packed, unpacked
from serving.lists.feed_cache_scripts import DROP, KEEP, MARK, MARK_S, name_of, new_mark
from serving.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

BUDGET_S = 0.02
MAX_USERS = 50_000
MAX_LISTS_OF_A_USER = 8
# In memory: about 27,000 first pages.
MAX_BYTES = 256_000_000
# Lists that were made together do not run out together.
JITTER = 0.1
# Users who act within this time are dropped in one step of Redis, which does so many at once.
TOGETHER_S = 0.05
USERS_AT_ONCE = 500


class CacheMetrics:
    """How often a list was there."""

    def __init__(self, registry: CollectorRegistry) -> None:
        asked = Counter("reelgraph_feed_cache", "Lists asked of the cache", ["result"], registry=registry)
        self.memory, self.redis, self.missed = (asked.labels(name) for name in ("memory", "redis", "missed"))
        self.shared = asked.labels("shared")
        self.users = Gauge("reelgraph_feed_cache_users", "Users with a list in memory", registry=registry)


class FeedCache:
    """Lists by user and key; a key names everything a list depends on (bundle, model, page, variants).

    Redis holds a hash a user, so that one command drops all of them (`serving.lists.feed_cache_scripts`). Of several
    requests for one list that is not there one makes it and the others wait for that.
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
        # Users whose lists in Redis are of before they acted, until Redis says that they are gone or they run out.
        self._outdated: OrderedDict[str, float] = OrderedDict()
        self._to_drop: set[str] = set()
        self._redis = Redis.from_url(
            redis_url, socket_connect_timeout=1.0, retry=Retry(NoBackoff(), 0), max_connections=256
        )
        self._keep_there = self._redis.register_script(KEEP)
        self._drop_there = self._redis.register_script(DROP)
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

    def drop_here(self, user_id: str) -> None:
        """The user acted, and Redis dropped their lists as it recorded that: nothing that this process made before, or
        is making, may answer for them."""
        self._drop_lists(self._users.pop(user_id, {}))
        self._counts.users.set(len(self._users))
        for key in [key for key in self._making if key[0] == user_id]:
            del self._making[key]  # who waits for it gets it, who asks from now on does not

    def drop(self, user_id: str) -> None:
        """The same if Redis may know nothing of it: what it has is not asked for any more, and dropped soon."""
        self.drop_here(user_id)
        if self.on:
            if not self._to_drop:
                self._later(self._drop_together())
            self._to_drop.add(user_id)
            self._mark_outdated(user_id)

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
        found, mark = await self._from_redis(user_id, key)
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
            if mark is not None:
                self._later(self._to_redis(user_id, key, made, ttl_s, mark))
        return made, False

    def _keep(self, user_id: str, key: str, made: CachedList, ttl_s: float) -> None:
        lists = self._users.setdefault(user_id, {})
        self._drop_lists({key: lists.pop(key)} if key in lists else {})
        while len(lists) >= MAX_LISTS_OF_A_USER:
            oldest = next(iter(lists))
            self._drop_lists({oldest: lists.pop(oldest)})
        lists[key] = (time.monotonic() + ttl_s, made)
        self._bytes += made.size
        self._users.move_to_end(user_id)
        while self._users and (len(self._users) > self._max_users or self._bytes > self._max_bytes):
            self._drop_lists(self._users.popitem(last=False)[1])
        self._counts.users.set(len(self._users))

    def _drop_lists(self, lists: Mapping[str, tuple[float, CachedList]]) -> None:
        self._bytes -= sum(made.size for _, made in lists.values())

    def _is_made(self, user_id: str, key: str, done: "asyncio.Task[tuple[CachedList, bool]]") -> None:
        if self._making.get((user_id, key)) is done:
            del self._making[user_id, key]

    def _mark_outdated(self, user_id: str) -> None:
        now = time.monotonic()
        self._outdated.pop(user_id, None)
        self._outdated[user_id] = now + self._ttl_s
        while (oldest := next(iter(self._outdated))) and self._outdated[oldest] < now:
            del self._outdated[oldest]

    async def _from_redis(self, user_id: str, key: str) -> tuple[tuple[CachedList, float] | None, str | None]:
        """The list and how many seconds it is still good for, and the mark under which a new one may be kept; None if
        Redis did not say."""
        if self._outdated.get(user_id, 0) > time.monotonic():
            return None, await self._dropped([user_id])
        try:
            value, mark = await self._breaker.call(
                self._redis.hmget(name_of(user_id), [key, MARK]), RedisError
            )
        except DependencyError:
            return None, None
        return unpacked(value) if value else None, mark.decode() if isinstance(mark, bytes) else ""

    async def _to_redis(self, user_id: str, key: str, made: CachedList, ttl_s: float, mark: str) -> None:
        seconds = max(MARK_S, math.ceil(self._ttl_s))
        arguments: list[str | bytes | int] = [mark, key, packed(made, time.time() + ttl_s), seconds]
        await self._quietly(self._keep_there([name_of(user_id)], arguments, client=self._redis))

    async def _drop_together(self) -> None:
        """All of a few milliseconds in one step: a connection for each user would be as many as a batch has."""
        await asyncio.sleep(TOGETHER_S)
        users, self._to_drop = [user for user in self._to_drop if user in self._outdated], set()
        for start in range(0, len(users), USERS_AT_ONCE):
            await self._dropped(users[start : start + USERS_AT_ONCE])

    async def _dropped(self, users: list[str]) -> str | None:
        """Drop what Redis has of them; the mark in place of it, None if Redis did not do it."""
        outdated = [self._outdated.get(user) for user in users]
        mark = new_mark()
        if not await self._quietly(self._drop_there([*map(name_of, users)], [mark], client=self._redis)):
            return None
        for user, until in zip(users, outdated, strict=True):
            if self._outdated.get(user) == until:  # they have not acted again meanwhile
                self._outdated.pop(user, None)
        return mark

    async def _quietly(self, work: Awaitable[object]) -> bool:
        """Whether Redis did it."""
        try:
            return bool(await self._breaker.call(work, RedisError))
        except DependencyError as error:
            log.debug("the feed cache in Redis: %s", error)  # the breaker has counted and said it
            return False

    def _later(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

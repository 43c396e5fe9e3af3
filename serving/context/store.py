"""What a user did in the last minutes: read in one round trip to Redis, written the moment an event comes."""

import logging
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha1
from secrets import token_hex
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from serving.breaker import OPEN_S, Breaker, DependencyError
from serving.context.acted import ActedListener, message
from serving.context.change import Act, SessionChange, changes
from serving.context.memory import SessionMemory, pairs
from serving.context.scripts import READ, SESSION_TTL_S, WRITE, keys
from serving.context.session import NOTHING, SessionContext
from serving.lists.feed_cache_scripts import new_mark
from serving.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

BUDGET_S = 0.02
CONNECT_TIMEOUT_S = 1.0
USERS_AT_ONCE = 25
"""Of a batch: so many scripts fit into the budget."""
MISSING = "session context is unavailable"

_SHA = {script: sha1(script.encode()).hexdigest() for script in (READ, WRITE)}  # noqa: S324 - Redis names scripts so
_FAILURES = (RedisError, ValueError)


class ContextStore:
    """Redis down costs a request its budget a few times, then nothing: this process's own copy goes on.

    `on_acted(user_id)` is called for whoever acts, here at once and on other replicas as soon as Redis says so;
    `on_gap` when messages may have been missed.
    """

    def __init__(
        self,
        redis_url: str,
        metrics: Metrics,
        *,
        on_acted: Callable[[str], None] | None = None,
        on_gap: Callable[[], None] | None = None,
        budget_s: float = BUDGET_S,
        open_s: float = OPEN_S,
    ) -> None:
        self._redis = Redis.from_url(
            redis_url,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            max_connections=256,
            protocol=2,
            lib_name=None,
            lib_version=None,
        )
        self._metrics = metrics
        self._breaker = Breaker("session context", metrics, budget_s=budget_s, open_s=open_s)
        self._memory = SessionMemory(SESSION_TTL_S)
        self._on_acted = on_acted
        self._origin = token_hex(6)
        self._listener = ActedListener(self._redis, self._origin, on_acted, on_gap) if on_acted else None
        metrics.redis_up.set(1)

    def start(self) -> None:
        """Listen to what happens on other replicas; needs the event loop."""
        if self._listener is not None:
            self._listener.start()

    @property
    def available(self) -> bool:
        """Whether Redis answered last time."""
        return self._breaker.up

    async def of(self, user_id: str) -> SessionContext:
        """The user's session; what this process knows of it, with `missing`, if Redis cannot say in time."""
        if not user_id:
            return NOTHING
        if self._breaker.is_open:
            return self._memory.of(user_id, MISSING)
        try:
            answer = await self._breaker.call(self._read(user_id), *_FAILURES)
        except DependencyError:
            self._metrics.redis_up.set(self._breaker.up)
            return self._memory.of(user_id, MISSING)
        self._metrics.redis_up.set(1)
        return self._memory.merged(user_id, answer)

    async def record(self, act: Act) -> bool:
        """Put the act into the user's session now; False if only this process knows of it yet."""
        return await self.record_all([act])

    async def record_all(self, acts: Iterable[Act]) -> bool:
        """The same for many, of any users. Never raises for a Redis that is down. If true, Redis dropped the lists kept
        of these users in the same steps."""
        mine = changes(acts)
        for change in mine:
            self._memory.apply(change)
        saved = True
        for start in range(0, len(mine), USERS_AT_ONCE):
            saved &= await self._saved(mine[start : start + USERS_AT_ONCE])
        if self._on_acted is not None:  # last: a list that is made anew now must find what was recorded
            for change in mine:
                self._on_acted(change.user_id)
        return saved

    async def close(self) -> None:
        if self._listener is not None:
            await self._listener.close()
        await self._redis.aclose()

    async def _saved(self, some: Sequence[SessionChange]) -> bool:
        try:
            await self._breaker.call(self._write(some), *_FAILURES)
        except DependencyError:
            self._metrics.redis_up.set(self._breaker.up)
            for change in some:
                self._memory.mark_unsaved(change.user_id)
            return False
        return True

    async def _read(self, user_id: str) -> SessionContext:
        recent, categories, signals, blocked, met = orjson.loads(await self._script(READ, keys(user_id)))
        if not (recent or signals or blocked or categories or met):
            return NOTHING
        return SessionContext(  # Lua has one type for lists and maps: an empty list comes as {}
            recent=tuple(recent),
            met=tuple(met),
            signals=pairs(signals),
            categories=dict(zip(categories[::2], map(int, categories[1::2]), strict=True))
            if categories
            else {},
            blocked=frozenset(blocked),
        )

    async def _write(self, some: Sequence[SessionChange]) -> None:
        if len(some) == 1:
            await self._script(WRITE, keys(some[0].user_id), self._arguments(some[0]))
            return
        try:
            await self._write_all(some, by_name=True)
        except NoScriptError:
            await self._write_all(some, by_name=False)

    async def _write_all(self, some: Sequence[SessionChange], *, by_name: bool) -> None:
        command, script = ("EVALSHA", _SHA[WRITE]) if by_name else ("EVAL", WRITE)
        async with self._redis.pipeline(transaction=False) as pipeline:
            for change in some:
                names = keys(change.user_id)
                pipeline.execute_command(command, script, len(names), *names, *self._arguments(change))
            await pipeline.execute()

    async def _script(self, script: str, names: list[str], arguments: Sequence[bytes | str] = ()) -> Any:
        """Run it by its name; a Redis that was started since learns it again."""
        try:
            return await self._redis.execute_command("EVALSHA", _SHA[script], len(names), *names, *arguments)
        except NoScriptError:
            return await self._redis.execute_command("EVAL", script, len(names), *names, *arguments)

    def _arguments(self, change: SessionChange) -> tuple[bytes, str, str]:
        fields = (
            change.met,
            change.categories,
            str(change.last_active_ms),
            change.signals,
            change.reported,
        )
        return orjson.dumps(fields), message(self._origin, change.user_id), new_mark()

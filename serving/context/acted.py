"""Users who acted on another replica, as Redis tells them: their lists in this process's memory are out of date."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from serving.context.scripts import CHANNEL

log = logging.getLogger(__name__)

BACK_OFF_S = (0.2, 10.0)
SILENCE_S = 5.0
"""After so long without a message Redis is asked whether it is there; after as long again without any the connection is
given up: one that died silently (a NAT's memory, a pulled cable) would never say so."""


def message(origin: str, user_id: str) -> str:
    """What is published: the process that knows already, and who acted."""
    return f"{origin} {user_id}"


async def _messages(subscription: PubSub) -> AsyncIterator[dict[str, Any]]:
    """Raises `TimeoutError` once nothing comes any more, not even an answer."""
    asked = False
    while True:
        message = await subscription.get_message(timeout=SILENCE_S)
        if message is not None:
            asked = False
            yield message
        elif asked:
            raise TimeoutError(f"no word in {2 * SILENCE_S} s")
        else:
            asked = True
            async with asyncio.timeout(SILENCE_S):
                await subscription.ping()


class ActedListener:
    """A task that calls `on_acted(user_id)` for each message of another process than `origin`, and `on_gap()` when it
    may have missed some."""

    def __init__(
        self,
        redis: Redis,
        origin: str,
        on_acted: Callable[[str], None],
        on_gap: Callable[[], None] | None = None,
    ) -> None:
        self._redis = redis
        self._origin = origin
        self._on_acted = on_acted
        self._on_gap = on_gap
        self._task: asyncio.Task[None] | None = None
        self.listening = False

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="acted-listener")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        attempt = 0
        was_listening = False
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    await subscription.subscribe(CHANNEL)
                    async for message in _messages(subscription):
                        if message["type"] == "subscribe":
                            self.listening, attempt = True, 0
                            if was_listening and self._on_gap is not None:
                                self._on_gap()
                            was_listening = True
                        elif message["type"] == "message":
                            self._heard(message["data"])
            except (RedisError, OSError, TimeoutError) as error:
                if self.listening or attempt == 0:
                    log.warning("acts on other replicas are not heard for now: %s", type(error).__name__)
            self.listening = False
            shortest, longest = BACK_OFF_S
            await asyncio.sleep(min(longest, shortest * 2**attempt) * random.uniform(0.5, 1.0))  # noqa: S311
            attempt = min(attempt + 1, 10)

    def _heard(self, data: object) -> None:
        text = data.decode("utf-8", "replace") if isinstance(data, bytes) else str(data)
        origin, _, user_id = text.partition(" ")
        if origin == self._origin:
            return
        try:
            self._on_acted(user_id)
        except Exception:  # whatever a callback meets, the next message must be heard
            log.exception("a message on %s could not be followed", CHANNEL)

"""The parts of the endpoint, made from the settings and put into the state; closed in the opposite order."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from serving import tracing
from serving.api.state import State
from serving.context import RecentItems
from serving.experiments.running import Experiments
from serving.live import LiveBundle
from stack.settings import Settings

log = logging.getLogger(__name__)


class Parts:
    """What must be closed, newest first. One that fails to close does not keep the others open."""

    def __init__(self) -> None:
        self._closers: list[tuple[str, Callable[[], Awaitable[None]]]] = []

    def on_close(self, name: str, close: Callable[[], Awaitable[None]]) -> None:
        self._closers.append((name, close))

    async def close(self) -> None:
        while self._closers:
            name, close = self._closers.pop()
            try:
                await close()
            except Exception:
                log.exception("%s did not close cleanly", name)


async def assemble(settings: Settings, state: State) -> Parts:
    """Make every part and start what has a life of its own. Nothing here waits for another server."""
    parts = Parts()
    state.settings = settings
    if stop_tracing := tracing.start(settings):
        parts.on_close("tracing", lambda: asyncio.to_thread(stop_tracing))
    state.recent = RecentItems(settings.redis_url, state.metrics)
    parts.on_close("recent items", state.recent.close)
    state.live = LiveBundle(settings, state.metrics)
    state.live.start()
    parts.on_close("bundle watcher", _stopped(state.live.stop))
    state.experiments = Experiments(settings.experiments_file, state.metrics.registry)
    state.experiments.start()
    parts.on_close("experiments", state.experiments.close)
    return parts


def _stopped(stop: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        stop()

    return close

"""The parts of the endpoint, made from the settings and put into the state; closed in the opposite order."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from serving.api.state import State
from serving.context.store import ContextStore
from serving.decisions.log import DecisionLog
from serving.domain_events import DomainEvents, recommendations_refreshed
from serving.events.intake import EventIntake
from serving.experiments.running import Experiments
from serving.lists.feed_cache import FeedCache
from serving.live import LiveBundle
from serving.peertube.videos import Videos
from serving.pipeline.scorer import Scorer
from serving.registry.reader import RegistryReader
from serving.security.gate import Security
from serving.telemetry import tracing
from serving.telemetry.runtime import RuntimeMetrics
from serving.trainings.runs import TrainingRuns
from serving.trainings.watch import TrainingWatch
from stack.settings import Settings

log = logging.getLogger(__name__)


Close = Callable[[], Awaitable[None]]


class Parts:
    """What must be closed, newest first. One that fails to close does not keep the others open."""

    def __init__(self) -> None:
        self._closers: list[dict[str, Close]] = []

    def on_close(self, name: str, close: Close, *, beside: str | None = None) -> None:
        """`beside` names a part that is closed at the same time: two that may wait for a store share the wait."""
        if beside is None:
            self._closers.append({name: close})
            return
        [group] = [group for group in self._closers if beside in group]
        group[name] = close

    async def close(self) -> None:
        while self._closers:
            group = self._closers.pop()
            await asyncio.gather(*(_closed(name, close) for name, close in group.items()))


async def assemble(settings: Settings, state: State) -> Parts:
    """Make every part and start what has a life of its own. Nothing here waits for another server."""
    parts = Parts()
    state.security = Security(settings, state.metrics)
    state.settings = settings
    state.security.start()
    parts.on_close("security", state.security.close)
    if stop_tracing := tracing.start(settings):
        parts.on_close("tracing", lambda: asyncio.to_thread(stop_tracing))
    state.decisions = DecisionLog(settings, state.metrics.registry, is_erased=state.is_erased)
    parts.on_close("decision log", state.decisions.close)
    state.scorer = Scorer()
    state.scorer.start()
    parts.on_close("scorer", state.scorer.close)
    state.cache = FeedCache(settings.redis_url, state.metrics, settings.feed_cache_s)
    parts.on_close("feed cache", state.cache.close)
    state.context = ContextStore(
        settings.redis_url, state.metrics, on_acted=state.cache.drop_here, on_gap=state.cache.clear
    )
    state.context.start()
    parts.on_close("session context", state.context.close)
    runtime = RuntimeMetrics(state.metrics.registry, lambda: _bundle_made_at(state))
    runtime.start()
    parts.on_close("runtime metrics", runtime.close)
    training_watch = TrainingWatch(settings, state.metrics.registry)
    training_watch.start()
    parts.on_close("training watch", training_watch.close)
    state.live = LiveBundle(settings, state.metrics)
    state.live.opt_out.refresh()  # before decisions of an earlier process are shipped: none of the erased
    _forget_lists_when_outdated(state.live, state.cache)
    domain_events = DomainEvents(settings.redis_url, state.metrics.registry)
    parts.on_close("domain events", domain_events.close)
    state.live.on_swap(lambda serving: domain_events.publish(recommendations_refreshed(serving.record)))
    state.live.start()
    state.decisions.start()
    parts.on_close("bundle watcher", _stopped(state.live.stop))
    state.events = EventIntake(settings, state)
    state.events.start()
    parts.on_close("events", state.events.close, beside="decision log")
    state.experiments = Experiments(settings.experiments_file, state.metrics.registry)
    state.experiments.start()
    parts.on_close("experiments", state.experiments.close)
    state.training = TrainingRuns(settings, state.metrics, domain_events.publish)
    parts.on_close("trainings", state.training.close)
    state.registry = RegistryReader(settings, state.metrics)
    parts.on_close("registry", state.registry.close)
    state.videos = Videos.of(settings, state.metrics, lambda video_id: _in_bundle(state, video_id))
    if state.videos:
        parts.on_close("videos", state.videos.close)
    return parts


async def _closed(name: str, close: Close) -> None:
    try:
        await close()
    except Exception:
        log.exception("%s did not close cleanly", name)


def _forget_lists_when_outdated(live: LiveBundle, cache: FeedCache) -> None:
    """The watcher that tells is a thread of its own, the cache belongs to the event loop."""
    loop = asyncio.get_running_loop()

    def forget(_: object = None) -> None:
        loop.call_soon_threadsafe(cache.clear)

    live.exclusions.on_blocked(forget)
    live.on_swap(forget)


def _bundle_made_at(state: State) -> float | None:
    return state.serving.record.created_at.timestamp() if state.serving else None


def _in_bundle(state: State, video_id: str) -> bool | None:
    """Whether the bundle in service has the video; None if none is."""
    serving = state.serving
    return None if serving is None else serving.bundle.catalogue.row(video_id) is not None


def _stopped(stop: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        stop()

    return close

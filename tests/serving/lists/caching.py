"""Caches over a real Redis, and makers of lists that count."""

import asyncio
from contextlib import asynccontextmanager

from serving.context.store import ContextStore
from serving.lists.cached_list import CachedList
from serving.lists.feed_cache import FeedCache
from serving.pipeline.page import Page
from serving.telemetry.metrics import Metrics

PAGE = Page(
    [3, 1], [0.5, 0.25], "svd", "personal", 0, (), ["svd", "new"], [1.0, 0.02], [{"model": 0.5}, {}]
)  # fmt: skip


def made(name):
    return CachedList.of(PAGE, f'{{"video_id":"{name} ünï"}}'.encode())


class Maker:
    """Makes lists and counts them; waits while it is held."""

    def __init__(self, *, keep=True):
        self.count, self.keep, self.go = 0, keep, asyncio.Event()
        self.go.set()

    async def __call__(self):
        self.count += 1
        mine = self.count
        await self.go.wait()
        return made(mine), self.keep


@asynccontextmanager
async def cache_of(settings, ttl_s=600.0, **options):
    cache = FeedCache(settings.redis_url, Metrics(), ttl_s, **{"budget_s": 2.0, **options})
    try:
        yield cache
    finally:
        await cache.close()


async def quiet(cache):
    """What goes on behind the answers is done."""
    while cache._background:
        await asyncio.wait(cache._background)


def run(work):
    return asyncio.run(asyncio.wait_for(work, 60))


@asynccontextmanager
async def context_of(settings, **options):
    context = ContextStore(settings.redis_url, Metrics(), budget_s=2.0, **options)
    try:
        yield context
    finally:
        await context.close()

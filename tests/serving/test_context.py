"""Recent items from a real Redis, and what its absence costs."""

import asyncio
import logging
import time

from redis import Redis

from serving.context import RecentItems
from serving.metrics import Metrics

from .conftest import free_port


def ask(recent, *users):
    async def run():
        try:
            return [await recent.of(user) for user in users]
        finally:
            await recent.close()

    return asyncio.run(run())


def test_recent_items_come_newest_first_and_at_most_twenty(redis):
    with Redis.from_url(redis.redis_url) as client:
        client.lpush("user:ctx:recent_items", *[f"v{i}" for i in range(25)])
        client.set("user:odd:recent_items", "not a list")
    recent = RecentItems(redis.redis_url, Metrics(), budget_s=5)
    assert ask(recent, "ctx", "nobody", "odd") == [[f"v{i}" for i in range(24, 4, -1)], [], None]


def test_a_redis_that_is_down_is_said_once_and_then_not_asked(caplog):
    metrics = Metrics()
    recent = RecentItems(f"redis://127.0.0.1:{free_port()}/0", metrics)
    with caplog.at_level(logging.WARNING):
        assert ask(recent, *["ann"] * 10) == [None] * 10
    assert caplog.text.count("recent items cannot be read") == 1
    assert recent.available is False
    assert metrics.registry.get_sample_value("reelgraph_redis_up") == 0

    started = time.perf_counter()
    assert ask(recent, *["ann"] * 100) == [None] * 100
    assert time.perf_counter() - started < 1  # 100 budgets would be 2 s


def test_a_redis_that_hangs_costs_no_more_than_the_budget():
    async def run():
        async def hang(reader, writer):
            await reader.read()

        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        async with server:
            recent = RecentItems(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", Metrics())
            started = time.perf_counter()
            answer = await recent.of("ann")
            took = time.perf_counter() - started
            await recent.close()
        return answer, took

    answer, took = asyncio.run(run())
    assert answer is None
    assert took < 0.9  # the connect time-out alone would be 1 s


def test_a_redis_that_comes_back_is_used_again(redis, caplog):
    metrics = Metrics()
    recent = RecentItems(redis.redis_url, metrics, budget_s=5, open_s=0)
    for _ in range(3):
        recent._failed(ConnectionError())
    assert recent.available is False
    with caplog.at_level(logging.INFO, logger="serving"):
        assert ask(recent, "nobody") == [[]]
    assert recent.available is True
    assert "recent items can be read again" in caplog.text
    assert metrics.registry.get_sample_value("reelgraph_redis_up") == 1

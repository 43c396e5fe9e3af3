"""Lists of a moment ago: in memory and Redis, made once, gone the moment the user acts."""

import asyncio
from types import SimpleNamespace

import pytest

from serving.lists.feed_cache import MAX_LISTS_OF_A_USER, FeedCache
from serving.telemetry.metrics import Metrics

from .caching import Maker, cache_of, made, quiet, run


def test_what_was_made_is_there_the_next_time(redis, user):
    async def main():
        async with cache_of(redis) as cache:
            make = Maker()
            assert await cache.get(user, "k", make) == (made(1), False)
            assert await cache.get(user, "k", make) == (made(1), True)
            assert await cache.get(user, "other", make) == (made(2), False)
            assert await cache.get(user + "2", "k", make) == (made(3), False)

    run(main())


def test_a_list_runs_out(nowhere, user, monkeypatch):
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], time=lambda: now[0])
    monkeypatch.setattr("serving.lists.feed_cache.time", clock)

    async def main():
        async with cache_of(nowhere, ttl_s=600) as cache:
            make = Maker()
            await cache.get(user, "k", make)
            now[0] += 539  # JITTER takes at most a tenth off
            assert (await cache.get(user, "k", make))[1] is True
            now[0] += 62
            assert await cache.get(user, "k", make) == (made(2), False)

    run(main())


def test_switched_off_everything_is_made_anew(redis, user):
    async def main():
        async with cache_of(redis, ttl_s=0) as cache:
            make = Maker()
            assert not cache.on
            assert await cache.get(user, "k", make) == (made(1), False)
            assert await cache.get(user, "k", make) == (made(2), False)
            cache.drop(user)
            assert not cache._background

    run(main())


def test_a_hundred_at_once_make_one_list(redis, user):
    async def main():
        async with cache_of(redis) as cache:
            make = Maker()
            make.go.clear()
            asked = [asyncio.ensure_future(cache.get(user, "k", make)) for _ in range(100)]
            await asyncio.sleep(0.05)
            make.go.set()
            found = await asyncio.gather(*asked)
            assert make.count == 1
            assert {list_.items for list_, _ in found} == {made(1).items}
            assert sorted(there for _, there in found) == [False] + [True] * 99

    run(main())


def test_a_caller_that_hangs_up_does_not_take_the_others_list_along(redis, user):
    async def main():
        async with cache_of(redis) as cache:
            make = Maker()
            make.go.clear()
            first = asyncio.ensure_future(cache.get(user, "k", make))
            await asyncio.sleep(0.05)
            second = asyncio.ensure_future(cache.get(user, "k", make))
            await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            make.go.set()
            assert (await second)[0] == made(1)
            assert (await cache.get(user, "k", make)) == (made(1), True)
            assert make.count == 1

    run(main())


def test_a_failure_reaches_all_who_wait_and_is_not_kept(redis, user):
    async def main():
        async with cache_of(redis) as cache:

            async def fail():
                await asyncio.sleep(0.01)
                raise ZeroDivisionError

            asked = [cache.get(user, "k", fail) for _ in range(3)]
            found = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(error) for error in found] == [ZeroDivisionError] * 3
            assert await cache.get(user, "k", Maker()) == (made(1), False)

    run(main())


def test_what_was_made_without_something_is_not_kept(redis, user):
    async def main():
        async with cache_of(redis) as cache:
            make = Maker(keep=False)
            await cache.get(user, "k", make)
            assert await cache.get(user, "k", make) == (made(2), False)
            await quiet(cache)
            async with cache_of(redis) as other:
                assert (await other.get(user, "k", make))[1] is False

    run(main())


def test_a_user_who_acts_gets_a_fresh_list_and_others_keep_theirs(redis, user):
    async def main():
        async with cache_of(redis) as cache:
            make = Maker()
            for key in ("k", "l"):
                await cache.get(user, key, make)
            await cache.get(user + "2", "k", make)
            cache.drop(user)
            assert cache.in_memory(user, "k") is None
            assert await cache.get(user, "k", make) == (made(4), False)
            assert await cache.get(user, "l", make) == (made(5), False)
            assert (await cache.get(user + "2", "k", make))[1] is True

    run(main())


def test_a_list_that_was_being_made_when_the_user_acted_is_not_kept(redis, user):
    async def main():
        async with cache_of(redis) as cache:
            make = Maker()
            make.go.clear()
            before = asyncio.ensure_future(cache.get(user, "k", make))
            await asyncio.sleep(0.05)
            cache.drop(user)
            after = asyncio.ensure_future(cache.get(user, "k", make))
            await asyncio.sleep(0.05)
            make.go.set()
            assert (await before)[0] == made(1)
            assert (await after)[0] == made(2)  # made of what was known after
            await quiet(cache)
            assert await cache.get(user, "k", make) == (made(2), True)
            async with cache_of(redis) as other:
                assert await other.get(user, "k", make) == (made(2), True)

    run(main())


def test_neither_users_nor_lists_of_a_user_grow_without_end(nowhere, user):
    async def main():
        async with cache_of(nowhere, max_users=10) as cache:
            make = Maker()
            for i in range(30):
                await cache.get(f"{user} {i}", "k", make)
                assert len(cache._users) <= 10
            assert cache.in_memory(f"{user} 29", "k") is not None
            assert cache.in_memory(f"{user} 19", "k") is None
            for i in range(3 * MAX_LISTS_OF_A_USER):
                await cache.get(f"{user} 29", f"k{i}", make)
            assert len(cache._users[f"{user} 29"]) == MAX_LISTS_OF_A_USER
            assert not cache._making
            for i in range(30):
                cache.drop(f"{user} {i}")
            await quiet(cache)
            assert not cache._to_drop

    run(main())


def test_what_is_kept_is_bounded_in_bytes_too(nowhere, user):
    async def main():
        size = made(1).size
        async with cache_of(nowhere, max_bytes=10 * size + 9) as cache:
            make = Maker()
            for i in range(9):
                await cache.get(f"{user} {i // 2}", f"k{i}", make)
            assert cache._bytes == 9 * size
            await cache.get(f"{user} 0", "k0", make)  # asked for again: the last to go
            for i in range(20, 24):
                await cache.get(f"{user} {i}", "k", make)
            assert cache.in_memory(f"{user} 1", "k2") is None
            assert cache.in_memory(f"{user} 0", "k0") is not None
            kept = [made.size for lists in cache._users.values() for _, made in lists.values()]
            assert cache._bytes == sum(kept) <= 10 * size + 9
            cache.drop(f"{user} 0")
            cache.clear()
            assert cache._bytes == 0

    run(main())


def test_clearing_forgets_what_is_there_and_what_is_on_its_way(nowhere, user):
    async def main():
        async with cache_of(nowhere) as cache:
            make = Maker()
            await cache.get(user, "k", make)
            make.go.clear()
            on_its_way = asyncio.ensure_future(cache.get(user, "l", make))
            await asyncio.sleep(0.05)
            cache.clear()
            make.go.set()
            await on_its_way
            assert (await cache.get(user, "k", make))[1] is False
            assert (await cache.get(user, "l", make))[1] is False

    run(main())


def test_hits_are_counted_by_where_they_were(redis, user):
    async def main():
        metrics = Metrics()
        one = FeedCache(redis.redis_url, metrics, 600, budget_s=2)
        async with cache_of(redis) as two:
            make = Maker()
            await two.get(user, "k", make)
            await quiet(two)
            await one.get(user, "k", make)
            await one.get(user, "k", make)
            await asyncio.gather(one.get(user, "m", make), one.get(user, "m", make))
            counts = {
                result: metrics.registry.get_sample_value("reelgraph_feed_cache_total", {"result": result})
                for result in ("memory", "redis", "missed", "shared")
            }
            assert counts == {"memory": 1, "redis": 1, "missed": 1, "shared": 1}
            await one.close()

    run(main())

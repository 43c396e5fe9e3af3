"""What replicas share of their lists, and how little of it survives an act, in whatever order things come."""

import asyncio
import time

import pytest
from redis.asyncio import Redis

from serving.context.change import Act

from .caching import Maker, cache_of, context_of, made, quiet, run


def test_another_replica_finds_it_in_redis_as_it_was(redis, user):
    async def main():
        async with cache_of(redis) as one, cache_of(redis) as two:
            make = Maker()
            await one.get(user, "k", make)
            await quiet(one)
            assert await two.get(user, "k", make) == (made(1), True)
            assert two.in_memory(user, "k") == made(1)
            assert make.count == 1

    run(main())


def test_acting_drops_all_lists_in_redis(redis, user):
    async def main():
        async with cache_of(redis) as one, cache_of(redis) as two:
            make = Maker()
            for key in ("k", "l"):
                await one.get(user, key, make)
            await quiet(one)
            one.drop(user)
            await quiet(one)
            for key in ("k", "l"):
                assert (await two.get(user, key, make))[1] is False
            await quiet(two)
            async with Redis.from_url(redis.redis_url) as client:
                assert await client.ttl(f"user:{user}:feeds") in range(590, 601)

    run(main())


def test_nothing_of_before_comes_back_however_acts_and_writes_overtake_each_other(redis, user):
    """Deletions and writes go over different connections: whichever comes first, the old list is not served."""

    async def main():
        async with cache_of(redis) as cache:
            version = 0

            async def make():
                return made(version), True

            for round_ in range(100):
                version = round_
                await cache.get(user, "k", make)  # its write to Redis is on the way
                if round_ % 3 == 0:
                    await asyncio.sleep(0.0005 * (round_ % 7))
                version = f"{round_} after"
                cache.drop(user)
                if round_ % 2:
                    await asyncio.sleep(0)
                assert (await cache.get(user, "k", make))[0] == made(version)
                cache._users.clear()  # as on a replica that has nothing in memory
                if round_ % 5 == 0:
                    await quiet(cache)
                found = (await cache.get(user, "k", make))[0]
                assert found == made(version)

    run(main())


def test_a_deletion_that_redis_missed_is_remembered_until_it_is_made_good(redis, nowhere, user):
    async def main():
        async with cache_of(redis) as cache:
            make = Maker()
            await cache.get(user, "k", make)
            await cache.get(user, "l", make)
            await quiet(cache)
            there, cache._redis = cache._redis, Redis.from_url(nowhere.redis_url)
            cache.drop(user)
            await quiet(cache)
            await cache._redis.aclose()
            cache._redis = there  # Redis is back, and still holds the old lists
            assert await cache.get(user, "k", make) == (made(3), False)
            await quiet(cache)  # the new list went to Redis in place of the old ones
            cache._users.clear()
            assert await cache.get(user, "k", make) == (made(3), True)
            assert await cache.get(user, "l", make) == (made(4), False)

    run(main())


def test_a_list_of_before_an_act_that_another_replica_sends_late_is_not_taken_in(redis, user):
    """The act's step in Redis comes first, then the list, and only then the message that would have stopped it."""

    async def main():
        async with cache_of(redis) as here, cache_of(redis) as there, context_of(redis) as context:
            make = Maker()
            make.go.clear()
            before = asyncio.ensure_future(there.get(user, "k", make))
            await asyncio.sleep(0.05)
            assert await context.record(Act(user, "v1", "like", 1))
            make.go.set()
            assert (await before)[0] == made(1)
            await quiet(there)
            assert await here.get(user, "k", make) == (made(2), False)
            await quiet(here)
            there.drop_here(user)  # the message
            assert await there.get(user, "k", make) == (made(2), True)

    run(main())


def test_acts_that_redis_recorded_cost_the_cache_no_question(redis, user):
    async def main():
        users = [f"{user} {i}" for i in range(40)]
        async with cache_of(redis) as cache, context_of(redis, on_acted=cache.drop_here) as context:
            make = Maker()
            for each in users:
                await cache.get(each, "k", make)
            await quiet(cache)
            assert await context.record_all(Act(each, "v1", "like", 1) for each in users)
            assert not cache._background
            assert not cache._users
            for each in users:
                assert (await cache.get(each, "k", make))[1] is False

    run(main())


def test_a_batch_that_redis_did_not_record_is_dropped_there_in_one_step(redis, user):
    async def main():
        users = [f"{user} {i}" for i in range(300)]
        async with cache_of(redis) as cache, cache_of(redis) as other:
            make = Maker()
            for each in users:
                await cache.get(each, "k", make)
            await quiet(cache)
            await cache._redis.connection_pool.disconnect()
            cache._redis.connection_pool.reset()
            for each in users + users:
                cache.drop(each)
            assert len(cache._background) == 1
            await quiet(cache)
            assert len(cache._redis.connection_pool._available_connections) == 1
            assert not cache._outdated
            for each in users:
                assert (await other.get(each, "k", make))[1] is False

    run(main())


def test_in_redis_a_list_lives_no_longer_because_another_was_made(redis, user):
    async def main():
        async with cache_of(redis, ttl_s=0.3) as one, cache_of(redis) as two, cache_of(redis) as three:
            make = Maker()
            await one.get(user, "k", make)
            await quiet(one)
            assert (await two.get(user, "k", make))[1] is True
            await two.get(user, "l", make)  # keeps the user's hash for ten minutes
            await quiet(two)
            await asyncio.sleep(0.35)
            assert await three.get(user, "k", make) == (made(3), False)

    run(main())


def test_without_redis_memory_goes_on(nowhere, user):
    async def main():
        async with cache_of(nowhere, budget_s=0.02) as cache:
            make = Maker()
            started = time.monotonic()
            for i in range(20):
                assert (await cache.get(user, f"k{i % 4}", make))[1] is (i >= 4)
                await quiet(cache)
            cache.drop(user)
            assert (await cache.get(user, "k0", make))[1] is False
            assert time.monotonic() - started < 2

    run(main())


@pytest.mark.parametrize(
    "value",
    [b"{", b"[]", b"[1]", b'[1, {}, ""]', b'[9e9, [], ""]', b"[9e9, {}, 5]", b'["x", {}, ""]', b"\xff"],
)
def test_what_another_version_left_in_redis_is_passed_over(redis, user, value):
    async def main():
        async with Redis.from_url(redis.redis_url) as client:
            await client.hset(f"user:{user}:feeds", "k", value)
        async with cache_of(redis) as cache:
            assert await cache.get(user, "k", Maker()) == (made(1), False)

    run(main())

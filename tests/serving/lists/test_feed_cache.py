"""Lists of a moment ago: in memory and Redis, made once, gone the moment the user acts."""

import asyncio
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from redis.asyncio import Redis

from serving.context.change import Act
from serving.context.store import ContextStore
from serving.lists.cached_list import CachedList
from serving.lists.feed_cache import MAX_LISTS_OF_A_USER, FeedCache
from serving.pipeline.page import Page
from serving.telemetry.metrics import Metrics

from ..conftest import free_port

PAGE = Page(
    [3, 1], [0.5, 0.25], "svd", "personal", 0, (), ["svd", "new"], [1.0, 0.02], [{"model": 0.5}, {}]
)  # fmt: skip


def made(name):
    return CachedList(PAGE, f'{{"video_id":"{name} ünï"}}'.encode())


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


@pytest.fixture
def nowhere(redis):
    """Settings of a Redis that is not there."""
    return redis.model_copy(update={"redis_port": free_port()})


@pytest.fixture
def user(request):
    """A user of each test's own: Redis stays up between them."""
    return f"user of {request.node.name}"


def run(work):
    return asyncio.run(asyncio.wait_for(work, 60))


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


@asynccontextmanager
async def context_of(settings, **options):
    context = ContextStore(settings.redis_url, Metrics(), budget_s=2.0, **options)
    try:
        yield context
    finally:
        await context.close()


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
        size = len(made(1).items)
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
            kept = [made.items for lists in cache._users.values() for _, made in lists.values()]
            assert cache._bytes == sum(map(len, kept)) <= 10 * size + 9
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

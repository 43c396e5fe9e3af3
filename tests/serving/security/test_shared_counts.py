"""Two replicas over one real Redis: together they allow what one would, and each goes on when Redis is away."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any
from uuid import uuid4

from redis import Redis

from serving.security.gate import Security
from serving.security.rate_limit import RateLimiter
from serving.security.shared_counts import MOST_AT_ONCE, SharedCounts
from serving.telemetry.metrics import Metrics
from stack.settings import Settings
from tests.conftest import free_ports


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(test(**fixtures))

    return run


@asynccontextmanager
async def replicas(url: str, count: int = 2, prefix: str = "t") -> AsyncIterator[list]:
    limiters = [RateLimiter() for _ in range(count)]
    shared = [SharedCounts(url, each, Metrics(), prefix=prefix) for each in limiters]
    try:
        yield list(zip(limiters, shared, strict=True))
    finally:
        for each in shared:
            await each.close()


def counted(limiter: RateLimiter, caller: str) -> int:
    """Of the last minute, own and others', as far as this replica knows."""
    ring = limiter._rings.get(caller)
    return ring.total if ring else 0


async def exchanged(pair: list) -> None:
    for _ in range(2):  # the first round of the first replica is before the other's
        for _, shared in pair:
            assert await shared.exchange()


@in_a_loop
async def test_together_they_allow_one_limit(redis: Settings) -> None:
    async with replicas(redis.redis_url, prefix="limit") as pair:
        (one, _), (other, _) = pair
        assert sum(one.take("ann", 100).allowed for _ in range(60)) == 60
        assert other.take("ann", 100).remaining == 99
        for _ in range(4):  # of 5 that are a twentieth
            other.take("ann", 100)
        await exchanged(pair)
        assert other.take("ann", 100).remaining == 34
        assert sum(other.take("ann", 100).allowed for _ in range(100)) == 34
        for _ in range(2):  # it hears what the other told when it next asks
            one.take("ann", 100)
            await exchanged(pair)
        assert not one.take("ann", 100).allowed
        assert one.take("bob", 100).remaining == 99


@in_a_loop
async def test_telling_twice_counts_once(redis: Settings) -> None:
    async with replicas(redis.redis_url, prefix="twice") as pair:
        (one, told), (other, heard) = pair
        for _ in range(10):
            one.take("ann", 100)
        other.take("ann", 20)
        for _ in range(3):
            one.touched.add("ann")
            await told.exchange()
        other.touched.add("ann")
        await heard.exchange()
        assert other.take("ann", 20).remaining == 20 - 10 - 2


@in_a_loop
async def test_redis_holds_no_id_and_forgets(redis: Settings) -> None:
    async with replicas(redis.redis_url, count=1, prefix="private") as [(limiter, shared)]:
        limiter.take("user:ann-of-the-street", 1)
        await shared.exchange()
    with Redis.from_url(redis.redis_url) as client:
        (key,) = client.keys("private:*")
        assert b"ann" not in key
        assert b"ann" not in b"".join(client.hgetall(key).values())
        assert 60 < client.ttl(key) <= 90


@in_a_loop
async def test_a_round_is_bounded_and_the_next_goes_on(redis: Settings) -> None:
    async with replicas(redis.redis_url, count=1, prefix="many") as [(limiter, shared)]:
        for i in range(MOST_AT_ONCE + 7):
            limiter.take(f"user{i}", 1)
        await shared.exchange()
        assert len(limiter.touched) == 7
        await shared.exchange()
        assert limiter.touched == set()


@in_a_loop
async def test_what_is_no_count_of_ours_is_not_taken_for_one(redis: Settings) -> None:
    async with replicas(redis.redis_url, count=1, prefix="odd") as [(limiter, shared)]:
        limiter.take("ann", 10)
        await shared.exchange()
        with Redis.from_url(redis.redis_url) as client:
            (key,) = client.keys("odd:*")
            client.hset(key, "other", "x:1,5:-3,,:,9999999999999999999999999999999999:1,7")
        limiter.touched.add("ann")
        await shared.exchange()
        assert limiter.take("ann", 10).remaining == 8


@in_a_loop
async def test_without_redis_each_counts_alone_and_tells_later(redis: Settings) -> None:
    nobody = f"redis://127.0.0.1:{free_ports(1)[0]}/0"
    async with replicas(nobody, count=1) as [(limiter, shared)]:
        for _ in range(5):
            limiter.take("ann", 5)
        assert not await shared.exchange()
        assert not limiter.take("ann", 5).allowed
        assert limiter.touched == {"ann"}


@in_a_loop
async def test_two_gates_of_one_stack_share_a_limit(redis: Settings) -> None:
    closed = redis.model_copy(update={"development": False, "rate_limit_per_minute": 10})
    gates = [Security(closed, Metrics()) for _ in range(2)]
    caller = f"user:{uuid4()}"
    try:
        for gate in gates:
            gate.start()
        for _ in range(9):
            gates[0].limiter.take(caller, 10)
        for _ in range(100):
            gates[1].limiter.touched.add(caller)
            if counted(gates[1].limiter, caller) == 10:
                break
            if not gates[1].limiter.own_slots(caller):
                gates[1].limiter.take(caller, 10)
            await asyncio.sleep(0.05)
        assert counted(gates[1].limiter, caller) == 10
        assert sum(gates[1].limiter.own_slots(caller).values()) == 1
    finally:
        for gate in gates:
            await gate.close()


@in_a_loop
async def test_it_runs_in_the_background(redis: Settings) -> None:
    async with replicas(redis.redis_url, prefix="background") as pair:
        for _, shared in pair:
            shared.start()
        (one, _), (other, _) = pair
        for _ in range(8):
            one.take("ann", 10)
        other.take("ann", 10)  # it is told only of callers it has seen itself
        for _ in range(60):
            await asyncio.sleep(0.05)
            if counted(other, "ann") == 9:
                break
            other.touched.add("ann")
        assert counted(other, "ann") == 9

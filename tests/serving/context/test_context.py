"""Sessions in a real Redis, in this process's own copy, and what the absence of the one costs."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from data_quality.event_values import EventType
from serving.context.change import INTEREST, Act, changes
from serving.context.memory import SessionMemory
from serving.context.session import MET, NOTHING, SessionContext
from serving.context.store import MISSING, ContextStore
from serving.telemetry.metrics import Metrics

from ..conftest import free_port, wait_for

MINUTE_15 = 15 * 60


def person() -> str:
    return f"u-{uuid4().hex[:8]}"


def using(url: str, work: Callable[[ContextStore], Awaitable[object]], **options: object) -> object:
    """What `work` gives with a store of its own."""

    async def run() -> object:
        options.setdefault("budget_s", 5)
        store = ContextStore(url, Metrics(), **options)  # type: ignore[arg-type]
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def test_an_event_is_in_the_contract_s_keys_with_their_time_to_live(redis):
    user = person()

    async def work(store: ContextStore) -> None:
        assert await store.record(Act(user, "v1", "view_start", 1000, "dogs"))
        assert await store.record(Act(user, "v2", "like", 2000, "cats"))
        assert await store.record(Act(user, "v1", "report", 3000, "dogs"))

    using(redis.redis_url, work)
    with Redis.from_url(redis.redis_url, decode_responses=True) as client:
        assert client.lrange(f"user:{user}:recent_items", 0, -1) == ["v1", "v2"]  # newest first, a video once
        assert client.hgetall(f"user:{user}:recent_categories") == {"dogs": "1", "cats": "1"}
        assert client.get(f"user:{user}:last_active") == "3000"
        assert client.lrange(f"user:{user}:signals", 0, -1) == ["report|v1", "like|v2", "view_start|v1"]
        assert client.smembers(f"user:{user}:blocked") == {"v1"}
        for name in ("recent_items", "recent_categories", "last_active", "signals"):
            assert MINUTE_15 - 30 < client.ttl(f"user:{user}:{name}") <= MINUTE_15
        assert client.ttl(f"user:{user}:blocked") > 29 * 24 * 3600
        assert client.lrange(f"user:{user}:met", 0, -1) == ["v1", "v2"]
        assert 3 * 24 * 3600 - 30 < client.ttl(f"user:{user}:met") <= 3 * 24 * 3600


def test_a_session_is_read_back_whole_and_bounded(redis):
    user = person()

    async def work(store: ContextStore) -> SessionContext:
        for number in range(25):
            await store.record(Act(user, f"v{number}|ü", "view_start", number, f"c{number % 2}"))
        return await store.of(user)

    found = using(redis.redis_url, work)
    newest = [f"v{number}|ü" for number in range(24, 4, -1)]
    assert found == SessionContext(
        recent=tuple(newest),
        met=tuple(f"v{number}|ü" for number in range(24, -1, -1)),
        signals=tuple(("view_start", video) for video in newest),
        categories={"c0": 13, "c1": 12},
    )


def test_nobody_and_strangers_have_done_nothing(redis):
    async def work(store: ContextStore) -> tuple[SessionContext, SessionContext]:
        return await store.of(""), await store.of(person())

    assert using(redis.redis_url, work) == (NOTHING, NOTHING)


def test_what_was_met_outlives_the_session_without_end_in_time_or_number(redis):
    user = person()

    async def work(store: ContextStore) -> tuple[SessionContext, SessionContext]:
        for first in range(0, 2500, 500):
            await store.record_all(Act(user, f"v{n}", "view_start", n) for n in range(first, first + 500))
        await store.record(Act(user, "v600", "like", 3000))  # again: the newest, and once
        await store.record_all(Act(user, f"v{n}", "like", 4000 + n) for n in range(700, 730))
        whole = await store.of(user)
        with Redis.from_url(redis.redis_url) as client:
            client.delete(
                *(f"user:{user}:{name}" for name in ("recent_items", "recent_categories", "signals"))
            )
            assert client.llen(f"user:{user}:met") == MET
        return whole, await store.of(user)

    whole, later = using(redis.redis_url, work)
    assert whole.met == (
        *(f"v{n}" for n in range(729, 699, -1)),
        "v600",
        *(f"v{n}" for n in range(2499, 499, -1) if n != 600 and not 700 <= n < 730),
    )
    assert whole.recent == whole.met[:20]
    assert later == SessionContext(met=whole.met)


def test_the_own_copy_of_what_was_met_is_bounded_and_longer_than_the_session_s_list():
    memory = SessionMemory(ttl_s=60)
    for number in range(300):
        [change] = changes([Act("ann", f"v{number}", "view_start", number)])
        memory.apply(change)
    found = memory.of("ann")
    assert found.met == tuple(f"v{number}" for number in range(299, 99, -1))
    assert found.recent == found.met[:20]


def test_events_out_of_order_never_turn_last_active_back(redis):
    user = person()

    async def work(store: ContextStore) -> None:
        await store.record(Act(user, "v1", "like", 1_700_000_000_123))
        await store.record(Act(user, "v2", "like", 1_600_000_000_000))

    using(redis.redis_url, work)
    with Redis.from_url(redis.redis_url, decode_responses=True) as client:
        assert client.get(f"user:{user}:last_active") == "1700000000123"


def test_a_batch_of_many_users_is_recorded_as_one_by_one_would_be(redis):
    users = [person() for _ in range(60)]

    async def work(store: ContextStore) -> list[SessionContext]:
        with Redis.from_url(redis.redis_url) as client:
            client.script_flush()  # a Redis that has just started
        acts = [Act(user, f"v{n}", "like", n, "dogs") for n in range(3) for user in users]
        assert await store.record_all(acts)
        return [await store.of(user) for user in users]

    found = using(redis.redis_url, work)
    assert (
        found
        == [
            SessionContext(
                recent=("v2", "v1", "v0"),
                met=("v2", "v1", "v0"),
                signals=(("like", "v2"), ("like", "v1"), ("like", "v0")),
                categories={"dogs": 3},
            )
        ]
        * 60
    )


def test_a_key_of_another_kind_is_a_session_that_cannot_be_read(redis):
    user = person()
    with Redis.from_url(redis.redis_url) as client:
        client.set(f"user:{user}:recent_items", "not a list")
    found = using(redis.redis_url, lambda store: store.of(user))
    assert found == SessionContext(missing=(MISSING,))


def test_a_redis_that_is_down_is_said_once_and_then_not_asked(caplog):
    async def work(store: ContextStore) -> float:
        for _ in range(10):
            assert await store.of("ann") == SessionContext(missing=(MISSING,))
        assert not store.available
        started = time.perf_counter()
        for _ in range(100):
            await store.of("ann")
        return time.perf_counter() - started

    with caplog.at_level(logging.WARNING):
        took = using(f"redis://127.0.0.1:{free_port()}/0", work, budget_s=0.02)
    assert caplog.text.count("session context does not answer") == 1
    assert isinstance(took, float)
    assert took < 1  # 100 budgets would be 2 s


def test_a_redis_that_hangs_costs_no_more_than_the_budget():
    async def run() -> None:
        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        store = ContextStore(f"redis://127.0.0.1:{port}/0", Metrics(), budget_s=0.05)
        started = time.perf_counter()
        assert (await store.of("ann")).missing == (MISSING,)
        assert not await store.record(Act("ann", "v1", "like", 1))
        assert time.perf_counter() - started < 1
        await store.close()
        server.close()
        await server.wait_closed()

    asyncio.run(run())


def test_without_redis_the_next_feed_still_knows_what_this_process_recorded():
    async def work(store: ContextStore) -> SessionContext:
        assert not await store.record(Act("ann", "v1", "view_start", 1, "dogs"))
        assert not await store.record(Act("ann", "v2", "report", 2, "dogs"))
        return await store.of("ann")

    assert using(f"redis://127.0.0.1:{free_port()}/0", work) == SessionContext(
        recent=("v2", "v1"),
        met=("v2", "v1"),
        signals=(("report", "v2"), ("view_start", "v1")),
        categories={"dogs": 1},
        blocked=frozenset({"v2"}),
        missing=(MISSING,),
    )


def test_what_redis_missed_while_it_was_down_goes_before_what_it_says(redis, monkeypatch):
    user = person()

    async def work(store: ContextStore) -> SessionContext:
        await store.record(Act(user, "v1", "like", 1))

        async def down(some: object) -> None:
            raise ConnectionError

        with monkeypatch.context() as patch:
            patch.setattr(store, "_write", down)
            assert not await store.record(Act(user, "v2", "like", 2))
        with Redis.from_url(redis.redis_url) as client:  # another replica
            client.lpush(f"user:{user}:recent_items", "v3")
            client.lpush(f"user:{user}:met", "v4", "v3")
        return await store.of(user)

    found = using(redis.redis_url, work)
    assert isinstance(found, SessionContext)
    assert found.recent == ("v2", "v1", "v3")
    assert found.met == ("v2", "v1", "v3", "v4")
    assert found.missing == ()


def test_who_acts_is_told_here_at_once_and_on_other_replicas_soon(redis):
    user = person()
    here: list[str] = []
    there: list[str] = []

    async def work(store: ContextStore) -> None:
        other = ContextStore(redis.redis_url, Metrics(), on_acted=there.append, budget_s=5)
        other.start()
        assert other._listener is not None
        await asyncio.to_thread(wait_for, lambda: other._listener.listening, "the subscription", 10)
        await store.record(Act(user, "v1", "like", 1))
        assert here == [user]
        await asyncio.to_thread(wait_for, lambda: there == [user], "the message", 10)
        await other.close()

    using(redis.redis_url, work, on_acted=here.append)


def test_a_lost_subscription_comes_back_and_says_that_there_was_a_gap(redis):
    gaps: list[None] = []
    heard: list[str] = []

    async def work(store: ContextStore) -> None:
        store.start()
        listener = store._listener
        assert listener is not None
        await asyncio.to_thread(wait_for, lambda: listener.listening, "the subscription", 10)
        assert gaps == []
        with Redis.from_url(redis.redis_url) as client:
            client.client_kill_filter(_type="pubsub")
        await asyncio.to_thread(wait_for, lambda: gaps == [None], "a new subscription", 10)
        with Redis.from_url(redis.redis_url) as client:
            client.publish("reelgraph:acted", "another ann b")
        await asyncio.to_thread(wait_for, lambda: heard == ["ann b"], "the message", 10)

    using(redis.redis_url, work, on_acted=heard.append, on_gap=lambda: gaps.append(None))


class Passage:
    """A way to Redis that can die without a word: connections stay open, nothing passes any more."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: list[asyncio.Event] = []
        self.connections = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        dead = asyncio.Event()
        self._open.append(dead)
        self.connections += 1
        try:
            await asyncio.gather(pass_on(reader, back, dead), pass_on(there, writer, dead))
        finally:
            back.close()
            writer.close()

    def die(self) -> None:
        for dead in self._open:
            dead.set()


async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter, dead: asyncio.Event) -> None:
    while content := await source.read(65536):
        if not dead.is_set():
            target.write(content)
            await target.drain()
    target.close()


def test_a_subscription_that_dies_silently_is_noticed_and_one_that_is_only_quiet_is_kept(redis, monkeypatch):
    monkeypatch.setattr("serving.context.acted.SILENCE_S", 0.2)
    gaps: list[None] = []
    heard: list[str] = []

    async def run() -> None:
        passage = Passage(redis.redis_port)
        server = await asyncio.start_server(passage.handle, "127.0.0.1", 0)
        address = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        store = ContextStore(
            address, Metrics(), on_acted=heard.append, on_gap=lambda: gaps.append(None), budget_s=5
        )
        store.start()
        listener = store._listener
        assert listener is not None
        await asyncio.to_thread(wait_for, lambda: listener.listening, "the subscription", 10)
        await asyncio.sleep(1.5)  # several silences, each answered
        assert (gaps, passage.connections) == ([], 1)
        passage.die()
        await asyncio.to_thread(wait_for, lambda: gaps == [None], "a new subscription", 10)
        with Redis.from_url(redis.redis_url) as client:
            client.publish("reelgraph:acted", "another ann")
        await asyncio.to_thread(wait_for, lambda: heard == ["ann"], "the message", 10)
        await store.close()
        server.close()

    asyncio.run(run())


def test_the_own_copy_forgets_the_one_who_acted_longest_ago_and_everybody_after_a_while():
    memory = SessionMemory(ttl_s=60, users=2)
    for user in ("a", "b", "a", "c"):
        [change] = changes([Act(user, "v1", "like", 1)])
        memory.apply(change)
    assert [bool(memory.of(user).recent) for user in ("a", "b", "c")] == [True, False, True]
    assert len(memory) == 2

    short = SessionMemory(ttl_s=0)
    [change] = changes([Act("a", "v1", "like", 1)])
    short.apply(change)
    assert short.of("a") == NOTHING
    assert len(short) == 0


@pytest.mark.parametrize("kind", list(EventType))
def test_a_category_counts_what_shows_interest_once_a_view(kind):
    [change] = changes([Act("a", "v1", kind, 1, "dogs")])
    shows = kind not in {"view_end", "scroll_pass", "report", "pause", "resume", "seek"}
    assert change.categories == ({"dogs": 1} if shows else {})
    assert (kind in INTEREST) is shows


ACTS = st.lists(
    st.builds(
        Act,
        user_id=st.just("x"),
        video_id=st.sampled_from([f"v{number}" for number in range(30)]),
        event_type=st.sampled_from([str(kind.value) for kind in EventType]),
        at_ms=st.integers(0, 10**13),
        category=st.sampled_from(["dogs", "cats", None]),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=40, deadline=None)
@given(acts=ACTS)
def test_redis_and_the_own_copy_say_the_same_of_any_events(redis, acts):
    user = person()
    memory = SessionMemory(ttl_s=60)
    mine = [Act(user, act.video_id, act.event_type, act.at_ms, act.category) for act in acts]

    async def work(store: ContextStore) -> SessionContext:
        for act in mine:
            await store.record(act)
            for change in changes([act]):
                memory.apply(change)
        return await store.of(user)

    found = using(redis.redis_url, work)
    assert found == memory.of(user)
    assert isinstance(found, SessionContext)
    assert list(found.recent) == list(dict.fromkeys(act.video_id for act in reversed(mine)))[:20]

"""The scorer's thread: the same candidates as without it, mixed for nobody, failed for nobody else."""

import asyncio
import gc
import threading
import weakref
from contextlib import suppress
from functools import partial

import numpy as np
import pytest

from serving.errors import UnknownVideoError
from serving.pipeline import retrieval, scorer
from serving.pipeline.scorer import TOGETHER_FROM, Scorer, _here, _Job
from serving.pipeline.session import Session

from .made import pipeline_of, world

USERS = [f"u{i:04d}" for i in range(20)]


@pytest.fixture(scope="module")
def pipelines():
    """Two bundles that answer the same users differently."""
    return pipeline_of(world(300, seed=1)), pipeline_of(world(350, seed=2))


@pytest.fixture
def busy(monkeypatch):
    """Nothing is quick enough to be done at once."""
    monkeypatch.setattr(scorer, "INLINE_UP_TO", 0)


def with_scorer(work):
    async def main():
        thread = Scorer()
        thread.start()
        try:
            return await work(thread)
        finally:
            await thread.close()

    return asyncio.run(main())


def test_what_was_answered_is_not_held_until_there_is_more_to_do(busy):
    """It would keep a bundle in memory that is out of service; nor does an error, until the collector comes."""

    async def ask(thread):
        pipeline = pipeline_of(world(300, seed=3))
        held = weakref.ref(pipeline.bundle)
        await thread.gather(pipeline, pipeline.plan(USERS[0]))
        await thread.run(partial(pipeline.ranker.similar, "v0001", 3))
        with suppress(UnknownVideoError):
            await thread.run(partial(pipeline.ranker.similar, "no video", 3))
        broken = pipeline.plan(USERS[1])
        pipeline.gather = refusing
        with suppress(RuntimeError):
            await thread.gather(pipeline, broken)
        del pipeline, broken
        async with asyncio.timeout(10):
            while held() is not None:
                await asyncio.sleep(0.01)

    def refusing(plan):
        raise RuntimeError(len(plan.asked.queries))

    gc.disable()
    try:
        with_scorer(ask)
    finally:
        gc.enable()


class Held:
    """Keeps both of the scorer's threads busy until let go."""

    def __init__(self, thread):
        self._go, self._begun = threading.Event(), threading.Barrier(3)
        jobs = [_Job(self._wait, *_here()) for _ in range(2)]
        thread._jobs.put(jobs[0])
        thread._others.put(jobs[1])
        self.job = asyncio.gather(*(job.future for job in jobs))

    def _wait(self):
        self._begun.wait(10)
        assert self._go.wait(10)
        return "held"

    async def __aenter__(self):
        await asyncio.to_thread(self._begun.wait, 10)
        return self

    async def __aexit__(self, *_):
        self._go.set()
        assert await self.job == ["held", "held"]


async def after_all_are_asked(thread, *asked):
    """Futures of what waits together behind something slow."""
    async with Held(thread):
        futures = [asyncio.ensure_future(one) for one in asked]
        while thread.waiting < len(futures):
            await asyncio.sleep(0)
    return futures


def same(found, expected):
    assert found.kind == expected.kind
    assert found.source == expected.source
    assert found.degraded == expected.degraded
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    # Products of matrices round otherwise than of vectors: two of nearly the same score may change places.
    assert set(found.rows.tolist()) == set(expected.rows.tolist())
    assert found.sources == expected.sources


@pytest.mark.usefixtures("busy")
def test_candidates_are_the_same_as_without_the_thread(pipelines):
    async def work(thread):
        for pipeline in pipelines:
            for user in [*USERS[:3], "stranger"]:
                plan = pipeline.plan(user, Session(met=(1, 2), liked=(1,)))
                same(await thread.gather(pipeline, plan), pipeline.gather(plan))

    with_scorer(work)


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("of_each", [1, TOGETHER_FROM - 1, TOGETHER_FROM, 16])
def test_requests_of_two_bundles_at_once_are_not_mixed(pipelines, of_each, monkeypatch):
    together = []
    real = retrieval.search_together

    def counted(queries, k=retrieval.CANDIDATES):
        together.append(len(queries))
        assert len({id(query.space) for query in queries}) == 1
        return real(queries, k)

    monkeypatch.setattr(retrieval, "search_together", counted)

    async def work(thread):
        plans = [(p, p.plan(user)) for user in USERS[:of_each] for p in pipelines]
        futures = await after_all_are_asked(thread, *(thread.gather(p, plan) for p, plan in plans))
        for (pipeline, plan), future in zip(plans, futures, strict=True):
            found = await future
            same(found, pipeline.gather(plan))
            assert not set(found.rows.tolist()) & set(plan.asked.met.tolist())

    with_scorer(work)
    assert together == ([of_each, of_each] if of_each >= TOGETHER_FROM else [])


def test_a_small_catalogue_is_not_worth_a_thread(pipelines):
    async def work(thread):
        async with Held(thread):  # would wait for ever behind this
            plan = pipelines[0].plan(USERS[0])
            same(await thread.gather(pipelines[0], plan), pipelines[0].gather(plan))

    with_scorer(work)


@pytest.mark.usefixtures("busy")
def test_trending_never_waits_for_the_thread(pipelines):
    async def work(thread):
        async with Held(thread):
            found = await thread.gather(pipelines[0], pipelines[0].plan("stranger"))
            assert (found.kind, len(found.rows)) == ("popularity", 300)

    with_scorer(work)


def test_a_failure_reaches_who_asked_and_nobody_else():
    def fail():
        raise ZeroDivisionError("mine")

    async def work(thread):
        futures = await after_all_are_asked(
            thread, thread.run(lambda: 1), thread.run(fail), thread.run(lambda: 3)
        )
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert [results[0], results[2]] == [1, 3]
        assert isinstance(results[1], ZeroDivisionError)
        assert await thread.run(lambda: "still there") == "still there"

    with_scorer(work)


@pytest.mark.usefixtures("busy")
def test_one_that_spoils_a_product_is_asked_alone(pipelines, monkeypatch):
    """The others get theirs, and it gets what another model says."""
    pipeline = pipelines[0]

    async def work(thread):
        plans = [pipeline.plan(user) for user in USERS[:TOGETHER_FROM]]
        bad = plans[3].asked.queries[0]
        object.__setattr__(bad, "long", np.full_like(bad.long, np.nan))
        futures = await after_all_are_asked(thread, *(thread.gather(pipeline, plan) for plan in plans))
        found = await asyncio.gather(*futures)
        assert [one.kind for one in found] == ["two-tower"] * 3 + ["svd"] + ["two-tower"] * 4
        assert found[3].degraded == ("the two-tower model failed",)
        for plan, one in zip(plans, found, strict=True):
            same(one, pipeline.gather(plan))

    with_scorer(work)


def test_what_nobody_waits_for_any_more_is_not_worked_at():
    done = []

    async def work(thread):
        async with Held(thread):
            given_up = asyncio.ensure_future(thread.run(lambda: done.append("given up")))
            kept = asyncio.ensure_future(thread.run(lambda: done.append("kept")))
            while thread.waiting < 2:
                await asyncio.sleep(0)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
        await kept

    with_scorer(work)
    assert done == ["kept"]


def test_a_caller_that_gives_up_while_its_answer_is_made_disturbs_nobody():
    async def work(thread):
        async with Held(thread) as held:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await asyncio.shield(held.job)
            last = asyncio.ensure_future(thread.run(lambda: "last"))
            await asyncio.sleep(0)
        assert await last == "last"

    with_scorer(work)


def test_closing_answers_what_was_asked_before():
    async def main():
        thread = Scorer()
        thread.start()
        async with Held(thread):
            futures = [asyncio.ensure_future(thread.run(lambda i=i: i)) for i in range(50)]
            while thread.waiting < 50:
                await asyncio.sleep(0)
            closing = asyncio.ensure_future(thread.close())
            await asyncio.sleep(0)
        assert await asyncio.gather(*futures) == list(range(50))
        await closing
        assert not any(one.is_alive() for one in thread._threads)

    asyncio.run(main())


def test_a_thread_that_was_never_started_can_be_closed():
    asyncio.run(Scorer().close())

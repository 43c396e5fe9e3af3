"""Threads that gather candidates and do other sums, so that the event loop never waits for arithmetic.

What waits while it works is taken together: requests to one model with factors become one product of matrices once
there are enough of them (a product with few rows is slower than one vector after the other: BLAS packs the catalogue
for it; seen here: 1.1 ms a vector at 100,000 x 64, 6 ms for two together, 7 for eight, 9 for sixteen).
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from serving.api.state import INLINE_UP_TO
from serving.pipeline import retrieval
from serving.pipeline.candidates import Gathered, merged
from serving.pipeline.feed import FeedPipeline
from serving.pipeline.planning import Plan

log = logging.getLogger(__name__)

TOGETHER_FROM = 8
AT_MOST = 32


@dataclass
class _Job:
    work: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    pipeline: FeedPipeline | None = None
    plan: Plan | None = None

    def deliver(self, result: Any, error: BaseException | None = None) -> None:
        try:
            self.loop.call_soon_threadsafe(_settle, self.future, result, error)
        except RuntimeError:  # the loop closed meanwhile: nobody waits any more
            log.debug("an answer came after its event loop had closed")

    def release(self) -> None:
        """Refer to nothing any more. An error refers to the frames it came through and they to this job: if that led
        back to the error, by the future, only the collector would end the circle, and the bundle in it stay."""
        del self.work, self.future, self.pipeline, self.plan


class Scorer:
    """`await gather(...)` from the event loop; one thread does the work. `start` and `close` once."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._others: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        for name, work in (("scorer", self._work), ("arithmetic", self._work_on_others)):
            thread = threading.Thread(target=work, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    async def close(self) -> None:
        """What was asked before is still answered."""
        self._jobs.put(None)
        self._others.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join, 5)

    async def gather(self, pipeline: FeedPipeline, plan: Plan) -> Gathered:
        """The candidates of a plan."""
        if not plan.asked.queries or _is_quick(plan):
            return pipeline.gather(plan)
        loop, future = _here()
        self._jobs.put(_Job(lambda: pipeline.gather(plan), loop, future, pipeline, plan))
        try:
            return await future
        finally:
            del future  # see `_Job.release`

    async def run(self, work: Callable[[], Any]) -> Any:
        """Any other arithmetic that would hold up the event loop: in a thread of its own, since a few passes over a
        large catalogue for similar videos must not make feeds wait."""
        loop, future = _here()
        self._others.put(_Job(work, loop, future))
        try:
            return await future
        finally:
            del future  # see `_Job.release`

    @property
    def waiting(self) -> int:
        return self._jobs.qsize() + self._others.qsize()

    def _work(self) -> None:
        while self._answer_waiting():
            pass

    def _answer_waiting(self) -> bool:
        """Answer what waits, or the next; whether to go on. A call for each time: while the thread waits for work it
        holds nothing of the last, which would keep its bundle in memory."""
        job = self._jobs.get()
        if job is None:
            return False
        batch, ends = self._taken(job)
        for group in _grouped(batch):
            if len(group) >= TOGETHER_FROM:
                _answer_together(group)
            else:
                for single in group:
                    _answer(single)
        return not ends

    def _work_on_others(self) -> None:
        while self._answer_another():
            pass

    def _answer_another(self) -> bool:
        job = self._others.get()
        if job is None:
            return False
        _answer(job)
        return True

    def _taken(self, first: _Job) -> tuple[list[_Job], bool]:
        batch = [first]
        while len(batch) < AT_MOST:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return batch, True
            batch.append(job)
        return batch, False


def _is_quick(plan: Plan) -> bool:
    return all(
        query.space.factors is not None and len(query.space.rows) <= INLINE_UP_TO
        for query in plan.asked.queries
    )


def _here() -> "tuple[asyncio.AbstractEventLoop, asyncio.Future[Any]]":
    loop = asyncio.get_running_loop()
    return loop, loop.create_future()


def _grouped(batch: Sequence[_Job]) -> list[list[_Job]]:
    """Jobs whose first query goes to the same model by arithmetic alone, together; every other on its own."""
    groups: dict[int, list[_Job]] = {}
    for job in batch:
        space = job.plan.asked.queries[0].space if job.plan else None
        together = space is not None and space.factors is not None and space.index is None
        groups.setdefault(id(space) if together else -id(job), []).append(job)
    return list(groups.values())


def _answer(job: _Job) -> None:
    try:
        if not job.future.cancelled():  # else its request gave up
            job.deliver(job.work())
    except Exception as error:  # handed to who asked
        job.deliver(None, error)
    finally:
        job.release()


def _answer_together(jobs: Sequence[_Job]) -> None:
    try:
        plans = [job.plan for job in jobs if job.plan is not None]
        found = retrieval.search_together([plan.asked.queries[0] for plan in plans])
    except Exception:  # one of them spoils it: each on its own
        log.exception("candidates could not be gathered together")
        for job in jobs:
            _answer(job)
        return
    for job, plan, first in zip(jobs, plans, found, strict=True):
        assert job.pipeline is not None
        job.work = partial(merged, plan.asked, first, plan.asked.degraded, job.pipeline.trending)
        _answer(job)


def _settle(future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)

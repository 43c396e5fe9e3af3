"""A time-out that does not mistake a busy event loop for a dependency that is down."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
import uvloop

from serving.budget import Budget

T = TypeVar("T")


LOOPS = pytest.mark.parametrize(
    "loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


def running(work: Coroutine[Any, Any, T], loop: Callable[[], asyncio.AbstractEventLoop]) -> T:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(work)


async def asked_while_the_machine_stands_still(limit, stand_still_s: float = 0.6) -> bytes:
    """Nothing runs for longer than the budget of 0.3 s; the answer comes just after."""
    loop = asyncio.get_running_loop()
    answer = loop.create_future()
    async with limit:
        loop.call_soon(time.sleep, stand_still_s)
        threading.Timer(stand_still_s + 0.05, loop.call_soon_threadsafe, [answer.set_result, b"x"]).start()
        return await answer


@LOOPS
def test_an_answer_that_comes_just_after_a_standstill_counts(loop):
    assert running(asked_while_the_machine_stands_still(Budget(0.3)), loop) == b"x"


@LOOPS
def test_the_plain_time_out_would_have_thrown_it_away(loop):
    """Why there is a class for it."""

    async def plain() -> bytes:
        return await asked_while_the_machine_stands_still(asyncio.timeout(0.3))

    with pytest.raises(TimeoutError):
        running(plain(), loop)


@LOOPS
def test_an_answer_that_waited_for_the_loop_counts(loop):
    """It came during the standstill, and the loop finds it together with the end of the budget."""

    async def ask() -> bytes:
        there, here = socket.socketpair()
        with there, here:
            reader, writer = await asyncio.open_connection(sock=here)
            threading.Timer(0.1, there.sendall, [b"x"]).start()
            async with Budget(0.3):
                asyncio.get_running_loop().call_soon(time.sleep, 0.6)
                answer = await reader.readexactly(1)
            writer.close()
            return answer

    assert running(ask(), loop) == b"x"


def test_what_takes_too_long_is_cancelled_soon_after_the_budget():
    async def run() -> float:
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            async with Budget(0.05):
                await asyncio.sleep(30)
        return time.monotonic() - started

    assert 0.05 <= asyncio.run(run()) < 1


def test_a_loop_that_stands_still_again_and_again_does_not_extend_it_for_ever():
    async def run() -> float:
        loop = asyncio.get_running_loop()
        started = time.monotonic()

        def busy() -> None:
            time.sleep(0.04)
            if time.monotonic() - started < 2:
                loop.call_soon(busy)

        loop.call_soon(busy)
        with pytest.raises(TimeoutError):
            async with Budget(0.05):
                await asyncio.sleep(30)
        return time.monotonic() - started

    assert asyncio.run(run()) < 1


def test_what_is_done_in_time_leaves_nothing_behind():
    async def run() -> bool:
        async with Budget(0.02):
            result = await asyncio.sleep(0, "done")
        await asyncio.sleep(0.05)  # a timer that was left would cancel this
        return result == "done"

    assert asyncio.run(run())


def test_other_errors_and_a_cancellation_from_outside_pass_through():
    async def run() -> None:
        with pytest.raises(ValueError, match="of the work"):
            async with Budget(1):
                raise ValueError("of the work")

        async def waits() -> None:
            async with Budget(10):
                await asyncio.sleep(30)

        task = asyncio.create_task(waits())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())

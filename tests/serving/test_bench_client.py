"""The bench's client waits for nobody, and sees what is wrong with an answer."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from serving.bench import load as loads
from serving.bench.client import Load, fire
from serving.bench.requests import get
from serving.bench.samples import CACHED, DEGRADED, EMPTY, MIXED, Samples

Answer = Callable[[int, bytes], "tuple[float, bytes] | None"]
"""From the number of a request and its bytes to a delay in seconds and the response; None: hang up."""


def response(body: str, status: int = 200, bundle: str = "b1", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nX-Bundle-ID: {bundle}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body.encode()


def feed_body(
    bundle: str = "b1", *, degraded: bool = False, cached: bool = False, titles: tuple[str, ...] = ("a x",)
) -> str:
    return json.dumps(
        {
            "request_id": "r",
            "bundle": bundle,
            "model": {"kind": "two-tower", "version": 1},
            "degraded": degraded,
            "cached": cached,
            "items": [{"title": title} for title in titles],
        },
        separators=(",", ":"),
    )


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[int]:
    """An HTTP server by hand, on a free port."""
    count = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                number, count = count, count + 1
                found = answer(number, request)
                if found is None:
                    break
                await asyncio.sleep(found[0])
                writer.write(found[1])
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return  # the client is done
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


def fired(
    answer: Answer, *, rate: float = 100, seconds: float = 0.5, requests: list[bytes] | None = None, **about
) -> Samples:
    async def go() -> Samples:
        async with server(answer) as port:
            return await fire(Load("127.0.0.1", port, rate, seconds, **about), requests or [get("/")])

    return asyncio.run(go())


# --- the client ---------------------------------------------------------------------------------------------------


def test_every_request_is_answered_and_counted_once():
    samples = fired(lambda n, _: (0, response(feed_body())))
    assert len(samples) == 50
    assert samples.summary()["status"] == {"200": 50}
    assert samples.failed == 0
    assert samples.stamps == ['"bundle":"b1","model":{"kind":"two-tower","version":1']
    assert [samples.flagged(flag) for flag in (MIXED, DEGRADED, CACHED, EMPTY)] == [0, 0, 0, 0]


def test_latency_counts_from_when_a_request_was_due_not_from_when_it_went_out():
    """One connection, each answer takes 50 ms, 100 a second: a closed loop would report 50 ms each."""
    samples = fired(lambda n, _: (0.05, response("{}")), seconds=0.2, connections=1)
    assert len(samples) == 20
    assert samples.latency_ms[-1] > 20 * 50 - 190 - 5
    assert samples.late_ms[-1] > 19 * 50 - 190 - 5
    assert samples.percentile_ms(50) > 200


def test_arrivals_do_not_wait_for_answers():
    samples = fired(lambda n, _: (0.2, response("{}")), rate=50, seconds=0.4, connections=32)
    assert np.diff(samples.due) == pytest.approx(np.full(19, 0.02))
    assert (samples.done[0] - samples.due[0]) >= 0.2
    assert np.nanmin(samples.sent[1:] - samples.done[0]) < 0  # others went out meanwhile


def test_no_answer_in_time_is_a_failure_and_not_a_fast_answer():
    samples = fired(lambda n, _: (5 if n == 3 else 0, response("{}")), seconds=0.2, timeout_s=1.5)
    assert samples.failed == 1
    assert samples.summary()["status"] == {"0": 1, "200": 19}
    assert samples.percentile_ms(99) == np.inf
    assert samples.percentile_ms(90) < 1500


def test_a_lost_connection_fails_its_request_and_is_opened_again():
    samples = fired(lambda n, _: None if n == 5 else (0, response("{}")), seconds=0.3, connections=1)
    assert samples.failed == 1
    assert len(samples) == 30


def test_a_5xx_is_a_failure_and_a_4xx_is_not():
    statuses = {0: 503, 1: 500, 2: 404}
    samples = fired(lambda n, _: (0, response("{}", statuses.get(n, 200))), seconds=0.1)
    assert (samples.failed, samples.server_errors) == (2, 2)


def test_a_body_that_comes_in_pieces_is_one_answer():
    body = feed_body(titles=tuple(f"a {i}" for i in range(20_000)))  # more than one read
    samples = fired(lambda n, _: (0, response(body)), seconds=0.1, marks={"b1": "a "})
    assert samples.summary()["status"] == {"200": 10}
    assert samples.flagged(MIXED) == 0


@pytest.mark.parametrize(
    ("answer", "flag"),
    [
        (response(feed_body("b2"), bundle="b1"), MIXED),  # header and body disagree
        (response(feed_body("b1", titles=("a 1", "b 2"))), MIXED),  # one video of another bundle
        (response(feed_body("b9"), bundle="b9"), MIXED),  # a bundle that nobody published
        (response(feed_body(degraded=True)), DEGRADED),
        (response(feed_body(cached=True)), CACHED),
        (response(feed_body(titles=())), EMPTY),
    ],
)
def test_what_is_wrong_with_an_answer_is_seen(answer, flag):
    samples = fired(lambda n, _: (0, answer), seconds=0.05, marks={"b1": "a ", "b2": "b "})
    assert samples.flagged(flag) == 5
    assert [samples.flagged(other) for other in {MIXED, DEGRADED, CACHED, EMPTY} - {flag}] == [0, 0, 0]


def test_a_process_of_its_own_fires_the_requests_in_turn_and_ends_when_told():
    seen: list[bytes] = []

    def answer(_: int, request: bytes) -> tuple[float, bytes]:
        seen.append(request.split()[1])
        return 0, response("{}")

    async def go() -> tuple[Samples, Samples]:
        async with server(answer) as port:
            load = Load("127.0.0.1", port, 50, 0.2)
            whole = await asyncio.to_thread(loads.run, load, [get("/a"), get("/b"), get("/c")])

            def cut_off() -> Samples:
                with loads.running(Load("127.0.0.1", port, 50, 600), [get("/a")]) as running:
                    while len(seen) < 30:
                        assert not running.is_over
                    running.end()
                    return running.samples()

            return whole, await asyncio.to_thread(cut_off)

    whole, cut = asyncio.run(go())
    assert seen[:10] == [b"/a", b"/b", b"/c"] * 3 + [b"/a"]
    assert (len(whole), whole.failed) == (10, 0)
    assert 20 <= len(cut) < 1000
    assert cut.failed == 0

"""The bench measures what it says: load that waits for nobody, failures that count, figures that follow from it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest

from ml.saved import load as load_model
from ml.topk import top_k
from serving.bench import load as loads
from serving.bench.chaos import FEEDS, Blow
from serving.bench.client import Load, fire
from serving.bench.figures import Figure, Result, misses, write
from serving.bench.highest_rate import highest_rate
from serving.bench.peer import app_over
from serving.bench.requests import FEED, feeds, get, mixed, post, sample
from serving.bench.samples import CACHED, DEGRADED, EMPTY, MIXED, Samples
from serving.bench.vectors import USER_SCALE, make_world
from serving.bench.world import Plan

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


# --- figures ------------------------------------------------------------------------------------------------------


def samples_of(latencies_ms: list[float], status: int = 200) -> Samples:
    n = len(latencies_ms)
    samples = Samples.empty(n)
    samples.due[:] = samples.sent[:] = np.arange(n) / 100
    samples.done[:] = samples.due + np.array(latencies_ms) / 1000
    samples.status[:] = status
    return samples


def test_percentiles_are_of_the_samples_themselves():
    samples = samples_of([float(i) for i in range(1, 101)])
    assert [round(samples.percentile_ms(q), 6) for q in (50, 95, 99, 100)] == [50, 95, 99, 100]


def test_samples_come_back_from_the_file_they_were_saved_in(tmp_path):
    samples = samples_of([1.0, 2.0])
    samples.stamps, samples.client_cpu_s = ["", "x"], 0.5
    samples.save(tmp_path / "s.npz")
    assert Samples.load(tmp_path / "s.npz").summary() == samples.summary()
    assert Samples.load(tmp_path / "s.npz").stamps == ["", "x"]


@pytest.mark.parametrize("limit", [37.0, 150.0, 333.0, 900.0])
def test_the_highest_rate_is_found_within_its_precision(limit):
    found = highest_rate(lambda rate: samples_of([1.0 if rate <= limit else 500.0] * 20), 150.0)
    assert 0.96 * limit <= found.rate <= limit


def test_a_rate_with_a_failure_does_not_count():
    found = highest_rate(lambda rate: samples_of([1.0] * 10, 200 if rate <= 40 else 503), 150.0)
    assert found.rate <= 40


def test_a_pause_of_the_machine_is_not_the_limit_of_the_server():
    pauses = iter([True])

    def ask(rate: float) -> Samples:
        tail = [300.0] * 2 if next(pauses, False) else [1.0] * 2
        return samples_of([1.0 if rate <= 400 else 500.0] * 20 + tail)

    assert 385 <= highest_rate(ask, 300.0).rate <= 400


def test_figures_say_what_was_missed_and_keep_what_other_parts_measured(tmp_path):
    path = tmp_path / "serving.json"
    good = Result("feed", [Figure("p50", 9.0, "ms", "<=", 10), Figure("peer", 400.0, "/s")])
    bad = Result("swap", [Figure("failed", 1, "", "==", 0)])
    write(path, [bad])
    write(path, [good], load_average_before=0.1)
    parts = json.loads(path.read_text())["parts"]
    assert [figure["met"] for figure in parts["feed"]["figures"]] == [True, None]
    assert parts["swap"]["figures"][0]["met"] is False
    assert [figure.name for figure in misses([good, bad])] == ["failed"]


# --- what is asked, and of what ------------------------------------------------------------------------------------


def test_requests_are_what_goes_over_the_wire():
    assert get("/x", token="t", a=1, b="ü&") == (
        b"GET /x?a=1&b=%C3%BC%26 HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer t\r\n\r\n"
    )
    assert feeds(["u1"], limit=5) == [
        f"GET {FEED}?user_id=u1&limit=5 HTTP/1.1\r\nHost: bench\r\n\r\n".encode()
    ]
    assert post("/y", {"a": 1}).endswith(b'Content-Length: 8\r\n\r\n{"a": 1}')


def test_users_are_distinct_until_all_were_asked():
    users = sample(Plan("a", 5, 10).user_ids, 25)
    assert len(set(users[:10])) == 10
    assert users[:10] == users[10:20]


def test_a_mix_holds_its_shares_and_says_which_request_is_which():
    requests, kinds = mixed([(0.9, [b"a"]), (0.1, [b"b", b"c"])], 1000)
    assert [requests[i] for i in range(1000) if kinds[i] == 0] == [b"a"] * kinds.count(0)
    assert 850 < kinds.count(0) < 950
    assert [r for r, kind in zip(requests, kinds, strict=True) if kind][:3] == [b"b", b"c", b"b"]


def test_a_world_has_tastes_that_its_people_showed():
    world = make_world(20_000, 200, history=30, seed=3)
    again = make_world(20_000, 200, history=30, seed=3)
    assert (world.videos == again.videos).all()
    assert np.linalg.norm(world.videos, axis=1) == pytest.approx(np.ones(20_000), abs=1e-5)
    assert np.linalg.norm(world.users, axis=1) == pytest.approx(np.full(200, USER_SCALE), abs=1e-4)
    assert len(world.met) == 200 * 30
    scores = world.users @ world.videos.T
    met = scores[world.met[:, 0], world.met[:, 1]]
    assert met.mean() > scores.mean() + scores.std()


def test_the_peer_answers_the_true_best(tmp_path):
    from tests.serving.conftest import tiny_model

    tiny_model("two-tower", videos=9).save(tmp_path / "m")
    model = load_model(tmp_path / "m")
    sent: list[dict] = []

    async def ask() -> None:
        async def send(message: dict) -> None:
            sent.append(message)

        await app_over(model)({"type": "http", "query_string": b"user_id=bob"}, None, send)

    asyncio.run(ask())
    best = top_k(model.scores(["bob"]), 9)[0][0]
    assert json.loads(sent[1]["body"]) == [str(model.video_ids[i]) for i in best]


def test_recovery_is_when_a_second_without_a_degraded_feed_begins():
    """Well again at second 2; degraded feeds until 3.0, and one at 3.5: the clean second begins there."""
    samples = samples_of([1.0] * 800)  # 100 a second
    samples.flags[:] = np.where((samples.due < 3.005) & (samples.due > 1.015), DEGRADED, 0)  # the first: not yet
    samples.flags[350] = DEGRADED
    blow = Blow("redis", 1.0, 2.0, samples, np.full(800, FEEDS), 2.5)
    assert blow.recovered_s == pytest.approx(1.5)
    assert blow.degraded_share == pytest.approx(98 / 99)
    assert replace(blow, written=4.5).recovered_s == pytest.approx(2.5)
    assert replace(blow, written=None).recovered_s == np.inf
    samples.flags[100::50] = DEGRADED
    assert blow.recovered_s == np.inf

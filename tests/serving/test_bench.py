"""The bench's figures follow from what was seen; what it asks, and of what world."""

import asyncio
import json
from dataclasses import replace

import numpy as np
import pytest

from ml.saved import load as load_model
from ml.topk import top_k
from serving.bench.chaos import FEEDS, Blow
from serving.bench.figures import Figure, Result, misses, write
from serving.bench.highest_rate import highest_rate
from serving.bench.page import page
from serving.bench.peer import app_over
from serving.bench.requests import FEED, feeds, get, mixed, post, sample
from serving.bench.samples import DEGRADED, Samples
from serving.bench.vectors import USER_SCALE, make_world
from serving.bench.world import Plan

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


def test_a_rate_at_which_lists_are_degraded_does_not_count():
    def ask(rate: float) -> Samples:
        samples = samples_of([1.0] * 100)
        samples.flags[: 0 if rate <= 40 else 2] = DEGRADED
        return samples

    assert 38 <= highest_rate(ask, 150.0).rate <= 40


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
    samples.flags[:] = np.where(
        (samples.due < 3.005) & (samples.due > 1.015), DEGRADED, 0
    )  # the first: not yet
    samples.flags[350] = DEGRADED
    blow = Blow("redis", 1.0, 2.0, samples, np.full(800, FEEDS), 2.5)
    assert blow.recovered_s == pytest.approx(1.5)
    assert blow.degraded_share == pytest.approx(98 / 99)
    assert replace(blow, written=4.5).recovered_s == pytest.approx(2.5)
    assert replace(blow, written=None).recovered_s == np.inf
    samples.flags[100::50] = DEGRADED
    assert blow.recovered_s == np.inf


def test_the_page_shows_misses_and_says_how_busy_the_machine_was(tmp_path):
    path = tmp_path / "serving.json"
    figures = [
        Figure("p50", 9.0, "ms", "<=", 10),
        Figure("p99", 41.26, "ms", "<=", 40),
        Figure("peer", 400.0, "/s"),
    ]
    write(path, [Result("feed", figures)], load_average_before=3.5)
    text = page(json.loads(path.read_text()))
    assert "| p50 | <= 10 ms | 9 ms | ok |" in text
    assert "| p99 | <= 40 ms | 41.26 ms | **missed** |" in text
    assert "| peer |  | 400 /s |  |" in text
    assert "feed 3.5." in text
    assert "$" not in text

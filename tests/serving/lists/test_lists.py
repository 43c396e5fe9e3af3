"""A list with everything that takes part: whatever is missing or slow, it comes, says so, and is logged as it was."""

import asyncio
import json
import time

import httpx
import numpy as np
import pytest

from serving.api.app import create_app
from serving.api.state import State
from serving.context.session import SessionContext
from serving.gateway import Gateway
from serving.lists import lists
from serving.lists.feed_cache import FeedCache
from serving.lists.lists import SESSION_UNAVAILABLE, SLOW, list_for
from serving.lists.related import next_for
from serving.live import LiveBundle, Serving
from serving.pipeline import scorer
from serving.pipeline.planning import EVERYTHING_WAS_MET
from serving.pipeline.scorer import Scorer
from stack.erased_users import ErasedUsers, pseudonym, write_opt_out

from ..asking import Context, Log, answer, asked, state_of, videos
from ..pipeline.made import bundle_of, catalogue_of, model_of, names, pipeline_of, world

FEED = "/api/v1/recommendations/feed"


@pytest.fixture(scope="module")
def pipeline():
    return pipeline_of(world(700, seed=1))


@pytest.fixture
def state(home, pipeline):
    return state_of(home, pipeline)


def test_the_decision_is_what_was_shown(state):
    body = answer(state, asked(limit=20, offset=10, request_id="r7"))
    (decision,) = state.decisions
    assert list(decision.video_ids) == videos(body)
    assert list(decision.ranks) == [item["rank"] for item in body["items"]] == list(range(11, 31))
    assert [float(f"{score:.6g}") for score in decision.scores] == [item["score"] for item in body["items"]]
    assert (decision.request_id, decision.user_id, decision.route) == ("r7", "u0001", "feed")
    assert (decision.bundle, decision.kind, decision.source) == ("made-in-memory", "two-tower", "personal")
    assert (decision.cached, decision.degraded, decision.forced) == (False, (), False)
    assert set(decision.propensities) <= {1.0, 0.9} | {p for p in decision.propensities if p < 0.1}
    assert len(decision.propensities) == len(decision.sources) == 20
    assert 0 < decision.latency_ms < 5000
    assert abs(decision.at_ms - time.time() * 1000) < 60_000


def test_without_a_session_store_the_feed_says_so(state):
    state.context = None
    body = answer(state, asked())
    assert (body["degraded"], body["degraded_because"], len(body["items"])) == (
        True,
        [SESSION_UNAVAILABLE],
        10,
    )
    assert state.decisions[0].degraded == (SESSION_UNAVAILABLE,)


def test_what_could_not_be_read_of_a_session_is_said_and_what_could_counts(state, pipeline):
    shown = videos(answer(state, asked()))
    state.context.session = SessionContext(
        recent=tuple(shown[:3]), missing=("session context is unavailable",)
    )
    body = answer(state, asked())
    assert body["degraded_because"] == ["session context is unavailable"]
    assert not set(shown[:3]) & set(videos(body))


def test_a_list_without_session_still_leaves_out_what_was_met_and_reported(state):
    state.context.session = SessionContext(
        recent=("v0001",), signals=(("like", "v0001"),), blocked=frozenset({"v0002"})
    )
    ids = videos(answer(state, asked(limit=100, session=False, explain=True)))
    assert not {"v0001", "v0002"} & set(ids)
    body = answer(state, asked(limit=10, session=False, explain=True))
    assert all(set(item["explain"]["parts"]) <= {"model"} for item in body["items"])


def held(thread):
    """Both threads of the scorer are busy for a while."""
    jobs = [scorer._Job(lambda: time.sleep(0.6), *scorer._here()) for _ in range(2)]
    thread._jobs.put(jobs[0])
    thread._others.put(jobs[1])
    return asyncio.gather(*(job.future for job in jobs))


@pytest.mark.parametrize("offset", [0, 280, 350])
def test_scoring_that_takes_too_long_costs_its_budget_and_trending_answers(state, monkeypatch, offset):
    monkeypatch.setattr(scorer, "INLINE_UP_TO", 0)
    monkeypatch.setattr("serving.api.state.INLINE_UP_TO", 0)
    monkeypatch.setattr(lists, "SCORING_BUDGET_S", 0.05)

    async def main():
        state.scorer = Scorer()
        state.scorer.start()
        slow = held(state.scorer)
        await asyncio.sleep(0.05)
        started = time.perf_counter()
        body = json.loads(await list_for(state, state.serving, asked("new", 30, offset)))
        took = time.perf_counter() - started
        await slow
        quick = json.loads(await list_for(state, state.serving, asked("u0001", 30, offset)))
        await state.scorer.close()
        return body, took, quick

    plain = videos(answer(state, asked("stranger", 30, offset)))
    # Of somebody known from this session, so that there is something to score.
    state.context.session = SessionContext(recent=("v0699",))
    body, took, quick = asyncio.run(main())
    assert took < 0.4
    assert SLOW in body["degraded_because"]
    assert (body["source"], body["model"]["kind"]) == ("trending", "popularity")
    assert len(body["items"]) == 30
    assert set(videos(body)) <= {*plain, *names(700)} - {"v0699"}
    assert SLOW not in quick["degraded_because"]
    assert state.decisions[-2].degraded == tuple(body["degraded_because"])


def test_who_has_met_everything_is_told_and_gets_a_feed(state, pipeline):
    everything = tuple(pipeline.bundle.catalogue.video_ids.tolist())
    state.context.session = SessionContext(recent=everything, blocked=frozenset({everything[7]}))
    body = answer(state, asked(limit=100))
    assert body["degraded_because"] == [EVERYTHING_WAS_MET]
    assert len(body["items"]) == 100
    assert everything[7] not in videos(body)


def test_pages_of_the_route_put_together_are_the_whole_list(state):
    pages = answer(state, *(asked("u0001", 70, offset, f"r{offset}") for offset in range(0, 770, 70)))
    ids = [video for body in pages for video in videos(body)]
    assert len(ids) == len(set(ids)) == 700 - 30 - 70  # 30 were met, a tenth stands aside for exploration
    assert [item["rank"] for body in pages for item in body["items"]] == list(range(1, len(ids) + 1))


def test_an_erased_user_is_nobody_and_leaves_no_trace(state, home):
    key = b"k" * 32
    write_opt_out(home, ErasedUsers(key, frozenset({pseudonym(key, "u0001")})))
    state.live.opt_out.refresh()
    body = answer(state, asked("u0001"))
    assert (body["source"], body["user_id"], body["degraded"]) == ("trending", "u0001", False)
    assert (state.decisions, state.context.asked) == ([], [])
    assert {kept.user_id for kept in state.live.recorded} == {""}
    assert "u0001" not in json.dumps(answer(state, asked("u0001", explain=True))["items"])


def test_explained_items_say_where_they_came_from_and_what_made_the_list(state):
    state.context.session = SessionContext(recent=("v0003",), signals=(("like", "v0003"),))
    body = answer(state, asked(limit=20, explain=True))
    assert body["lineage"]["bundle"] == body["bundle"] == "made-in-memory"
    assert body["lineage"]["model"] == body["model"]["kind"] == "two-tower"
    for item in body["items"]:
        why = item["explain"]
        assert 0 < why["propensity"] <= 1
        if why["source"] != "new":
            assert sum(why["parts"].values()) == pytest.approx(item["score"], abs=1e-4)
    assert "lineage" not in answer(state, asked())


@pytest.mark.parametrize("session", [True, False])
def test_what_was_met_in_the_last_days_does_not_come_back(state, session):
    before = videos(answer(state, asked(limit=20, session=session)))
    state.context.session = SessionContext(met=tuple(before))
    after = videos(answer(state, asked(limit=100, session=session)))
    assert len(after) == 100
    assert not set(before) & set(after)


# --- next -------------------------------------------------------------------------------------------------------


def test_next_leaves_out_what_was_met_and_is_logged(state):
    state.context.session = SessionContext(recent=("v0005",), blocked=frozenset({"v0006"}))
    body = json.loads(asyncio.run(next_for(state, state.serving, "u0001", "v0007", 10, "r5")))
    assert (body["source"], body["video_id"], len(body["items"])) == ("next", "v0007", 10)
    met = {names(700)[row] for row in state.serving.bundle.watched.of("u0001")}
    assert not {"v0005", "v0006", "v0007", *met} & set(videos(body))
    (decision,) = state.decisions
    assert (decision.route, list(decision.video_ids), list(decision.propensities)) == (
        "next",
        videos(body),
        [1.0] * 10,
    )


def test_next_never_brings_back_what_was_reported(state):
    everything = tuple(names(700))
    state.context.session = SessionContext(recent=everything, blocked=frozenset(everything[:695]))
    body = json.loads(asyncio.run(next_for(state, state.serving, "u0001", "v0699", 10, "r5")))
    assert sorted(videos(body)) == list(everything[695:699])


def names_met(state):
    """What u0001 has met, by the bundle."""
    bundle = state.serving.bundle
    return bundle.catalogue.video_ids[bundle.watched.of("u0001")].tolist()


@pytest.mark.parametrize("closed", [False, True])
def test_next_does_not_wait_for_ever_for_the_scorers_thread(state, monkeypatch, closed):
    monkeypatch.setattr("serving.api.state.INLINE_UP_TO", 0)
    monkeypatch.setattr("serving.api.state.THREAD_BUDGET_S", 0.05)
    expected = videos(json.loads(asyncio.run(next_for(state, state.serving, "u0001", "v0007", 10, "r5"))))

    async def main():
        state.scorer = Scorer()
        state.scorer.start()
        if closed:
            await state.scorer.close()
        slow = asyncio.ensure_future(state.scorer.run(lambda: time.sleep(0.6)))
        await asyncio.sleep(0.05)
        started = time.perf_counter()
        body = await next_for(state, state.serving, "u0001", "v0007", 10, "r5")
        took = time.perf_counter() - started
        if not closed:
            await slow
            await state.scorer.close()
        slow.cancel()
        return body, took

    body, took = asyncio.run(main())
    answered = json.loads(body)
    assert answered["degraded_because"] == [SLOW]
    assert len(answered["items"]) == 10 == len(expected)
    assert not {"v0007", *names_met(state)} & set(videos(answered))
    assert took < 0.4


# --- two bundles ------------------------------------------------------------------------------------------------


def test_an_answer_is_of_one_bundle_whatever_is_swapped_meanwhile(home, monkeypatch):
    monkeypatch.setattr(scorer, "INLINE_UP_TO", 0)
    state = State()
    state.live = LiveBundle(home, state.metrics)
    state.context, state.decisions = Context(), Log()
    served = {
        name: Serving(
            f"reelgraph:{name}", pipeline_of(world(300, seed=seed, prefix=name, bundle_id=name)), 0.0
        )
        for seed, name in enumerate(["a", "b"])
    }
    state.live.current = served["a"]

    async def main():
        state.scorer = Scorer()
        state.scorer.start()
        state.cache = FeedCache(home.redis_url, state.metrics, 600, budget_s=0.2)
        app = Gateway(create_app(state), state.metrics)
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:

            async def one(i):
                await asyncio.sleep(i * 0.001)
                params = {"user_id": f"u{i % 20:04d}", "limit": 20, "offset": (i % 3) * 100}
                return await client.get(FEED, params=params)

            async def swap():
                for i in range(60):
                    state.live.current = served["ab"[i % 2]]
                    await asyncio.sleep(0.004)

            *responses, _ = await asyncio.gather(*(one(i) for i in range(200)), swap())
        await state.cache.close()
        await state.scorer.close()
        return responses

    seen = set()
    for response in asyncio.run(main()):
        assert response.status_code == 200
        body = response.json()
        bundle = response.headers["x-bundle-id"]
        seen.add(bundle)
        assert body["bundle"] == bundle
        assert {video[0] for video in videos(body)} == {bundle}
    assert seen == {"a", "b"}
    for decision in state.decisions:
        assert {video[0] for video in decision.video_ids} == {decision.bundle}


def test_unicode_ids_travel_whole(state):
    ids = ["видео", "動画", "v😀"]
    svd = model_of("svd", {"Ж": (1.0,)}, {video: (float(place),) for place, video in enumerate(sorted(ids))})
    tiny = bundle_of(svd, champion="svd", catalogue=catalogue_of(sorted(ids)))
    body = answer(state, asked("Ж"), serving=Serving("reelgraph:u", pipeline_of(tiny), 0.0))
    assert (body["user_id"], sorted(videos(body))) == ("Ж", sorted(ids))


def test_who_asks_for_trending_gets_it_in_its_order(state, pipeline):
    """No place of it explores, and none is moved for variety."""
    met = set(pipeline.bundle.watched.of("u0001").tolist())
    order = np.argsort(-pipeline.ranker.trending, kind="stable").tolist()
    left = [str(pipeline.bundle.catalogue.video_ids[row]) for row in order if row not in met]
    body = answer(state, asked("u0001", 100, model="popularity", session=False))
    assert videos(body) == left[:100]
    assert set(state.decisions[0].propensities) == {1.0}

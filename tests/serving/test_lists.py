"""A list with everything that takes part: whatever is missing or slow, it comes, says so, and is logged as it was."""

import asyncio
import json
import time

import httpx
import pytest
import yaml
from fastapi.testclient import TestClient

from serving import lists
from serving.api.app import create_app
from serving.api.state import State
from serving.experiments.errors import UnknownExperimentError
from serving.experiments.running import Experiments
from serving.feed_cache import FeedCache
from serving.gateway import Gateway
from serving.lists import SESSION_UNAVAILABLE, SLOW, Ask, list_for, next_for
from serving.live import LiveBundle, Serving
from serving.pipeline import scorer
from serving.pipeline.planning import EVERYTHING_WAS_MET
from serving.pipeline.scorer import Scorer
from serving.session import NOTHING, SessionContext
from stack.erased_users import ErasedUsers, pseudonym, write_opt_out

from .pipeline.made import bundle_of, catalogue_of, model_of, names, pipeline_of, world

FEED = "/api/v1/recommendations/feed"


class Context:
    """Stands for the session store, which has tests of its own; says whom it was asked about."""

    available = True

    def __init__(self):
        self.session, self.asked = NOTHING, []

    async def of(self, user_id):
        self.asked.append(user_id)
        return self.session


class Log(list):
    """Stands for the decision log, which has tests of its own."""

    def record(self, decision):
        self.append(decision)


@pytest.fixture(scope="module")
def pipeline():
    return pipeline_of(world(700, seed=1))


@pytest.fixture
def state(home, pipeline):
    state = State()
    state.live = LiveBundle(home, state.metrics)
    state.live.current = Serving("reelgraph:one", pipeline, 0.0)
    state.context, state.decisions = Context(), Log()
    return state


def asked(user="u0001", limit=10, offset=0, request_id="r1", **more):
    return Ask(user, limit, offset, request_id, "feed", **more)


def answer(state, *many, serving=None):
    """The bodies of these, asked one after the other."""

    async def main():
        return [json.loads(await list_for(state, serving or state.serving, ask)) for ask in many]

    found = asyncio.run(main())
    return found[0] if len(many) == 1 else found


def videos(body):
    return [item["video_id"] for item in body["items"]]


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


@pytest.mark.parametrize("offset", [0, 280, 350])
def test_scoring_that_takes_too_long_costs_its_budget_and_trending_answers(state, monkeypatch, offset):
    monkeypatch.setattr(scorer, "INLINE_UP_TO", 0)
    monkeypatch.setattr("serving.api.state.INLINE_UP_TO", 0)
    monkeypatch.setattr(lists, "SCORING_BUDGET_S", 0.05)

    async def main():
        state.scorer = Scorer()
        state.scorer.start()
        slow = asyncio.ensure_future(state.scorer.run(lambda: time.sleep(0.6)))
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
    assert len(ids) == len(set(ids)) == 700 - 30 - 300  # 30 were met, 300 stand aside for exploration
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


# --- what came before -------------------------------------------------------------------------------------------


def test_requests_are_kept_for_the_next_bundle_to_be_tried_on(state):
    state.context.session = SessionContext(recent=("v0003",))
    answer(state, asked("u0002", 7, 14), asked("u0003", model="svd"))
    (kept,) = state.live.recorded
    assert (kept.user_id, kept.limit, kept.offset, kept.session.recent) == ("u0002", 7, 14, ("v0003",))


def with_cache(state, redis_url, work):
    async def main():
        state.cache = FeedCache(redis_url, state.metrics, 600, budget_s=0.5)
        try:
            return await work(state.cache)
        finally:
            await state.cache.close()
            state.cache = None

    return asyncio.run(main())


def test_a_cached_answer_has_a_request_id_of_its_own_and_a_decision_of_its_own(state, home):
    async def work(cache):
        first = json.loads(await list_for(state, state.serving, asked(request_id="r1")))
        second = json.loads(await list_for(state, state.serving, asked(request_id="r2")))
        assert (first["cached"], second["cached"]) == (False, True)
        assert (first["request_id"], second["request_id"]) == ("r1", "r2")
        assert {**first, "request_id": "", "cached": 0} == {**second, "request_id": "", "cached": 0}
        one, two = state.decisions
        assert (one.request_id, two.request_id, one.cached, two.cached) == ("r1", "r2", False, True)
        assert (one.video_ids, one.propensities) == (two.video_ids, two.propensities)
        assert state.context.asked == ["u0001"]

        cache.drop("u0001")
        state.context.session = SessionContext(recent=(videos(first)[0],))
        third = json.loads(await list_for(state, state.serving, asked(request_id="r3")))
        assert third["cached"] is False
        assert videos(first)[0] not in videos(third)

    with_cache(state, home.redis_url, work)


def test_what_a_list_depends_on_is_in_its_key(state, home, pipeline):
    different = [
        asked(), asked(limit=9), asked(offset=1), asked(model="svd"), asked(session=False), asked("u0002"),
    ]  # fmt: skip

    async def work(cache):
        for ask in different:
            assert json.loads(await list_for(state, state.serving, ask))["cached"] is False
        for ask in different:
            assert json.loads(await list_for(state, state.serving, ask))["cached"] is True
        other = Serving("reelgraph:two", pipeline_of(world(700, seed=1, bundle_id="another")), 0.0)
        assert json.loads(await list_for(state, other, asked()))["cached"] is False
        assert json.loads(await list_for(state, state.serving, asked(explain=True)))["cached"] is False

    with_cache(state, home.redis_url, work)


def test_a_video_that_is_blocked_is_in_no_cached_list_of_any_replica(state, redis):
    """Redis holds lists that other replicas made before."""
    state.live.current = Serving(
        "reelgraph:three", pipeline_of(world(700, seed=1, bundle_id="blocking")), 0.0
    )

    async def work(cache):
        body = json.loads(await list_for(state, state.serving, asked()))
        while cache._background:
            await asyncio.wait(cache._background)
        first = videos(body)[0]
        state.serving.pipeline.block([first])
        cache.clear()
        body = json.loads(await list_for(state, state.serving, asked()))
        assert (body["cached"], first in videos(body)) == (False, False)

    with_cache(state, redis.redis_url, work)


def test_a_list_made_without_something_is_made_anew(state, home):
    async def work(cache):
        state.context.session = SessionContext(missing=("session context is unavailable",))
        for _ in range(2):
            assert json.loads(await list_for(state, state.serving, asked()))["cached"] is False
        state.context.session = NOTHING
        body = json.loads(await list_for(state, state.serving, asked()))
        assert (body["cached"], body["degraded"]) == (False, False)

    with_cache(state, home.redis_url, work)


# --- experiments ------------------------------------------------------------------------------------------------


@pytest.fixture
def experiments(state, tmp_path):
    path = tmp_path / "experiments.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "experiments": [
                    {
                        "id": "other-model",
                        "control": "control",
                        "variants": [
                            {"name": "control", "share": 0.5},
                            {"name": "svd", "share": 0.5, "parameters": {"model": "svd", "exploration": 0}},
                        ],
                    }
                ]
            }
        )
    )
    state.experiments = Experiments(path, state.metrics.registry)
    state.experiments.refresh()
    assert state.experiments.problem is None
    return state.experiments


@pytest.mark.usefixtures("experiments")
def test_a_variant_changes_the_list_and_is_named_in_answer_and_log(state):
    kinds = {}
    for number in range(20):
        body = answer(state, asked(f"u{number:04d}", request_id=f"r{number}"))
        kinds.setdefault(body["variants"]["other-model"], set()).add(body["model"]["kind"])
        assert state.decisions[-1].variants == body["variants"]
        assert state.decisions[-1].forced is False
    assert kinds == {"control": {"two-tower"}, "svd": {"svd"}}


@pytest.mark.usefixtures("experiments")
def test_a_tester_asks_for_a_variant_and_the_log_knows_it_is_no_evidence(state):
    for variant, kind in [("control", "two-tower"), ("svd", "svd")]:
        body = answer(state, asked(experiment=f"other-model:{variant}"))
        assert (body["variants"], body["model"]["kind"]) == ({"other-model": variant}, kind)
        assert state.decisions[-1].forced is True
    with pytest.raises(UnknownExperimentError):
        answer(state, asked(experiment="unheard-of"))


@pytest.mark.usefixtures("experiments")
def test_a_list_of_one_model_is_in_no_experiment(state):
    body = answer(state, asked(model="two-tower"))
    assert (body["variants"], body["model"]["kind"]) == ({}, "two-tower")


@pytest.mark.usefixtures("experiments")
def test_an_unknown_override_is_the_callers_mistake(state):
    client = TestClient(Gateway(create_app(state), state.metrics), raise_server_exceptions=False)
    for wrong in ("unheard-of", "other-model:unheard-of"):
        response = client.get(FEED, params={"user_id": "u0001", "experiment_id": wrong})
        assert response.status_code == 422
        assert response.json()["errors"][0]["field"] == "experiment_id"


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
    assert videos(json.loads(body)) == expected
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

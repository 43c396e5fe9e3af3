"""Lists from the cache, requests kept for a trial, and lists in experiments."""

import asyncio
import json

import pytest
import yaml
from fastapi.testclient import TestClient

from serving.api.app import create_app
from serving.context.session import NOTHING, SessionContext
from serving.experiments.errors import UnknownExperimentError
from serving.experiments.running import Experiments
from serving.gateway import Gateway
from serving.lists.feed_cache import FeedCache
from serving.lists.lists import list_for
from serving.live import Serving

from ..asking import answer, asked, state_of, videos
from ..pipeline.made import pipeline_of, world

FEED = "/api/v1/recommendations/feed"


@pytest.fixture(scope="module")
def pipeline():
    return pipeline_of(world(700, seed=1))


@pytest.fixture
def state(home, pipeline):
    return state_of(home, pipeline)


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

"""The other ways to ask for a list: by kind, what is next, from the cache, with reasons."""

import asyncio

import httpx
import pytest
from fastapi.testclient import TestClient

from serving import bento, schemas
from serving.api.app import create_app
from serving.api.state import State
from serving.context.session import NOTHING, SessionContext
from serving.gateway import Gateway
from serving.lists.feed_cache import FeedCache
from serving.live import LiveBundle

RECS = "/api/v1/recs"


class Context:
    """Stands for Redis, which has tests of its own."""

    available = True

    def __init__(self):
        self.session = NOTHING

    async def of(self, user_id):
        return self.session


@pytest.fixture
def state(home, shelved):
    state = State()
    state.live, state.context = LiveBundle(home, state.metrics), Context()
    bento.publish(home, shelved("a", watched={"ann": ["v0"]}))
    state.live.check()
    return state


@pytest.fixture
def client(state):
    with TestClient(Gateway(create_app(state), state.metrics), raise_server_exceptions=False) as client:
        yield client


def feed_of(response, kind=schemas.FeedAnswer):
    assert response.status_code == 200, response.text
    body = response.json()
    kind.model_validate(body, strict=True)
    return body


@pytest.mark.parametrize(
    ("asked", "kind", "source", "degraded"),
    [
        (None, "svd", "personal", []),
        ("feed", "svd", "personal", []),
        ("svd", "svd", "personal", []),
        ("two-tower", "two-tower", "personal", []),
        ("trending", "popularity", "trending", []),
        ("als", "svd", "personal", ["no als model in the bundle"]),
        ("hybrid", "svd", "personal", ["no hybrid model in the bundle"]),
    ],
)
def test_recs_are_of_the_kind_that_was_asked_for(client, asked, kind, source, degraded):
    body = feed_of(client.get(f"{RECS}/ann", params={"type": asked} if asked else {}))
    assert (body["model"]["kind"], body["source"], body["degraded_because"]) == (kind, source, degraded)
    assert body["limit"] == 10
    assert "v0" not in [item["video_id"] for item in body["items"]]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"type": "nonsense"}, "type"),
        ({"limit": 101}, "limit"),
        ({"experiment_id": "a b"}, "experiment_id"),
        ({"x": 1}, "x"),
    ],
)
def test_a_bad_field_of_recs_is_named(client, params, field):
    response = client.get(f"{RECS}/ann", params=params)
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]


def test_what_is_next_is_not_what_was_met(client, state):
    state.context.session = SessionContext(recent=("v2",), blocked=frozenset({"v3"}))
    body = feed_of(client.get(f"{RECS}/ann/v1", params={"limit": 3}), schemas.NextAnswer)
    assert (body["video_id"], body["user_id"], body["source"], body["model"]["kind"]) == (
        "v1",
        "ann",
        "next",
        "svd",
    )
    assert sorted(item["video_id"] for item in body["items"]) == ["v4", "v5"]
    response = client.get(f"{RECS}/ann/nope")
    assert (response.status_code, response.json()["detail"]) == (404, "no video nope in the catalogue")
    assert client.get(f"{RECS}/ann/v1", params={"offset": 1}).status_code == 422


def test_experiments_are_no_user(client):
    assert client.get(f"{RECS}/experiments").status_code in (200, 503)
    assert "items" not in client.get(f"{RECS}/experiments").json()


def test_reasons_come_with_every_kind_of_list(client):
    for method, path, more in [
        ("GET", "/api/v1/recommendations/feed", {"user_id": "ann"}),
        ("POST", "/api/v1/recommendations/feed", {"user_id": "ann"}),
        ("GET", f"{RECS}/ann", {}),
        ("POST", "/api/v1/inference/recommend", {"user_id": "ann"}),
        ("POST", "/api/v1/inference/recommend-dl", {"user_id": "stranger"}),
    ]:
        asked = {**more, "explain": True}
        response = client.request(method, path, **{"params" if method == "GET" else "json": asked})
        body = feed_of(response)
        assert body["lineage"]["bundle"] == body["bundle"]
        assert body["lineage"]["training_set"] == "abc.dir"
        assert body["lineage"]["dagster_run_id"] == "dagster-1"
        assert body["lineage"]["mlflow_run_id"] == f"run-{body['model']['kind']}"
        assert all(item["explain"]["propensity"] == 1 for item in body["items"])
    similar = feed_of(
        client.get("/api/v1/recommendations/similar/v0", params={"explain": True}), schemas.SimilarAnswer
    )
    assert similar["lineage"]["model"] == "svd"


def test_recommend_cached_is_the_feed_of_a_moment_ago(client, state, home):
    state.cache = FeedCache(home.redis_url, state.metrics, 600, budget_s=0.2)
    asked = {"user_id": "ann", "limit": 3}
    first, second = (feed_of(client.post("/api/v1/inference/recommend-cached", json=asked)) for _ in range(2))
    assert (first["cached"], second["cached"]) == (False, True)
    assert first["items"] == second["items"]
    assert (
        feed_of(client.get("/api/v1/recommendations/feed", params=asked))["cached"] is True
    )  # the same list
    state.cache.clear()
    assert feed_of(client.post("/api/v1/inference/recommend-cached", json=asked))["cached"] is False
    client.portal.call(state.cache.close)


def test_many_people_at_once_get_their_own_lists(client):
    async def main():
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=client.app), base_url="http://endpoint"
        ) as many:
            return await asyncio.gather(
                *(
                    many.get("/api/v1/recommendations/feed", params={"user_id": u})
                    for u in ["ann", "bob", "x"] * 20
                )
            )

    for response, user in zip(asyncio.run(main()), ["ann", "bob", "x"] * 20, strict=True):
        body = feed_of(response)
        assert body["user_id"] == user
        first = {"ann": "v1", "bob": "v5", "x": "v0"}[user]
        assert body["items"][0]["video_id"] == first

"""Every route in process: what it answers, and that bad input is named and never a 500."""

import json
import re
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from serving import bento, schemas
from serving.api.app import create_app
from serving.api.state import State
from serving.context.session import NOTHING, SessionContext
from serving.gateway import Gateway
from serving.live import LiveBundle

FEED = "/api/v1/recommendations/feed"
SIMILAR = "/api/v1/recommendations/similar"
SVD, DL = "/api/v1/inference/recommend", "/api/v1/inference/recommend-dl"


class Context:
    """Stands for Redis, which has tests of its own."""

    available = True

    def __init__(self):
        self.session = NOTHING

    async def of(self, user_id):
        return self.session


@pytest.fixture
def state(home):
    state = State()
    state.live = LiveBundle(home, state.metrics)
    state.context = Context()
    return state


@pytest.fixture
def client(state):
    return TestClient(Gateway(create_app(state), state.metrics), raise_server_exceptions=False)


@pytest.fixture
def serving(home, state, shelved):
    bento.publish(home, shelved("a", watched={"ann": ["v0"]}))
    state.live.check()
    return state.live.current


def problem_of(response, status):
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    schemas.Problem.model_validate(body)
    assert body["status"] == status
    assert body["request_id"] == response.headers["x-request-id"]
    return body


def test_a_feed_names_what_it_was_made_with(client, serving):
    response = client.get(FEED, params={"user_id": "ann", "limit": 2, "offset": 1})
    body = response.json()
    schemas.FeedAnswer.model_validate(body, strict=True)
    items = body.pop("items")
    request_id = body.pop("request_id")
    assert body == {
        "bundle": serving.record.bundle_id,
        "model": {"kind": "svd", "version": 1},
        "source": "personal",
        "degraded": False,
        "degraded_because": [],
        "variants": {},
        "cached": False,
        "user_id": "ann",
        "limit": 2,
        "offset": 1,
    }
    assert items[0] == {
        "rank": 2,
        "score": 0.75,  # of 1.6 between v1's 0.6 and v5's -1
        "video_id": "v2",
        "title": "Title 2",
        "description": "text",
        "category": "cats",
        "tags": ["fun"],
        "creator_id": "c0",
        "duration_ms": 180_000,
        "thumbnail_url": "/thumbnails/2.jpg",
        "stream_url": "/api/v1/videos/v2/stream",
    }
    assert [item["video_id"] for item in items] == ["v2", "v3"]
    assert UUID(request_id).version == 4
    assert response.headers["x-request-id"] == request_id
    assert response.headers["x-bundle-id"] == serving.record.bundle_id
    assert client.get(FEED, params={"user_id": "ann"}).json()["request_id"] != request_id


def test_get_and_post_answer_the_same(client, serving):
    got = client.get(FEED, params={"user_id": "bob", "limit": 3}).json()
    posted = client.post(FEED, json={"user_id": "bob", "limit": 3}).json()
    assert {**got, "request_id": ""} == {**posted, "request_id": ""}
    assert [item["rank"] for item in got["items"]] == [1, 2, 3]
    assert client.get(FEED, params={"user_id": "bob"}).json()["limit"] == 20


def test_an_unknown_user_gets_trending_marked_as_such(client, serving):
    body = client.get(FEED, params={"user_id": "stranger", "limit": 2}).json()
    schemas.FeedAnswer.model_validate(body, strict=True)
    assert (body["source"], body["model"]) == ("trending", {"kind": "popularity", "version": None})
    assert [item["video_id"] for item in body["items"]] == ["v0", "v1"]


def test_inference_routes_answer_from_their_own_model(client, serving):
    for path, kind, version in [(SVD, "svd", 1), (DL, "two-tower", 2)]:
        body = client.post(path, json={"user_id": "ann", "limit": 1}).json()
        schemas.FeedAnswer.model_validate(body, strict=True)
        assert body["model"] == {"kind": kind, "version": version}
        assert [item["video_id"] for item in body["items"]] == ["v1"]


def test_what_redis_remembers_is_not_shown_again(client, serving, state):
    state.context.session = SessionContext(recent=("v1", "v3", "other"))
    body = client.get(FEED, params={"user_id": "ann"}).json()
    assert [item["video_id"] for item in body["items"]] == ["v2", "v4", "v5"]


def test_without_redis_the_feed_goes_on_and_says_so(client, serving, state):
    state.context.session = SessionContext(missing=("session context is unavailable",))
    body = client.get(FEED, params={"user_id": "ann"}).json()
    assert body["degraded"] is True
    assert body["degraded_because"] == ["session context is unavailable"]
    assert len(body["items"]) == 5
    metrics = client.get("/metrics").text
    assert 'reelgraph_degraded_total{missing="recent_items"} 1.0' in metrics


def test_similar_videos(client, serving):
    body = client.get(f"{SIMILAR}/v0", params={"limit": 2, "offset": 1}).json()
    schemas.SimilarAnswer.model_validate(body, strict=True)
    assert [(i["rank"], i["video_id"], i["score"]) for i in body["items"]] == [
        (2, "v2", 23.0),
        (3, "v3", 7.0),
    ]
    assert (body["video_id"], body["source"], body["model"]["kind"]) == ("v0", "similar", "svd")
    assert len(client.get(f"{SIMILAR}/v0").json()["items"]) == 5


def test_an_unknown_video_is_not_found(client, serving):
    assert problem_of(client.get(f"{SIMILAR}/nope"), 404)["detail"] == "no video nope in the catalogue"


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "x" * 129}, "user_id"),
        ({"user_id": "a\x00b"}, "user_id"),
        ({"user_id": "a\nb"}, "user_id"),
        ({"user_id": "ann", "limit": 0}, "limit"),
        ({"user_id": "ann", "limit": 101}, "limit"),
        ({"user_id": "ann", "limit": "many"}, "limit"),
        ({"user_id": "ann", "limit": "1" * 30}, "limit"),
        ({"user_id": "ann", "offset": -1}, "offset"),
        ({"user_id": "ann", "offset": 100_001}, "offset"),
        ({"user_id": "ann", "limt": 3}, "limt"),
    ],
)
def test_a_bad_field_is_named(client, serving, params, field):
    assert [e["field"] for e in problem_of(client.get(FEED, params=params), 422)["errors"]] == [field]
    for path in (FEED, SVD, DL):
        body = problem_of(client.post(path, json=params), 422)
        assert [e["field"] for e in body["errors"]] == [field]
        assert body["detail"].startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"user_id": NaN', 400),
        (b"", 422),
        (b"[]", 422),
        (b"null", 422),
        (b'"ann"', 422),
        (b'{"user_id": 5}', 422),
        (b'{"user_id": ["ann"]}', 422),
        (b'{"user_id": "\\ud800"}', 422),
        (b'{"user_id": "ann", "\\ud800": 1}', 422),
        (b'{"user_id": "ann", "limit": 1e400}', 422),
        (b'{"user_id": "ann", "limit": NaN}', 422),
        (b"[" * 100_000, 400),
    ],
)
def test_a_bad_body_is_refused(client, serving, content, status):
    for path in (FEED, SVD):
        problem_of(client.post(path, content=content, headers={"content-type": "application/json"}), status)


@pytest.mark.parametrize("user", ["ünïcode", "'; drop table users; --", "a b/c?d#e", "😀", "x" * 128])
def test_any_printable_id_is_just_an_unknown_user(client, serving, user):
    body = client.get(FEED, params={"user_id": user}).json()
    assert (body["source"], body["user_id"]) == ("trending", user)


def test_before_any_bundle_everything_but_liveness_says_not_ready(client):
    assert client.get("/health").json() == {"status": "ok"}
    for response in [
        client.get(FEED, params={"user_id": "ann"}),
        client.post(FEED, json={"user_id": "ann"}),
        client.post(SVD, json={"user_id": "ann"}),
        client.get(f"{SIMILAR}/v0"),
        client.get("/health/ready"),
    ]:
        body = problem_of(response, 503)
        assert response.headers["retry-after"] == "2"
        assert body["missing"] == ["no bundle has been published yet"]


def test_readiness_says_what_serves_and_what_was_refused(client, home, state, serving, shelved):
    body = client.get("/health/ready").json()
    schemas.Ready.model_validate(body)
    assert body["bundle"] == serving.record.bundle_id
    assert (body["champion"], body["training_set"]) == ("svd", "abc.dir")
    assert body["models"] == {"svd": 1, "two-tower": 2, "popularity": None}
    assert body["refused"] is None

    bad = shelved("b", version=9)
    bento.publish(home, bad)
    (bento.bundle_dir(home, bad) / "watched.npz").unlink()
    state.live.check()
    body = client.get("/health/ready").json()
    assert body["bundle"] == serving.record.bundle_id
    assert body["refused"]["tag"] == bad
    assert "watched.npz is missing" in body["refused"]["reason"]


def test_a_refused_first_bundle_is_named_by_readiness(client, home, state, shelved):
    bad = shelved("b")
    bento.publish(home, bad)
    (bento.bundle_dir(home, bad) / "watched.npz").unlink()
    state.live.check()
    (missing,) = problem_of(client.get("/health/ready"), 503)["missing"]
    assert "watched.npz is missing" in missing


def test_unknown_paths_and_methods_are_problems_too(client):
    assert problem_of(client.get("/nope"), 404)["detail"] == "GET /nope"
    problem_of(client.get("/docs/assets/../../etc/passwd"), 404)
    problem_of(client.delete(FEED), 405)


def test_a_fault_inside_is_a_problem_that_leaks_nothing(client, serving, state, caplog):
    def fail(*args, **named):
        raise RuntimeError("secret detail")

    serving.pipeline.page = fail
    body = problem_of(client.get(FEED, params={"user_id": "ann"}), 500)
    assert body["detail"] == "the request could not be answered"
    assert "secret detail" in caplog.text
    assert body["request_id"] in caplog.text


def test_metrics_count_by_route_and_hold_no_id(client, serving):
    client.get(FEED, params={"user_id": "ann"})
    client.get(FEED, params={"user_id": "stranger"})
    client.get(f"{SIMILAR}/v0")
    client.get(f"{SIMILAR}/nope")
    client.get("/secret/path")
    text = client.get("/metrics").text
    for line in [
        f'reelgraph_requests_total{{method="GET",route="{FEED}",status="200"}} 2.0',
        f'reelgraph_requests_total{{method="GET",route="{SIMILAR}/{{video_id}}",status="200"}} 1.0',
        f'reelgraph_requests_total{{method="GET",route="{SIMILAR}/{{video_id}}",status="404"}} 1.0',
        'reelgraph_requests_total{method="GET",route="unmatched",status="404"} 1.0',
        'reelgraph_lists_total{model="svd",source="personal"} 1.0',
        'reelgraph_lists_total{model="popularity",source="trending"} 1.0',
        f'reelgraph_request_seconds_count{{route="{FEED}"}} 2.0',
    ]:
        assert line in text
    for secret in ("ann", "stranger", "v0", "nope", "secret"):
        assert f'"{secret}"' not in text
        assert f"/{secret}" not in text


def test_the_docs_need_nothing_from_outside(client):
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(r"https?://", page.text)
    assets = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert "/docs/assets/swagger-ui-bundle.js" in assets
    for asset in assets:
        assert client.get(asset).status_code == 200


def test_the_description_covers_every_route(client):
    described = client.get("/openapi.json").json()
    assert {path: "".join(sorted(methods)) for path, methods in described["paths"].items()} == {
        FEED: "getpost",
        f"{SIMILAR}/{{video_id}}": "get",
        "/api/v1/recs/{user_id}": "get",
        "/api/v1/recs/{user_id}/{current_video_id}": "get",
        SVD: "post",
        DL: "post",
        "/api/v1/inference/recommend-cached": "post",
        "/api/v1/events/track": "post",
        "/api/v1/events/batch": "post",
        "/api/v1/recs/train": "post",
        "/api/v1/recs/train/{run_id}": "get",
        "/api/v1/recs/models": "get",
        "/api/v1/recs/models/{model_id}": "get",
        "/api/v1/recs/experiments": "get",
        "/api/v1/videos": "post",
        "/api/v1/videos/{video_id}/stream": "get",
        "/health": "get",
        "/health/ready": "get",
        "/metrics": "get",
        "/api/v1/demo/users": "get",
    }
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described)))
    assert references <= set(described["components"]["schemas"])
    feed = described["paths"][FEED]["get"]
    assert sorted(feed["responses"]) == ["200", "400", "401", "403", "422", "429", "503"]
    assert {p["name"]: p["schema"].get("maximum") for p in feed["parameters"]} == {
        "user_id": None,
        "limit": 100,
        "offset": 100_000,
        "explain": None,
        "experiment_id": None,
    }

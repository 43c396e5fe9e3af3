"""Every route x every caller x every defect of a token, against a statement of who may what that is made here."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.routing import Mount, Route

from serving.api.app import create_app
from serving.api.state import State
from serving.events.intake import EventIntake
from serving.gateway import Gateway
from serving.security.api_keys import create_key, keys_file
from serving.security.gate import Security
from serving.security.principal import Role
from tests.conftest import settings_at
from tests.serving.security.issuer import ISSUER, Defects, claims_of, public_pem, rs256, write

EVENT = {"user_id": "ann", "video_id": "v1", "event_type": "like"}
LIST = {"user_id": "ann", "limit": 1}

ALL = frozenset(
    ["nobody", "ann", "bob", "no role", "trainer", "admin", "key client", "key trainer", "key admin"]
)
ANYBODY_WITH_ROLE_CLIENT = frozenset({"ann", "bob", "admin", "key client", "key admin"})
FOR_ANN = ANYBODY_WITH_ROLE_CLIENT - {"bob"}
TRAINERS = frozenset({"trainer", "admin", "key trainer", "key admin"})
SERVICES = frozenset({"admin", "key client", "key admin"})
COLLECTORS = frozenset({"admin", "key client", "key trainer", "key admin"})


@dataclass(frozen=True)
class Asked:
    """A route, a request of it about ann, and who may make it."""

    method: str
    route: str
    may: frozenset[str]
    path: str = ""
    json: Any = None

    def __str__(self) -> str:
        return f"{self.method} {self.path or self.route}"


MATRIX = [
    Asked("GET", "/health", ALL),
    Asked("GET", "/health/ready", ALL),
    Asked("GET", "/openapi.json", ALL),
    Asked("GET", "/docs", ALL),
    Asked("GET", "/docs/page.js", ALL),
    Asked("GET", "/docs/assets/{path:path}", ALL, "/docs/assets/swagger-ui.css"),
    Asked("GET", "/", ALL),
    Asked("GET", "/static/demo/{name}", ALL, "/static/demo/none.css"),
    Asked("GET", "/metrics", COLLECTORS),
    Asked("GET", "/api/v1/recommendations/feed", FOR_ANN, "/api/v1/recommendations/feed?user_id=ann"),
    Asked("POST", "/api/v1/recommendations/feed", FOR_ANN, json=LIST),
    Asked(
        "GET",
        "/api/v1/recommendations/similar/{video_id}",
        ANYBODY_WITH_ROLE_CLIENT,
        "/api/v1/recommendations/similar/v1",
    ),
    Asked("GET", "/api/v1/recs/{user_id}", FOR_ANN, "/api/v1/recs/ann"),
    Asked("GET", "/api/v1/recs/{user_id}/{current_video_id}", FOR_ANN, "/api/v1/recs/ann/v1"),
    Asked("GET", "/api/v1/recs/experiments", ANYBODY_WITH_ROLE_CLIENT),
    Asked("GET", "/api/v1/recs/experiments", FOR_ANN, "/api/v1/recs/experiments?user_id=ann"),
    Asked("POST", "/api/v1/inference/recommend", FOR_ANN, json=LIST),
    Asked("POST", "/api/v1/inference/recommend-dl", FOR_ANN, json=LIST),
    Asked("POST", "/api/v1/inference/recommend-cached", FOR_ANN, json=LIST),
    Asked("POST", "/api/v1/events/track", FOR_ANN, json=EVENT),
    Asked("POST", "/api/v1/events/batch", FOR_ANN, json={"events": [EVENT]}),
    Asked("GET", "/api/v1/videos/{video_id}/stream", ANYBODY_WITH_ROLE_CLIENT, "/api/v1/videos/v1/stream"),
    Asked("POST", "/api/v1/videos", SERVICES),
    Asked("GET", "/api/v1/demo/users", SERVICES),
    Asked("POST", "/api/v1/recs/train", TRAINERS, json={"model_type": "svd"}),
    Asked("GET", "/api/v1/recs/train/{run_id}", TRAINERS, "/api/v1/recs/train/r1"),
    Asked("GET", "/api/v1/recs/models", TRAINERS),
    Asked("GET", "/api/v1/recs/models/{model_id}", TRAINERS, "/api/v1/recs/models/1"),
    Asked("GET", "/nowhere", frozenset({"admin", "key admin"})),
    Asked("DELETE", "/api/v1/recommendations/feed", frozenset({"admin", "key admin"})),
]
PROTECTED = [asked for asked in MATRIX if asked.may != ALL]
OF_THE_APP = [asked for asked in MATRIX if asked.route != "/nowhere" and asked.method != "DELETE"]
DEFECTS = Defects().made


@dataclass
class Endpoint:
    """The app behind its gate. Each request comes from an address of its own: bad ones are limited by address."""

    app: Gateway
    callers: dict[str, dict[str, str]]
    addresses: Iterator[int]

    def ask(self, asked: Asked, headers: dict[str, str]) -> Any:
        number = next(self.addresses)
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        client = TestClient(self.app, raise_server_exceptions=False, client=(address, 1))
        path = asked.path or asked.route
        return client.request(asked.method, path, json=asked.json, headers=headers)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    home = tmp_path_factory.mktemp("matrix")
    key = write(home / "jwt.pem", public_pem())
    settings = settings_at(home, development=False, jwt_public_key_file=key, jwt_issuer=ISSUER)
    callers: dict[str, dict[str, str]] = {"nobody": {}}
    for name, user, roles in [
        ("ann", "ann", ("client",)),
        ("bob", "bob", ("client",)),
        ("no role", "ann", ()),
        ("trainer", "ann", ("trainer",)),
        ("admin", "root", ("admin",)),
    ]:
        callers[name] = {"Authorization": f"Bearer {rs256(claims_of(user, roles))}"}
    for role in Role:
        text = create_key(keys_file(settings), role, [role])[1]
        callers[f"key {role}"] = {"X-API-Key": text}
    state = State()
    state.security = Security(settings, state.metrics)
    state.security.keys.refresh()
    state.settings = settings
    state.events = EventIntake(settings, state)  # whether an event is one's own is seen when it is taken
    state.events.start()
    yield Endpoint(Gateway(create_app(state), state.metrics), callers, count(1))
    asyncio.run(state.events.close())


def test_the_matrix_has_every_route_of_the_app() -> None:
    routes = set()
    for route in create_app(State()).routes:
        if isinstance(route, Mount):
            routes.add(("GET", f"{route.path}/{{path:path}}"))
        elif isinstance(route, Route):
            routes |= {(method, route.path) for method in route.methods or () if method != "HEAD"}
    assert {(asked.method, asked.route) for asked in OF_THE_APP} == routes


@pytest.mark.parametrize("caller", sorted(ALL))
@pytest.mark.parametrize("asked", MATRIX, ids=str)
def test_who_may_what(endpoint: Endpoint, asked: Asked, caller: str) -> None:
    response = endpoint.ask(asked, endpoint.callers[caller])
    if caller in asked.may:
        # Whatever the route answers here, without bundle and stores: it was let through.
        assert response.status_code not in (401, 403, 429), response.text
    else:
        assert response.status_code == (401 if caller == "nobody" else 403), response.text
        assert response.headers["content-type"] == "application/problem+json"
        assert ("www-authenticate" in response.headers) == (caller == "nobody")


@pytest.mark.parametrize("defect", DEFECTS)
@pytest.mark.parametrize("asked", MATRIX, ids=str)
def test_a_defect_opens_nothing(endpoint: Endpoint, asked: Asked, defect: str) -> None:
    """The claims say admin: whoever took one of these for good would be let in everywhere."""
    response = endpoint.ask(asked, {"Authorization": f"Bearer {DEFECTS[defect]}".strip()})
    if asked.may == ALL:
        assert response.status_code not in (401, 403, 429)
        return
    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["www-authenticate"].startswith('Bearer realm="reelgraph", error="invalid_token"')
    said = response.text.lower()
    assert not [
        word for word in ("signature", "audience", "issuer", "algorithm", "traceback") if word in said
    ]


@pytest.mark.parametrize("scheme", ["key", "key of another", "Basic", "two"])
@pytest.mark.parametrize("asked", PROTECTED, ids=str)
def test_no_other_credential_opens_anything(endpoint: Endpoint, asked: Asked, scheme: str) -> None:
    good = endpoint.callers["key admin"]["X-API-Key"]
    headers = {
        "key": {"X-API-Key": "rgk_0000000000000000_" + "A" * 43},
        "key of another": {"X-API-Key": good[:-2] + ("AA" if good[-2:] != "AA" else "BB")},
        "Basic": {"Authorization": "Basic YWRtaW46YWRtaW4="},
        "two": {**endpoint.callers["admin"], "X-API-Key": good},
    }[scheme]
    assert endpoint.ask(asked, headers).status_code == 401

"""Requests that take longer than BentoML's time-out: those that may, do; the others are ended."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from bentoml._internal.server.http import traffic

from serving.long_requests import LONG, allow_long_requests

TIME_OUT_S = 0.1


@pytest.fixture
def patient() -> Iterator[None]:
    before = traffic.TimeoutMiddleware
    allow_long_requests()
    yield
    traffic.TimeoutMiddleware = before  # type: ignore[misc]


def status_of(method: str, path: str) -> int:
    """Of an app that answers 200 after three time-outs, behind the middleware as BentoML makes it."""
    sent: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(3 * TIME_OUT_S)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
    asyncio.run(traffic.TimeoutMiddleware(app, timeout=TIME_OUT_S)(scope, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize(("method", "path"), sorted(LONG))
def test_uploads_and_launches_take_their_time(patient: None, method: str, path: str) -> None:
    assert status_of(method, path) == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/recs/train"),
        ("POST", "/api/v1/recs/train/x"),
        ("GET", "/api/v1/recommendations/feed"),
    ],
)
def test_others_end_at_the_time_out(patient: None, method: str, path: str) -> None:
    assert status_of(method, path) == 504


def test_the_long_ones_are_routes_of_the_app() -> None:
    from serving.api.app import create_app
    from serving.api.state import State

    routes = {(m, r.path) for r in create_app(State()).routes for m in getattr(r, "methods", None) or ()}  # type: ignore[attr-defined]
    assert routes >= LONG


def test_bentoml_finds_its_middleware_where_we_replace_it(patient: None) -> None:
    from bentoml._internal.server.base_app import BaseAppFactory

    class Factory(BaseAppFactory):
        name = "test"

        @property
        def on_startup(self) -> list:
            return []

    made = Factory(timeout=3).middlewares
    assert any(middleware.cls is traffic.TimeoutMiddleware for middleware in made)

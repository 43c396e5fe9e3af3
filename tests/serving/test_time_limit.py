"""Requests that take longer than they may are ended, those that may are not, and none outlives its answer."""

import asyncio
import gc
import json
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop
from bentoml._internal.server.http import traffic

from serving.time_limit import LONG, TimeLimit, limit_requests

TIME_OUT_S = 0.1


@pytest.fixture
def patient() -> Iterator[None]:
    before = traffic.TimeoutMiddleware
    limit_requests()
    yield
    traffic.TimeoutMiddleware = before  # type: ignore[misc]


async def nothing() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


def asked(app: Any, method: str = "GET", path: str = "/feed") -> list[dict[str, Any]]:
    """What an app sends behind the middleware as BentoML makes it."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
    asyncio.run(traffic.TimeoutMiddleware(app, timeout=TIME_OUT_S)(scope, nothing, send))
    return sent


async def late(scope: Any, receive: Any, send: Any) -> None:
    """Answers 200 after three time-outs."""
    await asyncio.sleep(3 * TIME_OUT_S)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def status_of(method: str, path: str) -> int:
    return int(asked(late, method, path)[0]["status"])


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


def test_what_was_too_late_is_told_as_a_problem(patient: None) -> None:
    start, body = asked(late)
    headers = dict(start["headers"])
    said = json.loads(body["body"])
    assert headers[b"content-type"] == b"application/problem+json"
    assert (said["status"], said["detail"]) == (504, "there was no answer within 0.1 s")
    assert headers[b"x-request-id"].decode() == said["request_id"]


def test_an_answer_that_has_begun_may_go_on(patient: None) -> None:
    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await asyncio.sleep(TIME_OUT_S)
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    assert b"".join(message.get("body", b"") for message in asked(stream)) == b"xxx"


def test_a_time_out_inside_the_app_is_the_apps_own(patient: None) -> None:
    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise TimeoutError("of Redis")

    with pytest.raises(TimeoutError, match="of Redis"):
        asked(fails)


def test_what_was_ended_is_cancelled(patient: None) -> None:
    ended: list[str] = []

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    assert asked(waits)[0]["status"] == 504
    assert ended == ["cancelled"]


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_nothing_of_an_answered_request_is_left(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    class Kept:
        """Something that only the request refers to."""

    alive: weakref.WeakSet[Kept] = weakref.WeakSet()

    async def answers(scope: Any, receive: Any, send: Any) -> None:
        scope["kept"] = kept = Kept()
        alive.add(kept)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: dict[str, Any]) -> None:
        pass

    async def run() -> int:
        for _ in range(100):
            scope = {"type": "http", "method": "GET", "path": "/feed"}
            await TimeLimit(answers, timeout=60)(scope, nothing, send)
        del scope
        return len(alive)

    gc.disable()
    try:
        with asyncio.Runner(loop_factory=loop) as runner:
            assert runner.run(run()) == 0
    finally:
        gc.enable()


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

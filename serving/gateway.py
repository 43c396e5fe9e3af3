"""The outermost layer of our app: a request id, a time and a count for every request, and no traceback outside."""

import logging
import time
from typing import Any
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.telemetry.logs import note_answer, request_scope
from serving.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


class Gateway:
    """ASGI around the app. Not a Starlette, so that BentoML hands it every path it does not serve itself.

    The id of a request is always made here: decisions are logged and events attributed by it, so no client may choose
    one that was used. What a client sends as `X-Request-ID` is kept as the correlation id of our log lines."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = str(uuid4())
        about = scope.setdefault("state", {})
        about["request_id"] = request_id
        correlation_id = _correlation_id(scope)
        header = (b"x-request-id", request_id.encode())
        status = 0
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        with request_scope(request_id, correlation_id, scope):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                log.exception("request %s failed", request_id)
                # Starlette has sent the 500 of `problems.install` and raises nevertheless. Anything else has begun
                # well and broke off: the server must cut the connection.
                if status != _FAILED:
                    raise
            finally:
                seconds = time.perf_counter() - started
                route = _pattern(scope)
                method = scope["method"] if scope["method"] in _METHODS else "other"
                self._metrics.requests.labels(route, method, str(status)).inc()
                self._metrics.seconds.labels(route).observe(seconds)
                note_answer(route, method, status, seconds)


_FAILED = 500
_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})


def _correlation_id(scope: Scope) -> str:
    """The client's own id, if it is one a log line can hold: a hundred printable characters of ASCII."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text: str = value.decode("latin-1")
            return text if len(text) <= 100 and text.isascii() and text.isprintable() else ""
    return ""


def _pattern(scope: Any) -> str:
    """The route's pattern, never the path: a path holds ids. What was refused before it was routed says which it was
    meant for."""
    route = getattr(scope.get("route"), "path", "")
    return route or scope["state"].get("refused_route") or "unmatched"

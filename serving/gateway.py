"""The outermost layer of our app: a request id, a time and a count for every request, and no traceback outside."""

import logging
import time
from typing import Any
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.metrics import Metrics

log = logging.getLogger(__name__)


class Gateway:
    """ASGI around the app. Not a Starlette, so that BentoML hands it every path it does not serve itself."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = str(uuid4())
        scope.setdefault("state", {})["request_id"] = request_id
        header = (b"x-request-id", request_id.encode())
        status = 0
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("request %s failed", request_id)
            # Starlette has sent the 500 of `problems.install` and raises nevertheless. Anything else has begun
            # well and broke off: the server must cut the connection.
            if status != _FAILED:
                raise
        finally:
            # The route's pattern, never the path: a path holds ids.
            route = _pattern(scope)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(route, method, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - started)


_FAILED = 500
_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})


def _pattern(scope: Any) -> str:
    return getattr(scope.get("route"), "path", "") or "unmatched"

"""How long a request may take until its answer begins; some may take as long as they need.

BentoML's own middleware does this with a timer that nobody stops: every request that was answered stays alive until
its time is up. At a thousand a second these are some hundred thousand objects, which Python's collector takes for
growth: it walked the whole heap every two seconds, for 0.2 s each time. Here nothing of an answered request is left.
"""

import asyncio
from typing import Any
from uuid import uuid4

from bentoml._internal.server.http import traffic
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.problems import problem

LONG = frozenset({("POST", "/api/v1/videos"), ("POST", "/api/v1/recs/train")})
"""They have budgets of their own: an upload takes as long as its bytes, Dagster loads a job before it starts it."""

_TOO_LATE = 504


class TimeLimit:
    """In the place of `bentoml`'s `TimeoutMiddleware`; `timeout` in seconds is the service's `traffic.timeout`."""

    def __init__(self, app: ASGIApp, timeout: float) -> None:
        self._app = app
        self._seconds = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) in LONG:
            await self._app(scope, receive, send)
            return
        answering = False

        async def begin(message: Message) -> None:
            nonlocal answering
            if not answering:
                answering = True
                if not limit.expired():
                    limit.reschedule(None)
            await send(message)

        try:
            async with asyncio.timeout(self._seconds) as limit:
                await self._app(scope, receive, begin)
        except TimeoutError:
            if answering or not limit.expired():
                raise
            await self._too_late(scope)(scope, receive, send)

    def _too_late(self, scope: Scope) -> Any:
        request_id = scope.get("state", {}).get("request_id") or str(uuid4())
        detail = f"there was no answer within {self._seconds:g} s"
        return problem(_TOO_LATE, detail, request_id, headers={"X-Request-ID": request_id})


def limit_requests() -> None:
    """For this process, before BentoML makes its app: it has no setting for another middleware."""
    traffic.TimeoutMiddleware = TimeLimit  # type: ignore[misc,assignment]

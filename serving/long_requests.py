"""Requests that may take long: BentoML ends each after `traffic.timeout`, which is short for the feeds' sake."""

from typing import Any

from bentoml._internal.server.http import traffic
from starlette.types import Receive, Scope, Send

LONG = frozenset({("POST", "/api/v1/videos"), ("POST", "/api/v1/recs/train")})
"""They have budgets of their own: an upload takes as long as its bytes, Dagster loads a job before it starts it."""

_TimeoutMiddleware: Any = traffic.TimeoutMiddleware


class _PatientTimeout(_TimeoutMiddleware):  # type: ignore[misc]
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope["method"], scope["path"]) in LONG:
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def allow_long_requests() -> None:
    """For this process, before BentoML makes its app. There is no setting for it: the time-out is the service's."""
    traffic.TimeoutMiddleware = _PatientTimeout  # type: ignore[misc]

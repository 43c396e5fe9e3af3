"""The layer between the gateway and the app: what may not pass is answered here, before anything is routed or read.

Plain ASGI, since every feed passes through it. While the parts of the endpoint are not yet assembled (a test's bare
app), it refuses nobody; an endpoint that was assembled without security refuses everybody.
"""

from typing import TYPE_CHECKING
from uuid import uuid4

from starlette.routing import get_route_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.problems import problem
from serving.security.body_limit import counted, too_large
from serving.security.cors import Origins
from serving.security.policy import Policy, Rule
from serving.security.principal import DEVELOPER
from serving.security.rate_limit import WINDOW_S, Verdict
from serving.security.refusal import Refused
from serving.security.request_head import (
    MAX_ADDRESS_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    Head,
    read_head,
)
from serving.security.response_headers import NO_STORE, Headers, answer_headers, page_headers

if TYPE_CHECKING:
    from serving.api.state import State
    from stack.settings import Settings

DEFAULT_BODY_BYTES = 1_000_000
_FORM_BYTES = 1_000_000  # of a form around an uploaded file
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Limits, CORS, the gate, and the headers of every answer."""

    def __init__(self, app: ASGIApp, state: "State") -> None:
        self._app = app
        self._state = state
        self._policy = Policy()
        self._settings: Settings | None = None
        self._configure(None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # we have no websockets, and none shall be open by accident
            await send({"type": "websocket.close", "code": 1008})
            return
        if self._state.settings is not self._settings:
            self._configure(self._state.settings)
        head = read_head(scope["headers"])
        rule = self._policy.rule(scope["method"], get_route_path(scope))
        headers = self._page if rule.page else self._answer
        try:
            limit = self._weigh(scope, head, rule)
            if head.preflight and scope["method"] == "OPTIONS":
                await self._preflight(head, headers, send)
                return
            if self._origins:
                headers = (*headers, *self._origins.answer(head.origin))
            verdict = self._admit(scope, head, rule)
        except Refused as refused:
            await self._refuse(refused, rule, headers, scope, receive, send)
            return
        if verdict is not None:
            headers = (*headers, *_left(verdict))
        if scope["method"] not in _BODILESS:
            receive = counted(receive, limit)
        await self._app(scope, receive, _with(headers, send))

    def _configure(self, settings: "Settings | None") -> None:
        self._settings = settings
        self._page = page_headers(settings)
        self._answer = answer_headers(settings)
        self._origins = Origins(settings.cors_origins if settings else "")
        self._body_limit = settings.max_body_bytes if settings else DEFAULT_BODY_BYTES
        self._upload_limit = settings.max_upload_bytes + _FORM_BYTES if settings else self._body_limit

    def _weigh(self, scope: Scope, head: Head, rule: Rule) -> int:
        """How long the body may be. Raises `Refused` for what is too long already."""
        address = len(scope.get("raw_path") or scope["path"]) + len(scope.get("query_string", b""))
        if address > MAX_ADDRESS_BYTES:
            raise Refused(414, f"the address is longer than {MAX_ADDRESS_BYTES} bytes", "head")
        if head.size > MAX_HEAD_BYTES or len(scope["headers"]) > MAX_HEADERS:
            detail = f"the headers are more than {MAX_HEADERS}, or longer than {MAX_HEAD_BYTES} bytes"
            raise Refused(431, detail, "head")
        limit = self._upload_limit if rule.upload else self._body_limit
        if head.length is not None:
            # Servers check it too, but this one may be behind another.
            if not head.length.isdigit():
                raise Refused(400, "Content-Length is no number", "head", {"Connection": "close"})
            if len(head.length) > 18 or int(head.length) > limit:
                raise Refused(413, too_large(limit), "body", {"Connection": "close"})
        return limit

    def _admit(self, scope: Scope, head: Head, rule: Rule) -> Verdict | None:
        about = scope.setdefault("state", {})
        security = self._state.security
        if security is None:
            if self._settings is not None and not self._settings.development and not rule.access.is_public:
                raise Refused(503, "the endpoint cannot tell who asks", "role", {"Retry-After": "2"})
            about["principal"] = DEVELOPER
            return None
        if security.development and self._is_foreign(scope, head):
            # No credential stands between a page of another site, in the browser of who develops here, and us.
            raise Refused(403, "pages of this origin may not ask", "origin")
        client = scope.get("client")
        about["principal"], verdict = security.admit(rule, head, client[0] if client else "")
        return verdict

    def _is_foreign(self, scope: Scope, head: Head) -> bool:
        """Whether a browser sends this for a page of another site, and it could change something."""
        if head.origin is None or scope["method"] in _BODILESS or self._origins.allows(head.origin):
            return False
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        return head.origin.partition(b"://")[2] != host

    async def _preflight(self, head: Head, headers: Headers, send: Send) -> None:
        origin = head.origin
        if origin is None or not self._origins.allows(origin):
            raise Refused(403, "pages of this origin may not ask", "origin")
        allowed = [*headers, *self._origins.preflight(origin)]
        await send({"type": "http.response.start", "status": 204, "headers": allowed})
        await send({"type": "http.response.body", "body": b""})

    async def _refuse(
        self, refused: Refused, rule: Rule, headers: Headers, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if self._state.security is not None:
            self._state.security.metrics.refused.labels(refused.reason).inc()
        about = scope.setdefault("state", {})
        about["refused_route"] = rule.path  # it never reaches the router, which would say
        request_id = about.get("request_id") or str(uuid4())
        answer = problem(refused.status, refused.detail, request_id, headers=refused.headers)
        await answer(scope, receive, _with(headers, send))


def _left(verdict: Verdict) -> Headers:
    """The limit, as the IETF's draft names it; at the latest after a whole window it is new."""
    return (
        (b"ratelimit-limit", b"%d" % verdict.limit),
        (b"ratelimit-remaining", b"%d" % verdict.remaining),
        (b"ratelimit-reset", b"%d" % WINDOW_S),
    )


def _with(headers: Headers, send: Send) -> Send:
    """`send` that adds our headers; what an answer says itself about caching stands."""

    async def send_with(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = message.get("headers", ())
            kept = any(name == b"cache-control" for name, _ in own)
            message["headers"] = [*own, *headers] if kept else [*own, *headers, NO_STORE]
        await send(message)

    return send_with

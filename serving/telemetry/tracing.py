"""Spans around what a request waits for. Off (and nearly free) unless an OpenTelemetry endpoint is set.

Where the share of traced requests is small, the others cost as little: inside them, no span is made. BentoML's own
middleware makes no span (`serving.service` tells it so): it knows no route, and would name ids.
"""

import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import Token
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import TYPE_CHECKING, Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    import httpx

    from stack.settings import Settings

Value = str | int | float | bool

EXPORT_TIMEOUT_S = 2.0
"""How long one export, and the last one of a clean stop, may take: traces are not worth waiting for."""
EXPORT_EVERY_MS = 1000
MAX_LINKS = 32

_OFF: AbstractContextManager[None] = nullcontext()
_W3C = TraceContextTextMapPropagator()
_tracer: Tracer | None = None


def span(name: str, **attributes: Value) -> AbstractContextManager[None]:
    """A span of the current trace; no attribute may hold a user's id or a secret."""
    if _tracer is None or not trace.get_current_span().is_recording():
        return _OFF
    return _Active(_tracer.start_span(name, attributes=attributes))


def batch_span(
    name: str, parents: Iterable[SpanContext], **attributes: Value
) -> AbstractContextManager[None]:
    """A span of work for many requests, done after they were answered: of the trace of the only one, else a trace of
    its own that is linked to them."""
    if _tracer is None:
        return _OFF
    found = list({parent.trace_id: parent for parent in parents}.values())[:MAX_LINKS]
    context = contexts.Context()
    if len(found) == 1:
        context = trace.set_span_in_context(trace.NonRecordingSpan(found[0]), context)
        found = []
    links = [Link(parent) for parent in found]
    return _Active(_tracer.start_span(name, context, attributes=attributes, links=links))


def current() -> SpanContext | None:
    """What `batch_span` takes as a parent; None outside a traced request."""
    if _tracer is None:
        return None
    active = trace.get_current_span()
    return active.get_span_context() if active.is_recording() else None


def ids() -> dict[str, str]:
    """`trace_id` and `span_id` of the current span, in hexadecimal, as a log line names them; {} outside a trace."""
    if _tracer is None:
        return {}
    about = trace.get_current_span().get_span_context()
    if not about.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(about.trace_id), "span_id": trace.format_span_id(about.span_id)}


def headers() -> dict[str, str]:
    """`traceparent` for a server that is asked on behalf of the current span; {} outside a traced request."""
    found: dict[str, str] = {}
    if _tracer is not None and trace.get_current_span().is_recording():
        _W3C.inject(found)
    return found


def pass_on(request: "httpx.Request") -> None:
    """For `httpx.Client`: `event_hooks={"request": [pass_on]}`."""
    request.headers.update(headers())


async def propagate(request: "httpx.Request") -> None:
    """The same for `httpx.AsyncClient`."""
    pass_on(request)


class Traced:
    """ASGI: the server's span of each request, continuing the client's trace if it names one (W3C trace context)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _tracer is None or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        active = _tracer.start_span(scope["method"], _parent(scope), SpanKind.SERVER)
        if not active.is_recording():
            with _Active(active):
                await self._app(scope, receive, send)
            return

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                _describe(active, scope, message["status"])
            await send(message)

        with _Active(active):
            await self._app(scope, receive, send_and_note)


class _Active:
    """A span that is the current one inside `with`. An error is named by its type: messages may hold anything."""

    __slots__ = ("_span", "_token")

    def __init__(self, active: Span) -> None:
        self._span = active
        self._token: Token[contexts.Context] | None = None

    def __enter__(self) -> None:
        self._token = contexts.attach(trace.set_span_in_context(self._span))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if kind is not None:
            self._span.set_status(Status(StatusCode.ERROR, kind.__name__))
        self._span.end()
        if self._token is not None:
            contexts.detach(self._token)


def _parent(scope: Mapping[str, Any]) -> contexts.Context:
    carrier = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in (b"traceparent", b"tracestate")
    }
    return _W3C.extract(carrier, contexts.Context()) if carrier else contexts.Context()


def _describe(active: Span, scope: Mapping[str, Any], status: int) -> None:
    """By the route's pattern, never the path: a path holds ids."""
    route = getattr(scope.get("route"), "path", "")
    active.set_attribute("http.request.method", scope["method"])
    active.set_attribute("http.response.status_code", status)
    if route:
        active.update_name(f"{scope['method']} {route}")
        active.set_attribute("http.route", route)
    if request_id := scope.get("state", {}).get("request_id"):
        active.set_attribute("reelgraph.request_id", request_id)
    if status >= 500:
        active.set_status(Status(StatusCode.ERROR))


def start(settings: "Settings") -> Callable[[], None] | None:
    """Send spans to the collector of the settings from now on. Returns what ends that, which waits `EXPORT_TIMEOUT_S`
    at most for what was not sent; None without a collector. One at a time in a process."""
    if settings.otel_endpoint is None:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    global _tracer
    complaints = logging.getLogger(OTLPSpanExporter.__module__)
    complaints.setLevel(logging.ERROR)
    if not complaints.filters:
        complaints.addFilter(_Seldom())
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.trace_share)),
        resource=Resource.create(
            {
                "service.name": "reelgraph-endpoint",
                "service.version": _version(),
                "service.instance.id": secrets.token_hex(8),
            }
        ),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(f"{settings.otel_endpoint}/v1/traces", timeout=EXPORT_TIMEOUT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_EVERY_MS))
    _tracer = provider.get_tracer("reelgraph.serving")

    def stop() -> None:
        global _tracer
        _tracer = None
        # A collector that is down would be tried again and again meanwhile.
        ending = threading.Thread(target=provider.shutdown, name="last-spans", daemon=True)
        ending.start()
        ending.join(EXPORT_TIMEOUT_S)

    return stop


class _Seldom(logging.Filter):
    """Lets one line through a minute: the exporter would complain every second while its collector is down."""

    def __init__(self, every_s: float = 60.0) -> None:
        super().__init__()
        self._every_s = every_s
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.created < self._next:
            return False
        self._next = record.created + self._every_s
        return True


def _version() -> str:
    try:
        return version("reelgraph")
    except PackageNotFoundError:  # inside a Bento the code lies there without being installed
        return "unknown"

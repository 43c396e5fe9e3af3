"""One request is one trace, continued from the client's and passed on; off, it costs next to nothing."""

import asyncio
import json
import logging
import timeit
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest
from opentelemetry import trace

from serving.gateway import Gateway
from serving.telemetry import logs, tracing
from serving.telemetry.metrics import Metrics
from serving.telemetry.redaction import Redaction
from serving.telemetry.tracing import Traced, batch_span, span
from stack.settings import Settings
from tests.serving.otlp import Collector, collecting

CLIENTS_TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENTS_SPAN = "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{CLIENTS_TRACE}-{CLIENTS_SPAN}-01"}
NOT_SAMPLED = {"traceparent": f"00-{CLIENTS_TRACE}-{CLIENTS_SPAN}-00"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture
def started(collector: Collector) -> Iterator[Callable[[float], Callable[[], None]]]:
    """Start tracing of a share of the requests; gives what stops it, and with it all spans are there."""
    stops = []

    def begin(share: float = 1.0) -> Callable[[], None]:
        settings = Settings(_env_file=None, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, trace_share=share)
        stop = tracing.start(settings)
        assert stop is not None
        stops.append(stop)
        return stop

    yield begin
    for stop in stops:
        stop()


async def _answer(scope, receive, send) -> None:
    """A route `/videos/{video_id}` that asks two stores."""
    scope["route"] = type("Route", (), {"path": "/videos/{video_id}"})
    with span("redis.context"):
        await asyncio.sleep(0)
    with span("rank", candidates=3), span("rank.score"):
        pass
    if b"fail" in scope["query_string"]:
        raise RuntimeError("user ann's password is x")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(tracing.headers()).encode()})


def get(path: str = "/videos/v1", headers: dict[str, str] | None = None) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(Traced(Gateway(_answer, Metrics())), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(ask())


def test_a_request_is_one_trace_of_a_server_span_and_its_steps(collector, started):
    stop = started()
    answer = get()
    stop()
    assert sorted(s.name for s in collector.spans) == [
        "GET /videos/{video_id}", "rank", "rank.score", "redis.context",
    ]  # fmt: skip
    assert len({s.trace_id for s in collector.spans}) == 1
    [server], [rank], [score] = map(collector.named, ("GET /videos/{video_id}", "rank", "rank.score"))
    assert (server.parent_id, rank.parent_id, score.parent_id) == ("", server.span_id, rank.span_id)
    assert server.kind == 2  # SPAN_KIND_SERVER
    assert server.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/videos/{video_id}",
        "reelgraph.request_id": answer.headers["x-request-id"],
    }
    assert rank.attributes == {"candidates": 3}
    assert server.resource["service.name"] == "reelgraph-endpoint"


def test_the_clients_trace_goes_on_and_is_passed_on(collector, started):
    stop = started()
    passed_on = get(headers=SAMPLED).json()
    stop()
    [server] = collector.named("GET /videos/{video_id}")
    assert (server.trace_id, server.parent_id) == (CLIENTS_TRACE, CLIENTS_SPAN)
    assert passed_on == {"traceparent": f"00-{CLIENTS_TRACE}-{server.span_id}-01"}


def test_a_share_of_none_traces_only_what_the_client_traces(collector, started):
    stop = started(0.0)
    assert get().json() == {}
    assert get(headers=NOT_SAMPLED).json() == {}
    assert get(headers=SAMPLED).json() != {}
    stop()
    assert {s.trace_id for s in collector.spans} == {CLIENTS_TRACE}


@pytest.mark.parametrize("value", ["", "garbage", "00-0-0-01", "ff-" + "0" * 32, "00-" + "é" * 32])
def test_a_traceparent_that_is_none_begins_a_trace(collector, started, value):
    stop = started()
    assert get(headers={"traceparent": value.encode("latin-1")}).status_code == 200
    stop()
    [server] = collector.named("GET /videos/{video_id}")
    assert server.parent_id == ""


def test_an_error_marks_the_span_by_its_type_and_tells_no_more(collector, started):
    stop = started()
    get("/videos/v1?fail")
    stop()
    [server] = [s for s in collector.spans if s.kind == 2]
    assert (server.failed, server.status) == (True, "RuntimeError")
    assert "ann" not in repr(collector.spans)


def test_work_for_many_requests_is_linked_to_them_and_for_one_is_part_of_its_trace(collector, started):
    stop = started()
    contexts = []
    for number in (1, 2):
        with tracing._Active(tracing._tracer.start_span(f"request {number}")):  # type: ignore[union-attr]
            contexts.append(tracing.current())
    with batch_span("ship", contexts, lines=2):
        pass
    with batch_span("ship one", [contexts[0], contexts[0]]):
        pass
    with batch_span("ship nobody's", []):
        passed_on = tracing.headers()["traceparent"]
    stop()
    [first], [second], [both], [one], [nobodys] = map(
        collector.named, ("request 1", "request 2", "ship", "ship one", "ship nobody's")
    )
    assert set(both.links) == {first.trace_id, second.trace_id}
    assert both.trace_id not in both.links
    assert (one.trace_id, one.parent_id, one.links) == (first.trace_id, first.span_id, ())
    assert (nobodys.parent_id, nobodys.links) == ("", ())
    assert passed_on.startswith(f"00-{nobodys.trace_id}-{nobodys.span_id}-")


def test_httpx_passes_the_trace_on(collector, started):
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("traceparent"))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.05,)).start()

    async def ask() -> None:
        hooks = {"request": [tracing.propagate]}
        async with httpx.AsyncClient(event_hooks=hooks) as client:
            await client.get(f"http://127.0.0.1:{server.server_port}")
            with batch_span("outer", []):
                await client.get(f"http://127.0.0.1:{server.server_port}")

    stop = started()
    try:
        asyncio.run(ask())
    finally:
        server.shutdown()
        server.server_close()
    stop()
    [outer] = collector.spans
    assert seen[0] is None
    assert seen[1].startswith(f"00-{outer.trace_id}-{outer.span_id}-")


def test_a_log_line_names_the_trace(collector, started):
    stop = started()
    formatter = logs.JsonFormatter(Redaction())
    record = logging.makeLogRecord({"msg": "hello"})
    with batch_span("outer", []):
        line = json.loads(formatter.format(record))
    outside = json.loads(formatter.format(record))
    stop()
    [outer] = collector.spans
    assert (line["trace_id"], line["span_id"]) == (outer.trace_id, outer.span_id)
    assert "trace_id" not in outside


def test_a_collector_that_is_down_delays_the_stop_by_two_seconds_at_most():
    settings = Settings(_env_file=None, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    stop = tracing.start(settings)
    assert stop is not None
    with batch_span("lost", []):
        pass
    assert timeit.timeit(stop, number=1) < tracing.EXPORT_TIMEOUT_S + 0.5


def test_without_a_collector_nothing_is_traced_and_a_span_is_next_to_free():
    assert tracing.start(Settings(_env_file=None)) is None

    def use() -> None:
        with span("redis.context"):
            pass

    assert (
        min(timeit.repeat(use, number=10_000, repeat=5)) / 10_000 < 5e-6
    )  # 0.2 us; a busy machine has its day
    with span("redis.context"):
        assert trace.get_current_span() is trace.INVALID_SPAN
    assert (tracing.headers(), tracing.ids(), tracing.current()) == ({}, {}, None)


def test_bentomls_own_middleware_makes_no_span():
    from bentoml._internal.configuration.containers import BentoMLContainer

    import serving.service  # noqa: F401 - imported for what it says to BentoML

    excluded = BentoMLContainer.tracing_excluded_urls.get()
    assert excluded.url_disabled("http://127.0.0.1:8000/api/v1/recommendations/feed?user_id=ann")

"""A request to the endpoint is one trace: the route, Redis, the steps of the list, and what is shipped for it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ingestion.clickhouse_schema import create_tables
from serving import bento
from stack.settings import Settings
from tests.serving.otlp import Collector, collecting

from ..conftest import shelve, tiny_pack, wait_for
from ..running_app import running_app

pytestmark = pytest.mark.stack


def _trace(number: int) -> tuple[str, dict[str, str]]:
    trace_id = f"{number:032x}"
    return trace_id, {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}


@pytest.fixture
def traced(
    tmp_path: Path, redis: Settings, clickhouse: Settings, postgres: Settings
) -> Iterator[tuple[str, Collector]]:
    """An endpoint whose requests are traced if the client traces them."""
    with collecting() as collector:
        own = f"http://default@127.0.0.1:{clickhouse.clickhouse_port}/traces"  # a database that no other test counts
        settings = redis.model_copy(
            update={
                "home": tmp_path / "home",
                "otel_endpoint": collector.url,
                "trace_share": 0.0,
                "clickhouse_url_override": own,
            }
        )
        create_tables(settings)
        tiny_pack(tmp_path / "bundle")
        bento.publish(settings, shelve(settings, tmp_path / "bundle"))
        with running_app(settings) as (url, _):
            yield url, collector


def _parents(collector: Collector, trace_id: str) -> dict[str, str]:
    """Name of each span of a trace -> name of its parent ('' for the client's)."""
    spans = [s for s in collector.spans if s.trace_id == trace_id]
    names = {s.span_id: s.name for s in spans}
    return {s.name: names.get(s.parent_id, "") for s in spans}


def test_a_feed_is_one_trace_across_the_route_redis_and_the_steps(traced):
    url, collector = traced
    trace_id, headers = _trace(1)
    feed = f"{url}/api/v1/recommendations/feed"
    untraced = httpx.get(feed, params={"user_id": "bob"})
    answer = httpx.get(feed, params={"user_id": "ann"}, headers=headers)
    assert (untraced.status_code, answer.status_code) == (200, 200)
    route = "GET /api/v1/recommendations/feed"
    wait_for(lambda: route in _parents(collector, trace_id), "the spans")
    parents = _parents(collector, trace_id)
    assert parents[route] == ""
    assert parents["session context"] == route
    assert parents["candidates"] == parents["ranking"] == route
    assert {s.trace_id for s in collector.spans} == {trace_id}
    [server] = collector.named(route)
    assert server.attributes["reelgraph.request_id"] == answer.json()["request_id"]
    assert "ann" not in repr(collector.spans)


def test_an_event_and_its_way_into_clickhouse_are_one_trace(traced):
    url, collector = traced
    trace_id, headers = _trace(2)
    event = {"user_id": "ann", "video_id": "v1", "event_type": "like"}
    assert httpx.post(f"{url}/api/v1/events/track", json=event, headers=headers).status_code == 202
    wait_for(lambda: any(not s.failed for s in collector.named("ship events")), "the shipment")
    route = "POST /api/v1/events/track"
    wait_for(lambda: route in _parents(collector, trace_id), "the request")
    assert _parents(collector, trace_id)["ship events"] == route

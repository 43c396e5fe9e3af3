"""Domain events over a real Redis: what lies in the stream, and that nobody waits for it."""

import asyncio
import json
import threading
import time
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry
from pydantic import TypeAdapter
from redis import Redis

from serving.domain_events import (
    STREAM,
    WAITING,
    DomainEvent,
    DomainEvents,
    TrainingCompleted,
    TrainingStarted,
    publish_now,
    recommendations_refreshed,
    training_completed,
    training_started,
)
from stack.settings import Settings
from tests.serving.conftest import free_port, tiny_pack

AT = datetime(2022, 5, 8, 12, tzinfo=UTC)


@pytest.fixture
def stream(redis: Settings) -> Redis:
    connection = Redis.from_url(redis.redis_url, decode_responses=True)
    connection.delete(STREAM)
    return connection


def started(run_id: str = "run-1"):
    return training_started(TrainingStarted(run_id=run_id, job="training_job", trigger="request"), AT)


def read(stream: Redis) -> list[dict[str, str]]:
    return [fields for _, fields in stream.xrange(STREAM)]  # type: ignore[union-attr]


def test_an_event_lies_in_the_stream_as_four_fields(stream: Redis) -> None:
    publish_now(stream, started())
    [fields] = read(stream)
    assert json.loads(fields.pop("payload")) == {
        "run_id": "run-1",
        "job": "training_job",
        "model_type": "all",
        "trigger": "request",
    }
    assert fields.pop("id") == str(started().id)
    assert fields == {"type": "ModelTrainingStarted", "time": "2022-05-08T12:00:00Z"}


def test_an_event_read_back_is_the_event(stream: Redis, tmp_path) -> None:
    done = TrainingCompleted(run_id="run-1", job="training_job", status="FAILURE", duration_s=1.5)
    refreshed = recommendations_refreshed(tiny_pack(tmp_path / "bundle", champion="svd"))
    events = [started(), training_completed(done, AT), refreshed]
    for event in events:
        publish_now(stream, event)
    adapter = TypeAdapter(DomainEvent)
    back = [
        adapter.validate_python({**fields, "payload": json.loads(fields["payload"])})
        for fields in read(stream)
    ]
    assert back == events
    assert refreshed.payload.models == {"svd": 1, "two-tower": 2, "popularity": None}


def test_whoever_tells_of_a_run_its_event_has_the_same_id() -> None:
    assert started().id == training_started(started().payload, datetime.now(UTC)).id
    assert started().id != started("run-2").id
    done = TrainingCompleted(run_id="run-1", job="training_job", status="SUCCESS")
    assert started().id != training_completed(done, AT).id


def test_events_are_published_in_order_from_any_thread_and_counted(stream: Redis, redis: Settings) -> None:
    registry = CollectorRegistry()

    async def run() -> None:
        events = DomainEvents(redis.redis_url, registry)
        events.publish(started("first"))
        thread = threading.Thread(target=events.publish, args=(started("second"),))
        thread.start()
        thread.join()
        await events.close(timeout_s=5)
        events.publish(started("too late"))

    asyncio.run(run())
    assert [json.loads(fields["payload"])["run_id"] for fields in read(stream)] == ["first", "second"]
    labels = {"type": "ModelTrainingStarted", "result": "published"}
    assert registry.get_sample_value("reelgraph_domain_events_total", labels) == 2


def test_redis_down_costs_the_caller_nothing_and_the_newest_are_kept() -> None:
    registry = CollectorRegistry()

    async def run() -> float:
        events = DomainEvents(f"redis://127.0.0.1:{free_port()}/0", registry)
        began = time.perf_counter()
        for number in range(WAITING + 5):
            events.publish(started(str(number)))
        took = time.perf_counter() - began
        await asyncio.sleep(0.05)
        assert [event.payload.run_id for event in events._waiting][:1] == ["5"]
        await events.close(timeout_s=0.1)
        return took

    assert asyncio.run(run()) < 5.0  # a thousand waits for a dead Redis would be longer
    labels = {"type": "ModelTrainingStarted", "result": "lost"}
    assert registry.get_sample_value("reelgraph_domain_events_total", labels) == WAITING + 5


def test_events_of_an_outage_are_published_when_redis_is_back(
    stream: Redis, redis: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        events = DomainEvents(redis.redis_url, CollectorRegistry())
        xadd, failures = events._redis.xadd, iter([True, True])

        async def flaky(*arguments, **options):
            if next(failures, False):
                raise ConnectionError("down")
            return await xadd(*arguments, **options)

        monkeypatch.setattr(events._redis, "xadd", flaky)
        events.publish(started("a"))
        events.publish(started("b"))
        await events.close(timeout_s=5)

    asyncio.run(run())
    assert [json.loads(fields["payload"])["run_id"] for fields in read(stream)] == ["a", "b"]

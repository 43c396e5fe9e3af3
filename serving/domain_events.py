"""What happened to the models, told to other services: events on a Redis stream."""

import asyncio
import contextlib
import logging
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import NAMESPACE_URL, UUID, uuid5

from prometheus_client import CollectorRegistry, Counter
from pydantic import BaseModel, ConfigDict, Field
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError

from serving.bundle import BundleRecord

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

STREAM = "reelgraph:events"
STREAM_LENGTH = 10_000
"""About as many are kept; a reader that is away for longer misses some."""
WAITING = 1000
_BUDGET_S = 2.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 10.0


class _Payload(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainingStarted(_Payload):
    """`model_type`: `all`, or the only kind that is trained; `trigger`: what asked for it."""

    run_id: str
    job: str
    model_type: str = "all"
    trigger: str | None = None


class TrainingCompleted(_Payload):
    run_id: str
    job: str
    status: Literal["SUCCESS", "FAILURE", "CANCELED"]
    duration_s: float | None = None


class Refreshed(_Payload):
    bundle: str
    champion: str
    models: dict[str, int | None]


class _Event(BaseModel):
    """An event may come twice, with the same `id`: readers keep to that."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: UUID
    time: datetime

    def fields(self) -> dict[str, str]:
        """As they lie in the stream: `payload` is JSON."""
        whole = self.model_dump(mode="json")
        payload: BaseModel = self.payload  # type: ignore[attr-defined]
        return {
            "id": whole["id"],
            "type": whole["type"],
            "time": whole["time"],
            "payload": payload.model_dump_json(),
        }


class ModelTrainingStarted(_Event):
    type: Literal["ModelTrainingStarted"] = "ModelTrainingStarted"
    payload: TrainingStarted


class ModelTrainingCompleted(_Event):
    type: Literal["ModelTrainingCompleted"] = "ModelTrainingCompleted"
    payload: TrainingCompleted


class RecommendationsRefreshed(_Event):
    type: Literal["RecommendationsRefreshed"] = "RecommendationsRefreshed"
    payload: Refreshed


DomainEvent = Annotated[
    ModelTrainingStarted | ModelTrainingCompleted | RecommendationsRefreshed, Field(discriminator="type")
]


def training_started(payload: TrainingStarted, at: datetime) -> ModelTrainingStarted:
    """The same event for the same run, whoever tells of it."""
    return ModelTrainingStarted(id=_id("started", payload.run_id), time=at, payload=payload)


def training_completed(payload: TrainingCompleted, at: datetime) -> ModelTrainingCompleted:
    return ModelTrainingCompleted(id=_id("completed", payload.run_id), time=at, payload=payload)


def recommendations_refreshed(record: BundleRecord) -> RecommendationsRefreshed:
    """A bundle was taken into service now. Each endpoint tells of its own swap."""
    now = datetime.now(UTC)
    payload = Refreshed(
        bundle=record.bundle_id,
        champion=record.champion,
        models={kind: model.version for kind, model in record.models.items()},
    )
    return RecommendationsRefreshed(
        id=_id("refreshed", record.bundle_id, now.isoformat()), time=now, payload=payload
    )


def _id(*parts: str) -> UUID:
    return uuid5(NAMESPACE_URL, ":".join(("reelgraph", "event", *parts)))


def publish_now(redis: "Redis", event: _Event) -> None:
    """Put the event into the stream and wait for it; raises `redis.exceptions.RedisError`."""
    redis.xadd(STREAM, event.fields(), maxlen=STREAM_LENGTH, approximate=True)  # type: ignore[arg-type]


class DomainEvents:
    """Publishes from the background of one event loop; nobody waits for Redis. When it is down, the newest `WAITING`
    events wait, and are published once it is back."""

    def __init__(self, redis_url: str, registry: CollectorRegistry) -> None:
        self._redis = AsyncRedis.from_url(redis_url, socket_connect_timeout=1.0, socket_timeout=_BUDGET_S)
        self._waiting: deque[_Event] = deque()
        self._something = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._publish_all(), name="domain events")
        self._published = Counter(
            "reelgraph_domain_events", "Events published, and lost", ["type", "result"], registry=registry
        )

    def publish(self, event: _Event) -> None:
        """Never blocks, never raises; from any thread."""
        # The loop may be closed already when a last bundle is swapped in: then nobody listens any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._take, event)

    async def close(self, timeout_s: float = 1.0) -> None:
        """Publish what waits, if Redis answers within `timeout_s`."""
        deadline = self._loop.time() + timeout_s
        await asyncio.sleep(0)  # what was handed over from threads
        while self._waiting and self._loop.time() < deadline:
            await asyncio.sleep(0.01)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        for event in self._waiting:
            self._count(event, "lost")
        await self._redis.aclose()

    def _take(self, event: _Event) -> None:
        if len(self._waiting) >= WAITING:
            self._count(self._waiting.popleft(), "lost")
        self._waiting.append(event)
        self._something.set()

    async def _publish_all(self) -> None:
        wait = _FIRST_WAIT_S
        while True:
            await self._something.wait()
            event = self._waiting[0]
            try:
                async with asyncio.timeout(_BUDGET_S):
                    fields = event.fields()
                    await self._redis.xadd(STREAM, fields, maxlen=STREAM_LENGTH, approximate=True)  # type: ignore[arg-type]
            except (RedisError, OSError, TimeoutError) as error:
                if wait == _FIRST_WAIT_S:
                    log.warning("domain events wait: Redis does not answer (%s)", type(error).__name__)
                await asyncio.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT_S)
                continue
            wait = _FIRST_WAIT_S
            if self._waiting and self._waiting[0] is event:  # it may have made room meanwhile
                self._waiting.popleft()
            self._count(event, "published")
            if not self._waiting:
                self._something.clear()

    def _count(self, event: _Event, result: str) -> None:
        self._published.labels(event.type, result).inc()  # type: ignore[attr-defined]

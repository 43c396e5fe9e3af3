"""Trainings that begin or end are told of once, in order, with what they are; also when Redis was down."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from redis import Redis

from orchestration.defs.domain_events import training_events_sensor
from orchestration.training_events import Cursor
from serving.domain_events import STREAM
from stack.settings import Settings
from tests.conftest import free_ports
from tests.orchestration.test_blocking_check import StoresAt


class StoresOf(StoresAt):
    """Stores whose Redis is at a port."""

    port: int

    @property
    def settings(self) -> Settings:
        return Settings(_env_file=None, home=Path(self.home), redis_port=self.port)  # type: ignore[call-arg]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


@pytest.fixture
def stream(redis: Settings) -> Redis:
    connection = Redis.from_url(redis.redis_url, decode_responses=True)
    connection.delete(STREAM)
    return connection


def tick(
    instance: dg.DagsterInstance, cursor: str | None, port: int, tmp_path: Path
) -> dg.SensorResult | dg.SkipReason:
    context = dg.build_sensor_context(
        instance=instance, cursor=cursor, resources={"stores": StoresOf(home=str(tmp_path), port=port)}
    )
    result = training_events_sensor(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def run(instance: dg.DagsterInstance, job: str, *, good: bool = True) -> str:
    @dg.op
    def work() -> None:
        if not good:
            raise dg.Failure("no good")

    @dg.job(name=job, tags={"reelgraph/trigger": "drift", "reelgraph/model_type": "svd"})
    def made() -> None:
        work()

    return made.execute_in_process(instance=instance, raise_on_error=False).run_id


def read(stream: Redis) -> list[tuple[str, dict]]:
    return [(f["type"], json.loads(f["payload"])) for _, f in stream.xrange(STREAM)]  # type: ignore[union-attr]


BEFORE = Cursor(datetime(2020, 1, 1, tzinfo=UTC).isoformat()).dump()


def test_a_training_is_told_of_when_it_began_and_how_it_ended(
    instance: dg.DagsterInstance, redis: Settings, stream: Redis, tmp_path: Path
) -> None:
    good = run(instance, "training_job")
    bad = run(instance, "everything_job", good=False)
    run(instance, "features_job")
    result = tick(instance, BEFORE, redis.redis_port, tmp_path)
    assert isinstance(result, dg.SensorResult)
    told = read(stream)
    durations = [payload.pop("duration_s") for kind, payload in told if kind == "ModelTrainingCompleted"]
    assert all(0 < duration < 60 for duration in durations)
    about = {"model_type": "svd", "trigger": "drift"}
    assert told == [
        ("ModelTrainingStarted", {"run_id": good, "job": "training_job", **about}),
        ("ModelTrainingCompleted", {"run_id": good, "job": "training_job", "status": "SUCCESS"}),
        ("ModelTrainingStarted", {"run_id": bad, "job": "everything_job", **about}),
        ("ModelTrainingCompleted", {"run_id": bad, "job": "everything_job", "status": "FAILURE"}),
    ]
    again = tick(instance, result.cursor, redis.redis_port, tmp_path)
    assert "no training began or ended" in str(again.skip_reason)  # type: ignore[union-attr]
    assert len(read(stream)) == 4


def test_events_wait_while_redis_is_down(
    instance: dg.DagsterInstance, redis: Settings, stream: Redis, tmp_path: Path
) -> None:
    run(instance, "training_job")
    down = tick(instance, BEFORE, free_ports(1)[0], tmp_path)
    assert isinstance(down, dg.SkipReason)
    assert "2 events wait" in str(down.skip_message)
    tick(instance, BEFORE, redis.redis_port, tmp_path)  # Dagster keeps the cursor of before
    assert [kind for kind, _ in read(stream)] == ["ModelTrainingStarted", "ModelTrainingCompleted"]


def test_the_first_tick_tells_nothing_of_the_past(
    instance: dg.DagsterInstance, redis: Settings, stream: Redis, tmp_path: Path
) -> None:
    run(instance, "training_job")
    result = tick(instance, None, redis.redis_port, tmp_path)
    assert isinstance(result, dg.SensorResult)
    assert read(stream) == []
    later = run(instance, "training_job")
    tick(instance, result.cursor, redis.redis_port, tmp_path)
    assert {payload["run_id"] for _, payload in read(stream)} == {later}

"""Trainings started by a request: one at a time, each a run of Dagster's `training_job`."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from serving.domain_events import ModelTrainingStarted, TrainingStarted, training_started
from serving.telemetry.metrics import Metrics
from serving.trainings.dagster_api import (
    LAUNCH_BUDGET_S,
    UNDER_WAY,
    DagsterApi,
    DagsterDownError,
    DagsterRefusedError,
    DagsterRun,
)
from stack.settings import Settings

log = logging.getLogger(__name__)

JOB = "training_job"
TRAINING_JOBS = (JOB, "everything_job")
"""Jobs that train: while one of them runs, no other is started."""
WINDOW_OP = "training_models"
CLOCKS_DIFFER_S = 10.0
"""Between Dagster, which dates a run, and us."""
KEY_TAG, REQUEST_TAG = "reelgraph/idempotency_key", "reelgraph/request"
TYPE_TAG, TRIGGER_TAG = "reelgraph/model_type", "reelgraph/trigger"
START_TAG, END_TAG = "reelgraph/start_date", "reelgraph/end_date"

ModelType = Literal["all", "svd", "als", "item-item", "content", "popularity", "two-tower", "hybrid"]
# What follows a model: it is judged beside the others as they are, registered, and served if it wins.
_AFTERWARDS = ("model_evaluation", "registered_models", "promotion_decision", "serving_bundle")
_PARTS_OF_HYBRID = ("als_model", "item_item_model", "content_model", "two_tower_model")
"""The hybrid is made of these as they are."""

STATUSES: Mapping[str, str] = {
    "NOT_STARTED": "queued",
    "QUEUED": "queued",
    "MANAGED": "queued",
    "STARTING": "running",
    "STARTED": "running",
    "CANCELING": "running",
    "SUCCESS": "succeeded",
    "FAILURE": "failed",
    "CANCELED": "canceled",
}


def _iso(value: object) -> object:
    """Only `YYYY-MM-DD`: pydantic would also take numbers for days since 1970."""
    if (isinstance(value, str) and len(value) == 10) or isinstance(value, date) or value is None:
        return value
    raise ValueError("must be a day, YYYY-MM-DD")


# Within what ClickHouse's DateTime64 holds, and windows count in 16 bits.
Day = Annotated[date, BeforeValidator(_iso), Field(ge=date(1970, 1, 1), le=date(2199, 12, 31))]


class TrainingRequest(BaseModel):
    """What to train, on which days."""

    model_config = ConfigDict(extra="forbid")

    model_type: ModelType = Field(
        "all",
        description="`all`: a new training set, and every model of it. One kind: that model again, on the training set "
        "there is; it is judged beside the others",
    )
    start_date: Day | None = Field(
        None,
        description="first day (UTC) to train on; 90 days before the end if not given",
        examples=["2022-05-01"],
    )
    end_date: Day | None = Field(
        None,
        description="last day (UTC) to train on; the newest there is if not given",
        examples=["2022-05-31"],
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.start_date and self.end_date and self.start_date > self.end_date:
            raise ValueError("start_date is after end_date")
        if self.model_type != "all" and (self.start_date or self.end_date):
            raise ValueError(
                "dates make another training set, of which all models must be made: model_type all"
            )
        return self

    @property
    def assets(self) -> tuple[str, ...]:
        """Of the job's, those to materialize; empty for all."""
        if self.model_type == "all":
            return ()
        return (f"{self.model_type.replace('-', '_')}_model", *_AFTERWARDS)

    @property
    def run_config(self) -> dict[str, Any]:
        dates = self.model_dump(mode="json", include={"start_date", "end_date"}, exclude_none=True)
        return {"ops": {WINDOW_OP: {"config": dates}}} if dates else {}


class TrainingUnderWayError(Exception):
    """Another training has not ended: `run_id`."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"training {run_id} is under way")
        self.run_id = run_id


class KeyOfAnotherTrainingError(Exception):
    """The idempotency key was used for a training with other parameters."""


class UnknownTrainingError(Exception):
    """There is no such run, or it is no training."""


@dataclass(frozen=True)
class Training:
    """`status` is ours (`STATUSES`), `dagster_status` Dagster's. Times are epoch seconds."""

    run_id: str
    status: str
    dagster_status: str
    url: str
    model_type: str
    start_date: str | None = None
    end_date: str | None = None
    trigger: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    replayed: bool = False


class TrainingRuns:
    """Part `training` of the endpoint's state. Methods raise `DagsterDownError` and `DagsterRefusedError` too."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        publish: Callable[[ModelTrainingStarted], None] = lambda event: None,
        *,
        api: DagsterApi | None = None,
    ) -> None:
        self._ui = settings.dagster_url
        self._api = api or DagsterApi(settings, metrics)
        self._publish = publish
        self._one = asyncio.Lock()

    async def close(self) -> None:
        await self._api.close()

    async def start(self, asked: TrainingRequest, key: str | None) -> Training:
        """Start a training, or find the one that this key has started.

        Raises `TrainingUnderWayError`, `KeyOfAnotherTrainingError`."""
        request = asked.model_dump_json()
        tags = {TYPE_TAG: asked.model_type, TRIGGER_TAG: "request", REQUEST_TAG: _hash(request)}
        tags |= {START_TAG: str(asked.start_date)} if asked.start_date else {}
        tags |= {END_TAG: str(asked.end_date)} if asked.end_date else {}
        async with self._one:
            if key:
                tags[KEY_TAG] = _hash(key)
                for run in await self._api.runs(tags=[{"key": KEY_TAG, "value": tags[KEY_TAG]}]):
                    if _counts_for_nothing(run):
                        continue
                    if run.tags.get(REQUEST_TAG) != tags[REQUEST_TAG]:
                        raise KeyOfAnotherTrainingError("this Idempotency-Key started another training")
                    return self._training(run, replayed=True)
            if under_way := await self._under_way():
                raise TrainingUnderWayError(under_way[0].run_id)
            run_id, status = await self._api.launch(
                JOB, assets=asked.assets, config=asked.run_config, tags=tags
            )
            await self._give_way(run_id)
        log.info("training %s was started by a request (%s)", run_id, asked.model_type)
        payload = TrainingStarted(run_id=run_id, job=JOB, model_type=asked.model_type, trigger="request")
        self._publish(training_started(payload, datetime.now(UTC)))
        return self._training(DagsterRun(run_id, JOB, status, time.time(), None, None, tags))

    async def _under_way(self) -> list[DagsterRun]:
        """Trainings that have not ended, the first to be created first."""
        runs = [run for run in await self._api.runs(statuses=list(UNDER_WAY)) if run.job in TRAINING_JOBS]
        return sorted(runs, key=lambda run: (run.created_at, run.run_id))

    async def _give_way(self, run_id: str) -> None:
        """Another replica, or a schedule, may have started one between our look and our launch: the first stays.

        If Dagster cannot say, ours stays: its runs wait for each other (`orchestration.pools`)."""
        try:
            under_way = [run.run_id for run in await self._under_way()]
            if run_id in under_way[1:]:
                await self._api.cancel(run_id)
                raise TrainingUnderWayError(under_way[0])
        except (DagsterDownError, DagsterRefusedError) as error:
            log.warning("whether training %s is the only one is not known: %s", run_id, error)

    async def status(self, run_id: str) -> Training:
        """Raises `UnknownTrainingError`."""
        for run in await self._api.runs(runIds=[run_id]):
            if run.job in TRAINING_JOBS:
                return self._training(run)
        raise UnknownTrainingError(f"no training {run_id}")

    def _training(self, run: DagsterRun, *, replayed: bool = False) -> Training:
        return Training(
            run_id=run.run_id,
            status=STATUSES.get(run.status, "running"),
            dagster_status=run.status,
            url=f"{self._ui}/runs/{run.run_id}",
            model_type=run.tags.get(TYPE_TAG, "all"),
            start_date=run.tags.get(START_TAG),
            end_date=run.tags.get(END_TAG),
            trigger=run.tags.get(TRIGGER_TAG),
            started_at=run.started_at,
            ended_at=run.ended_at,
            replayed=replayed,
        )


def seconds_of(training: Training) -> float | None:
    """How long it took, or has taken so far."""
    if training.started_at is None:
        return None
    return max(0.0, (training.ended_at or time.time()) - training.started_at)


def _counts_for_nothing(run: DagsterRun) -> bool:
    """It gave way or was not wanted; or its launch broke half-way and nothing will ever start it."""
    if run.status == "NOT_STARTED":
        return time.time() - run.created_at > LAUNCH_BUDGET_S + CLOCKS_DIFFER_S
    return run.status in ("CANCELED", "CANCELING")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:40]

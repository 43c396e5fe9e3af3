"""Training routes: start one, see how it goes."""

import logging
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Header, Path, Request, Response
from pydantic import BaseModel, Field

from serving.api.common import responses
from serving.api.state import State
from serving.problems import problem
from serving.trainings.dagster_api import DagsterDownError, DagsterRefusedError
from serving.trainings.runs import (
    KeyOfAnotherTrainingError,
    Training,
    TrainingRequest,
    TrainingUnderWayError,
    UnknownTrainingError,
    seconds_of,
)

log = logging.getLogger(__name__)

RETRY_AFTER_S = {"Retry-After": "10"}
TRAIN = "/api/v1/recs/train"
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="the same key is one training, however often it is asked for",
    ),
]
RunId = Annotated[
    str,
    Path(
        pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        examples=["3f1f8d3e-6f0a-4c59-9f5e-0c1f2b7b9a11"],
    ),
]


class TrainingAnswer(BaseModel):
    """`url` is the run's page in Dagster; `status_url` tells how it goes."""

    request_id: str
    run_id: str
    status: Literal["queued", "running", "succeeded", "failed", "canceled"]
    dagster_status: str = Field(examples=["STARTED"])
    url: str
    status_url: str
    model_type: str = Field(examples=["all"])
    start_date: date | None
    end_date: date | None
    trigger: str | None = Field(description="what asked for it: request, drift, demo; null for a schedule")
    started_at: datetime | None
    ended_at: datetime | None
    duration_s: float | None
    replayed: bool = Field(description="an earlier request with this key had started it")


def _described() -> dict[int | str, dict[str, Any]]:
    described = responses(TrainingAnswer, 400, 409, 422)
    described[202] = {**described.pop(200), "description": "Asked for, or started earlier with this key"}
    return described


def add(app: FastAPI, state: State) -> None:
    @app.post(TRAIN, tags=["training"], summary="Start a training", status_code=202, responses=_described())
    async def train(request: Request, asked: TrainingRequest, idempotency_key: Key = None) -> Response:
        """A run of Dagster's `training_job`, one at a time: 409 names the one under way (`run_id`). What is trained
        goes through the gate before it serves."""
        request_id = request.state.request_id
        if state.training is None:
            return _down("trainings are not started here", request_id)
        try:
            training = await state.training.start(asked, idempotency_key)
        except TrainingUnderWayError as error:
            more = {"run_id": error.run_id, "status_url": f"{TRAIN}/{error.run_id}"}
            return problem(409, str(error), request_id, headers=RETRY_AFTER_S, **more)
        except KeyOfAnotherTrainingError as error:
            return problem(422, str(error), request_id)
        except DagsterDownError as error:
            return _down(str(error), request_id)
        except DagsterRefusedError as error:
            log.warning("Dagster refuses a training: %s", error)
            return _down("Dagster refuses to start the training", request_id)
        return _answer(training, request_id, 202)

    @app.get(
        f"{TRAIN}/{{run_id}}",
        tags=["training"],
        summary="Status of a training",
        responses=responses(TrainingAnswer, 404, 422),
    )
    async def training(request: Request, run_id: RunId) -> Response:
        """Of any training, whatever started it."""
        request_id = request.state.request_id
        if state.training is None:
            return _down("trainings are not followed here", request_id)
        try:
            return _answer(await state.training.status(run_id), request_id, 200)
        except UnknownTrainingError as error:
            return problem(404, str(error), request_id)
        except (DagsterDownError, DagsterRefusedError) as error:
            log.warning("the status of a training cannot be read: %s", error)
            return _down("Dagster does not answer now", request_id)


def _answer(training: Training, request_id: str, status: int) -> Response:
    answer = TrainingAnswer(
        request_id=request_id,
        run_id=training.run_id,
        status=training.status,  # type: ignore[arg-type]
        dagster_status=training.dagster_status,
        url=training.url,
        status_url=f"{TRAIN}/{training.run_id}",
        model_type=training.model_type,
        start_date=training.start_date,  # type: ignore[arg-type]
        end_date=training.end_date,  # type: ignore[arg-type]
        trigger=training.trigger,
        started_at=_utc(training.started_at),
        ended_at=_utc(training.ended_at),
        duration_s=seconds_of(training),
        replayed=training.replayed,
    )
    headers = {"Location": answer.status_url} if status == 202 else {}
    return Response(answer.model_dump_json(), status, headers, "application/json")


def _utc(moment: float | None) -> datetime | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC)


def _down(detail: str, request_id: str) -> Response:
    return problem(503, detail, request_id, headers=RETRY_AFTER_S)

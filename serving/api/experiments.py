"""The experiments: what is tried, and what a user gets."""

from typing import Annotated

import orjson
from fastapi import FastAPI, Query, Request, Response

from serving.api.common import responses
from serving.api.experiments_schemas import ExperimentsAnswer, ExperimentsRequest
from serving.api.lists import refused
from serving.api.state import State
from serving.experiments.declaration import Experiment
from serving.problems import problem


def add(app: FastAPI, state: State) -> None:
    """Before the routes of `/api/v1/recs/{user_id}`, which would take `experiments` for a user."""

    @app.get(
        "/api/v1/recs/experiments",
        tags=["experiments"],
        summary="Experiments, and what a user gets",
        responses=responses(ExperimentsAnswer, 401, 403, 422, 429),
    )
    async def experiments(request: Request, asked: Annotated[ExperimentsRequest, Query()]) -> Response:
        """Every declared A/B test with its variants; `running` says which users are in now. Asking counts as no
        exposure: only lists do."""
        request_id = request.state.request_id
        if asked.user_id is not None and (no := refused(state, request, asked.user_id)) is not None:
            return no
        held = state.experiments
        if held is None:
            return problem(503, "experiments are not available", request_id)
        user = None
        if asked.user_id is not None:
            got = held.would_get(state.known_as(asked.user_id))
            user = {"user_id": asked.user_id, "variants": got.variants, "parameters": got.parameters}
        running = {experiment.id for experiment in held.running()}
        content = {
            "request_id": request_id,
            "experiments": [_told(one, running=one.id in running) for one in held.declared()],
            "user": user,
            "problem": held.problem,
        }
        return Response(orjson.dumps(content), media_type="application/json")


def _told(experiment: Experiment, *, running: bool) -> dict[str, object]:
    told = experiment.model_dump(
        include={
            *("id", "description", "status", "start", "end"),
            *("traffic", "group", "slot", "control", "variants"),
        },
        mode="json",
    )
    return {**told, "running": running}

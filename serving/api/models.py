"""Model routes: what is registered, under which aliases, how good, and from what."""

from typing import Annotated

from fastapi import FastAPI, Path, Query, Request, Response

from serving.api.common import responses
from serving.api.state import State
from serving.problems import problem
from serving.registry.answers import ModelAnswer, ModelsAnswer, ModelVersion, Version, described
from serving.registry.reader import MODEL_NAME, Reading, RegistryDownError, RegistryReader
from serving.schemas import Limit, Offset

RETRY_AFTER_S = {"Retry-After": "5"}
_WORD = r"^[A-Za-z0-9._-]+$"
ModelId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=64,
        pattern=_WORD,
        description="a version's number, or an alias",
        examples=["champion"],
    ),
]
Algorithm = Annotated[
    str | None, Query(min_length=1, max_length=64, pattern=_WORD, description="only versions of this kind")
]


def add(app: FastAPI, state: State) -> None:
    @app.get(
        "/api/v1/recs/models",
        tags=["models"],
        summary="Registered model versions",
        response_model=ModelsAnswer,
        responses=responses(ModelsAnswer, 422),
    )
    async def models(
        request: Request, algorithm: Algorithm = None, limit: Limit = 20, offset: Offset = 0
    ) -> Response:
        """Newest first, from MLflow; at most half a minute old, or marked `degraded`."""
        request_id = request.state.request_id
        found = await _versions(state, request_id)
        if isinstance(found, Response):
            return found
        registry, reading = found
        matching = [v for v in reading.versions if algorithm is None or v.algorithm == algorithm]
        shown, because = await _described(
            registry, state, matching[offset : offset + limit], reading.degraded_because
        )
        answer = ModelsAnswer(
            request_id=request_id,
            name=MODEL_NAME,
            total=len(matching),
            limit=limit,
            offset=offset,
            degraded=bool(because),
            degraded_because=because,
            models=shown,
        )
        return Response(answer.model_dump_json(), media_type="application/json")

    @app.get(
        "/api/v1/recs/models/{model_id}",
        tags=["models"],
        summary="One registered model version",
        response_model=ModelAnswer,
        responses=responses(ModelAnswer, 404, 422),
    )
    async def model(request: Request, model_id: ModelId) -> Response:
        """By its number, or by an alias such as `champion`."""
        request_id = request.state.request_id
        found = await _versions(state, request_id)
        if isinstance(found, Response):
            return found
        registry, reading = found
        version = next((v for v in reading.versions if str(v.number) == model_id), None)
        version = version or next((v for v in reading.versions if model_id in v.aliases), None)
        if version is None:
            return problem(404, f"{MODEL_NAME} has no version and no alias {model_id}", request_id)
        [shown], because = await _described(registry, state, [version], reading.degraded_because)
        answer = ModelAnswer(
            request_id=request_id,
            name=MODEL_NAME,
            degraded=bool(because),
            degraded_because=because,
            model=shown,
        )
        return Response(answer.model_dump_json(), media_type="application/json")


async def _versions(state: State, request_id: str) -> tuple[RegistryReader, Reading] | Response:
    if state.registry is None:
        return problem(503, "the registry is not read here", request_id, headers=RETRY_AFTER_S)
    try:
        return state.registry, await state.registry.versions()
    except RegistryDownError as error:
        return problem(503, str(error), request_id, headers=RETRY_AFTER_S)


async def _described(
    registry: RegistryReader, state: State, versions: list[Version], because: tuple[str, ...]
) -> tuple[list[ModelVersion], list[str]]:
    runs = await registry.runs(version.run_id for version in versions if version.run_id)
    served = {m.version for m in state.serving.record.models.values()} if state.serving else set()
    shown = [
        described(v, runs.get(v.run_id or ""), registry.ui_url, in_service=v.number in served)
        for v in versions
    ]
    unread = sum(1 for version in versions if version.run_id and version.run_id not in runs)
    return shown, [*because, *([f"the metrics of {unread} versions cannot be read now"] if unread else [])]

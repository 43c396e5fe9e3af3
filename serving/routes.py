"""The routes of the endpoint, as a FastAPI app; BentoML serves it (serving.service)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import bentoml
import orjson
from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.staticfiles import StaticFiles

from serving import problems, schemas
from serving.answers import list_answer
from serving.context import RecentItems
from serving.errors import UnknownVideoError
from serving.live import LiveBundle, Serving
from serving.metrics import CONTENT_TYPE, Metrics
from serving.problems import problem
from serving.ranking import Ranking

RETRY_AFTER_S = "2"
STATIC = Path(__file__).parent / "static"
# BentoML carries Swagger UI; its own page would load it from a CDN.
SWAGGER = Path(bentoml.__file__).parent / "_internal" / "server" / "static_content"

DESCRIPTION = """Short-video recommendations. Every list names the bundle and the registered model version it was made
with, and a `request_id` (also the header `X-Request-ID`). Videos a user has met never come back. Errors are
`application/problem+json`."""


@dataclass
class State:
    """What the routes answer from; filled in when the service starts."""

    metrics: Metrics = field(default_factory=Metrics)
    live: LiveBundle | None = None
    recent: RecentItems | None = None

    @property
    def serving(self) -> Serving | None:
        return self.live.current if self.live else None

    def known_as(self, user_id: str) -> str:
        """The id to answer for; nobody's for a user who was erased."""
        return self.live.opt_out.known_as(user_id) if self.live else user_id


def create_app(state: State) -> FastAPI:
    """The app over `state`; nothing is read or connected here."""
    app = FastAPI(
        title="Reelgraph recommendations",
        description=DESCRIPTION,
        version="1",
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    problems.install(app)
    _add_lists(app, state)
    _add_operations(app, state)
    return app


def _responses(answer: type, *statuses: int) -> dict[int | str, dict[str, Any]]:
    described: dict[int | str, dict[str, Any]] = {200: {"model": answer}}
    for status in (*statuses, 503):
        content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        described[status] = {"description": problems.TITLES[status], "content": content}
    return described


def _not_ready(state: State, request_id: str) -> Response:
    missing = ["no bundle has been published yet"]
    if state.live and state.live.refused:
        missing = [f"bundle {state.live.refused.tag} is refused: {state.live.refused.reason}"]
    headers = {"Retry-After": RETRY_AFTER_S}
    return problem(
        503, f"no bundle is in service: {missing[0]}", request_id, headers=headers, missing=missing
    )


def _list(serving: Serving, page: Ranking, state: State, missing: list[str], **about: Any) -> Response:
    state.metrics.lists.labels(page.source, page.kind).inc()
    if page.degraded:
        state.metrics.degraded.labels("model").inc()
    if missing:
        state.metrics.degraded.labels("recent_items").inc()
    body = list_answer(serving, page, missing=missing, **about)
    return Response(body, headers={"X-Bundle-ID": serving.record.bundle_id}, media_type="application/json")


async def _personal(state: State, request: Request, asked: Any, kind: str | None) -> Response:
    """One list for a user: the feed, or that of one kind of model."""
    serving = state.serving
    if serving is None:
        return _not_ready(state, request.state.request_id)
    user_id = state.known_as(asked.user_id)
    erased = user_id != asked.user_id
    recent = [] if erased else await state.recent.of(user_id) if state.recent else None
    missing = ["recent items are unavailable"] if recent is None else []
    ranker = serving.ranker
    if kind is None:
        page = ranker.feed(user_id, asked.limit, asked.offset, recent or ())
    else:
        page = ranker.by_kind(kind, user_id, asked.limit, asked.offset, recent or ())
    return _list(
        serving, page, state, missing,
        request_id=request.state.request_id, limit=asked.limit, user_id=asked.user_id,
    )  # fmt: skip


def _add_lists(app: FastAPI, state: State) -> None:
    feed_path = "/api/v1/recommendations/feed"
    described = _responses(schemas.FeedAnswer, 400, 422)

    @app.get(feed_path, tags=["recommendations"], summary="Feed of a user", responses=described)
    async def feed(request: Request, asked: Annotated[schemas.FeedRequest, Query()]) -> Response:
        """The champion's list; trending for an unknown user (`source: trending`)."""
        return await _personal(state, request, asked, None)

    @app.post(feed_path, tags=["recommendations"], summary="Feed of a user", responses=described)
    async def feed_by_post(request: Request, asked: schemas.FeedRequest) -> Response:
        """The same as GET."""
        return await _personal(state, request, asked, None)

    @app.get(
        "/api/v1/recommendations/similar/{video_id}",
        tags=["recommendations"],
        summary="Videos similar to one",
        responses=_responses(schemas.SimilarAnswer, 404, 422),
    )
    async def similar(
        request: Request, video_id: schemas.VideoId, limit: schemas.Limit = 10, offset: schemas.Offset = 0
    ) -> Response:
        """score = 10 * same category + 5 * shared tags + (10 - abs(duration difference in s) / 60)
        + 10 * cosine of the embeddings."""
        serving = state.serving
        request_id = request.state.request_id
        if serving is None:
            return _not_ready(state, request_id)
        try:
            page = serving.ranker.similar(video_id, limit, offset)
        except UnknownVideoError:
            return problem(404, f"no video {video_id} in the catalogue", request_id)
        return _list(serving, page, state, [], request_id=request_id, limit=limit, video_id=video_id)

    @app.post(
        "/api/v1/inference/recommend",
        tags=["inference"],
        summary="List of the SVD model",
        responses=described,
    )
    async def recommend(request: Request, asked: schemas.InferenceRequest) -> Response:
        """The `svd` alias's model, whatever the champion is."""
        return await _personal(state, request, asked, "svd")

    @app.post(
        "/api/v1/inference/recommend-dl",
        tags=["inference"],
        summary="List of the two-tower model",
        responses=described,
    )
    async def recommend_dl(request: Request, asked: schemas.InferenceRequest) -> Response:
        """The `two-tower` alias's model, whatever the champion is."""
        return await _personal(state, request, asked, "two-tower")


def _add_operations(app: FastAPI, state: State) -> None:
    @app.get("/health", tags=["operations"], summary="Liveness", response_model=schemas.Health)
    async def health() -> Response:
        """The process answers, with or without a bundle."""
        return Response(b'{"status":"ok"}', media_type="application/json")

    @app.get("/health/ready", tags=["operations"], summary="Readiness", responses=_responses(schemas.Ready))
    async def ready(request: Request) -> Response:
        """200 once a bundle is in service, and which; 503 says what is missing."""
        serving = state.serving
        if serving is None or state.live is None:
            return _not_ready(state, request.state.request_id)
        record, refused = serving.record, state.live.refused
        content = {
            "status": "ready",
            "bundle": record.bundle_id,
            "champion": record.champion,
            "models": {kind: model.version for kind, model in record.models.items()},
            "training_set": record.training_set.get("version"),
            "created_at": record.created_at.isoformat(),
            "refused": {"tag": refused.tag, "reason": refused.reason} if refused else None,
            "opt_out": state.live.opt_out.version,
            "recent_items": "ok" if state.recent and state.recent.available else "unavailable",
        }
        return Response(orjson.dumps(content), media_type="application/json")

    @app.get("/metrics", tags=["operations"], summary="Prometheus metrics")
    async def metrics() -> Response:
        return Response(state.metrics.render(), media_type=CONTENT_TYPE)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return Response((STATIC / "docs.html").read_bytes(), media_type="text/html")

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse("/docs")

    app.mount("/docs/assets", StaticFiles(directory=SWAGGER), name="swagger")

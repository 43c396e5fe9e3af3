"""Recommendation and inference routes: ranked lists."""

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response

from serving import schemas
from serving.answers import list_answer
from serving.api.common import not_ready, responses
from serving.api.state import State
from serving.errors import UnknownVideoError
from serving.live import Serving
from serving.problems import problem
from serving.ranking import Ranking


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
        return not_ready(state, request.state.request_id)
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


def add(app: FastAPI, state: State) -> None:
    feed_path = "/api/v1/recommendations/feed"
    described = responses(schemas.FeedAnswer, 400, 422)

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
        responses=responses(schemas.SimilarAnswer, 404, 422),
    )
    async def similar(
        request: Request, video_id: schemas.VideoId, limit: schemas.Limit = 10, offset: schemas.Offset = 0
    ) -> Response:
        """score = 10 * same category + 5 * shared tags + (10 - abs(duration difference in s) / 60)
        + 10 * cosine of the embeddings."""
        serving = state.serving
        request_id = request.state.request_id
        if serving is None:
            return not_ready(state, request_id)
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

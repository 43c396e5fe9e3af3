"""Recommendation and inference routes: ranked lists."""

from typing import Annotated

from fastapi import FastAPI, Query, Request, Response

from serving import schemas
from serving.api.common import not_ready, responses
from serving.api.state import State
from serving.errors import UnknownVideoError
from serving.experiments.errors import UnknownExperimentError
from serving.lists.lists import Ask, list_for
from serving.lists.related import next_for, similar_for
from serving.live import Serving
from serving.problems import problem

FEED = "/api/v1/recommendations/feed"


def _answer(serving: Serving, body: bytes) -> Response:
    headers = {"X-Bundle-ID": serving.record.bundle_id}
    return Response(body, headers=headers, media_type="application/json")


def refused(state: State, request: Request, user_id: str) -> Response | None:
    """A problem if the caller may not act for this user."""
    if state.security is None or state.security.may_act_for(request, user_id):
        return None
    return problem(403, "this caller may not ask for that user", request.state.request_id)


async def personal(state: State, request: Request, ask: Ask) -> Response:
    """One list for a user."""
    if (no := refused(state, request, ask.user_id)) is not None:
        return no
    serving = state.serving  # once: an answer is of one bundle
    if serving is None:
        return not_ready(state, ask.request_id)
    try:
        return _answer(serving, await list_for(state, serving, ask))
    except UnknownExperimentError as error:
        errors = [{"field": "experiment_id", "message": str(error)}]
        return problem(422, f"experiment_id: {error}", ask.request_id, errors=errors)


def feed_ask(request: Request, asked: schemas.FeedRequest) -> Ask:
    return Ask(
        asked.user_id, asked.limit, asked.offset, request.state.request_id, "feed",
        explain=asked.explain, experiment=asked.experiment_id,
    )  # fmt: skip


def add(app: FastAPI, state: State) -> None:
    _add_inference(app, state)
    described = responses(schemas.FeedAnswer, 400, 401, 403, 422, 429)

    @app.get(FEED, tags=["recommendations"], summary="Feed of a user", responses=described)
    async def feed(request: Request, asked: Annotated[schemas.FeedRequest, Query()]) -> Response:
        """The champion's list, what the user just did taken into account; trending for an unknown user."""
        return await personal(state, request, feed_ask(request, asked))

    @app.post(FEED, tags=["recommendations"], summary="Feed of a user", responses=described)
    async def feed_by_post(request: Request, asked: schemas.FeedBody) -> Response:
        """The same as GET."""
        return await personal(state, request, feed_ask(request, asked))

    @app.get(
        "/api/v1/recs/{user_id}", tags=["recommendations"], summary="List of a kind", responses=described
    )
    async def recs(
        request: Request, user_id: schemas.UserId, asked: Annotated[schemas.RecsRequest, Query()]
    ) -> Response:
        """`type`: `feed` (the default), `trending`, or a kind of model."""
        model = {"feed": None, "trending": "popularity"}.get(asked.type, asked.type)
        ask = Ask(
            user_id, asked.limit, asked.offset, request.state.request_id, f"recs/{asked.type}", model,
            explain=asked.explain, experiment=asked.experiment_id, session=asked.type != "trending",
        )  # fmt: skip
        return await personal(state, request, ask)

    @app.get(
        "/api/v1/recs/{user_id}/{current_video_id}",
        tags=["recommendations"],
        summary="What to play next",
        responses=responses(schemas.NextAnswer, 401, 403, 404, 422, 429),
    )
    async def next_video(
        request: Request,
        user_id: schemas.UserId,
        current_video_id: schemas.VideoId,
        asked: Annotated[schemas.NextRequest, Query()],
    ) -> Response:
        """score = 0.6 * norm(collaborative) + 0.4 * norm(content), by how alike videos are to the current one."""
        if (no := refused(state, request, user_id)) is not None:
            return no
        serving, request_id = state.serving, request.state.request_id
        if serving is None:
            return not_ready(state, request_id)
        try:
            body = await next_for(state, serving, user_id, current_video_id, asked.limit, request_id)
        except UnknownVideoError:
            return problem(404, f"no video {current_video_id} in the catalogue", request_id)
        return _answer(serving, body)

    @app.get(
        "/api/v1/recommendations/similar/{video_id}",
        tags=["recommendations"],
        summary="Videos similar to one",
        responses=responses(schemas.SimilarAnswer, 401, 404, 422, 429),
    )
    async def similar(
        request: Request, video_id: schemas.VideoId, asked: Annotated[schemas.SimilarRequest, Query()]
    ) -> Response:
        """score = 10 * same category + 5 * shared tags + (10 - abs(duration difference in s) / 60)
        + 10 * cosine of the embeddings."""
        serving, request_id = state.serving, request.state.request_id
        if serving is None:
            return not_ready(state, request_id)
        ask = Ask("", asked.limit, asked.offset, request_id, "similar", explain=asked.explain)
        try:
            return _answer(serving, await similar_for(state, serving, video_id, ask))
        except UnknownVideoError:
            return problem(404, f"no video {video_id} in the catalogue", request_id)


def _add_inference(app: FastAPI, state: State) -> None:
    described = responses(schemas.FeedAnswer, 400, 401, 403, 422, 429)

    async def by_model(request: Request, asked: schemas.InferenceRequest, route: str, model: str) -> Response:
        ask = Ask(
            asked.user_id, asked.limit, asked.offset, request.state.request_id, route, model,
            explain=asked.explain,
        )  # fmt: skip
        return await personal(state, request, ask)

    @app.post(
        "/api/v1/inference/recommend",
        tags=["inference"],
        summary="List of the SVD model",
        responses=described,
    )
    async def recommend(request: Request, asked: schemas.InferenceRequest) -> Response:
        """The `svd` alias's model, whatever the champion is."""
        return await by_model(request, asked, "inference/recommend", "svd")

    @app.post(
        "/api/v1/inference/recommend-dl",
        tags=["inference"],
        summary="List of the two-tower model",
        responses=described,
    )
    async def recommend_dl(request: Request, asked: schemas.InferenceRequest) -> Response:
        """The `two-tower` alias's model, whatever the champion is."""
        return await by_model(request, asked, "inference/recommend-dl", "two-tower")

    @app.post(
        "/api/v1/inference/recommend-cached",
        tags=["inference"],
        summary="The champion's list, from the cache if it is there",
        responses=described,
    )
    async def recommend_cached(request: Request, asked: schemas.InferenceRequest) -> Response:
        """The feed as it was made in the last ten minutes, unless the user has acted since; `cached` says which."""
        ask = Ask(
            asked.user_id, asked.limit, asked.offset, request.state.request_id, "inference/recommend-cached",
            explain=asked.explain,
        )  # fmt: skip
        return await personal(state, request, ask)

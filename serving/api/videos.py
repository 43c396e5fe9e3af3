"""Video routes: upload one, find where one can be played."""

from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Header, Request, Response

from serving.api.common import responses
from serving.api.state import State
from serving.catalogue import stream_url
from serving.peertube import errors
from serving.peertube.fields import EXTENSIONS, VideoFields
from serving.peertube.schemas import StreamAnswer, UploadAnswer
from serving.peertube.videos import Videos
from serving.problems import problem
from serving.schemas import VideoId

RETRY_AFTER_S = {"Retry-After": "5"}
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="the same key with the same upload is one video; without one, the content is the key",
    ),
]

JSON = "application/json"


def _form() -> dict[str, Any]:
    """The body, as OpenAPI has it: FastAPI does not read it, since it would before we could limit it."""
    schema = VideoFields.model_json_schema(ref_template="#/components/schemas/{model}")
    file = {"type": "string", "format": "binary", "description": f"one of {', '.join(EXTENSIONS)}"}
    schema["properties"] = {**schema["properties"], "file": file}
    schema["required"] = [*schema["required"], "file"]
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def _described() -> dict[int | str, dict[str, Any]]:
    described = responses(UploadAnswer, 400, 409, 413, 415, 422)
    described[201] = {**described.pop(200), "description": "Uploaded, now or by an earlier request"}
    return described


def add(app: FastAPI, state: State) -> None:
    @app.post(
        "/api/v1/videos",
        tags=["videos"],
        summary="Upload a video",
        status_code=201,
        responses=_described(),
        openapi_extra={"requestBody": _form()},
    )
    async def upload(request: Request, idempotency_key: Key = None) -> Response:
        """To PeerTube, then into the catalogue. Feeds show it once the next bundle is served. May be asked again after
        any failure: with the same key nothing is uploaded twice."""
        request_id = request.state.request_id
        if state.videos is None:
            return _no_peertube(request_id)
        try:
            done = await state.videos.upload(request, idempotency_key)
        except errors.VideoError as error:
            return _upload_problem(error, request_id)
        content = {
            "request_id": request_id,
            "video_id": done.video_id,
            "peertube_uuid": str(done.peertube_uuid),
            "stream_url": stream_url(done.video_id),
            "replayed": done.replayed,
        }
        headers = {"Location": stream_url(done.video_id)}
        return Response(orjson.dumps(content), 201, headers, JSON)

    @app.get(
        "/api/v1/videos/{video_id}/stream",
        tags=["videos"],
        summary="Where a video can be played",
        responses=responses(StreamAnswer, 404, 422),
    )
    async def stream(request: Request, video_id: VideoId) -> Response:
        """HLS and files at PeerTube. 404 for an unknown video, and for one that came with a data set and has no file;
        `detail` says which."""
        request_id = request.state.request_id
        if state.videos is None:
            return _without_peertube(state, video_id, request_id)
        try:
            return await _stream(state.videos, video_id, request_id)
        except (errors.UnknownVideoError, errors.NoCopyError, errors.CopyGoneError) as error:
            return problem(404, str(error), request_id)
        except errors.CatalogueUnavailableError as error:
            known = {
                True: "; the bundle in service has it",
                False: "; the bundle in service has it not",
                None: "",
            }
            return problem(503, f"{error}{known[error.known]}", request_id, headers=RETRY_AFTER_S)
        except errors.VideoError as error:
            return problem(503, str(error), request_id, headers=RETRY_AFTER_S)


async def _stream(videos: Videos, video_id: str, request_id: str) -> Response:
    found = await videos.stream(video_id)
    copy = found.copy
    content = {
        "request_id": request_id,
        "video_id": video_id,
        "status": copy.status,
        "hls_url": copy.hls_url,
        "formats": [vars(item) for item in copy.formats],
        "thumbnail_url": copy.thumbnail_url,
        "duration_ms": copy.duration_ms,
        "degraded": bool(found.degraded_because),
        "degraded_because": list(found.degraded_because),
    }
    return Response(orjson.dumps(content), media_type=JSON)


def _no_peertube(request_id: str) -> Response:
    return problem(503, "no PeerTube is set (REELGRAPH_PEERTUBE_URL)", request_id)


def _without_peertube(state: State, video_id: str, request_id: str) -> Response:
    """A video of the bundle is known and has no file; of others nothing can be said."""
    serving = state.serving
    if serving is not None and serving.bundle.catalogue.row(video_id) is not None:
        detail = f"video {video_id} came with a data set: there is no file of it to stream"
        return problem(404, detail, request_id)
    return _no_peertube(request_id)


def _upload_problem(error: errors.VideoError, request_id: str) -> Response:
    match error:
        case errors.UploadRefusedError(status=status, field=field):
            detail = f"{field}: {error}" if field != "body" else str(error)
            if status != 422:
                return problem(status, detail, request_id)
            return problem(422, detail, request_id, errors=[{"field": field, "message": str(error)}])
        case errors.KeyReusedError():
            return problem(422, str(error), request_id)
        case errors.UploadUnderWayError():
            return problem(409, str(error), request_id, headers=RETRY_AFTER_S)
        case errors.PeerTubeLoginError():
            return problem(503, "PeerTube does not accept our login", request_id)
        case errors.PeerTubeRefusedError(status=status) if status < 500 and status not in (401, 403):
            return problem(422, f"{error}: it does not take this video", request_id)
        case _:
            return problem(503, str(error), request_id, headers=RETRY_AFTER_S)

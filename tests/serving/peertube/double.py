"""PeerTube's REST, the part we speak, as a real server on loopback that fails when told to."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


@dataclass
class Fault:
    """What an answer to one call is instead. `drop`: the connection breaks, `before` or `after` the work is done;
    `midway`: after the first bytes of the body. `delay_s`: then it goes on as usual unless a status is given."""

    status: int | None = None
    drop: str | None = None
    delay_s: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass
class Stored:
    uuid: str
    fields: dict[str, Any]
    filename: str
    media_type: str
    content: bytes
    state: int = 1
    created_at: str = ""
    hls_only: bool = True


class PeerTubeDouble:
    """Everything it holds and saw, and the faults to come by operation: `login`, `me`, `upload`, `list`, `source`,
    `video`, `delete`."""

    user, password = "reelgraph", "correct horse"

    def __init__(self) -> None:
        self.videos: dict[str, Stored] = {}
        self.calls: list[str] = []
        self.tokens: set[str] = set()
        self.refresh_tokens: set[str] = set()
        self.grants: list[str] = []
        self.expires_in = 14399
        self._faults: dict[str, list[Fault]] = {}
        self.url = ""

    def fail(self, operation: str, times: int = 1, **fault: Any) -> None:
        self._faults.setdefault(operation, []).extend(Fault(**fault) for _ in range(times))

    def count(self, operation: str) -> int:
        return self.calls.count(operation)

    def expire_tokens(self) -> None:
        self.tokens.clear()

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/api/v1/oauth-clients/local", self._op("client", self._client)),
                Route("/api/v1/users/token", self._op("login", self._token), methods=["POST"]),
                Route("/api/v1/users/me", self._op("me", self._me)),
                Route("/api/v1/users/me/videos", self._op("list", self._list)),
                Route("/api/v1/videos/upload", self._op("upload", self._upload), methods=["POST"]),
                Route("/api/v1/videos/{uuid}/source", self._op("source", self._source)),
                Route("/api/v1/videos/{uuid}", self._op("video", self._video)),
                Route("/api/v1/videos/{uuid}", self._op("delete", self._delete), methods=["DELETE"]),
            ]
        )

    def _op(self, name: str, answer: Any) -> Any:
        async def handle(request: Request) -> Response:
            self.calls.append(name)
            fault = self._faults[name].pop(0) if self._faults.get(name) else Fault()
            if fault.drop == "midway":
                await anext(aiter(request.stream()))
            if fault.drop in ("before", "midway"):
                _cut(request)
                return Response()
            if fault.delay_s:
                await asyncio.sleep(fault.delay_s)
            if fault.status is not None or fault.body is not None:
                async for _ in request.stream():
                    pass
                return Response(fault.body or b"", fault.status or 200, fault.headers)
            response: Response = await answer(request)
            if fault.drop == "after":
                _cut(request)
            return response

        return handle

    def _allowed(self, request: Request) -> bool:
        return request.headers.get("authorization", "").removeprefix("Bearer ") in self.tokens

    async def _client(self, request: Request) -> Response:
        return JSONResponse({"client_id": "the-client", "client_secret": "the-secret"})

    async def _token(self, request: Request) -> Response:
        form = {key: str(value) for key, value in (await request.form()).items()}
        if (form.get("client_id"), form.get("client_secret")) != ("the-client", "the-secret"):
            return JSONResponse({"code": "invalid_client"}, 400)
        self.grants.append(form["grant_type"])
        if form["grant_type"] == "password":
            good = (form.get("username"), form.get("password")) == (self.user, self.password)
        else:
            good = form.get("refresh_token") in self.refresh_tokens
        if not good:
            return JSONResponse({"code": "invalid_grant"}, 400)
        access, refresh = uuid4().hex, uuid4().hex
        self.tokens = {access}  # PeerTube knows one token at a time
        self.refresh_tokens = {refresh}
        answer = {"token_type": "Bearer", "access_token": access, "refresh_token": refresh}
        return JSONResponse({**answer, "expires_in": self.expires_in})

    async def _me(self, request: Request) -> Response:
        return JSONResponse({"username": self.user}) if self._allowed(request) else Response(status_code=401)

    async def _upload(self, request: Request) -> Response:
        if not self._allowed(request):
            return Response(status_code=401)
        form = await request.form()
        file: Any = form["videofile"]
        fields = {key: value for key, value in form.items() if key != "videofile"}
        if not 3 <= len(str(fields["name"])) <= 120:
            return JSONResponse({"detail": "name"}, 400)
        uuid = str(uuid4())
        created = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        self.videos[uuid] = Stored(
            uuid, fields, file.filename, file.content_type, await file.read(), created_at=created
        )
        return JSONResponse({"video": {"id": len(self.videos), "uuid": uuid, "shortUUID": uuid[:22]}})

    async def _list(self, request: Request) -> Response:
        if not self._allowed(request):
            return Response(status_code=401)
        wanted = request.query_params.get("search", "").lower()
        found = [v for v in self.videos.values() if wanted in str(v.fields["name"]).lower()]
        data = [
            {"uuid": v.uuid, "name": v.fields["name"], "createdAt": v.created_at} for v in reversed(found)
        ]
        return JSONResponse({"total": len(data), "data": data})

    async def _source(self, request: Request) -> Response:
        video = self.videos.get(request.path_params["uuid"])
        if not self._allowed(request):
            return Response(status_code=401)
        if video is None:
            return Response(status_code=404)
        return JSONResponse({"inputFilename": video.filename, "size": len(video.content)})

    async def _video(self, request: Request) -> Response:
        video = self.videos.get(request.path_params["uuid"])
        if video is None or (video.state != 1 and not self._allowed(request)):
            return JSONResponse({"detail": "Video not found"}, 404)
        base = f"{self.url}/static/{video.uuid}"
        files = [
            {"resolution": {"id": n, "label": f"{n}p"}, "size": n * 1000, "fileUrl": f"{base}-{n}.mp4"}
            for n in (360, 720)
        ]
        playlist = {"id": 1, "type": 1, "playlistUrl": f"{base}/master.m3u8"}
        return JSONResponse(
            {
                "id": 1,
                "uuid": video.uuid,
                "name": video.fields["name"],
                "duration": 12,
                "state": {"id": video.state, "label": "state"},
                "thumbnailPath": f"/lazy-static/thumbnails/{video.uuid}.jpg",
                "files": [] if video.hls_only else files,
                "streamingPlaylists": [{**playlist, "files": files if video.hls_only else []}],
            }
        )

    async def _delete(self, request: Request) -> Response:
        if not self._allowed(request):
            return Response(status_code=401)
        found = self.videos.pop(request.path_params["uuid"], None)
        return Response(status_code=204 if found else 404)


def _cut(request: Request) -> None:
    """Break the connection as a crash would."""
    request._receive.__self__.transport.abort()  # type: ignore[attr-defined]


@contextmanager
def running(double: PeerTubeDouble) -> Iterator[PeerTubeDouble]:
    """The double behind a port of its own, in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    double.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(double.app(), log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        if time.monotonic() > deadline:
            raise TimeoutError("the double did not start")
        time.sleep(0.01)
    try:
        yield double
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()

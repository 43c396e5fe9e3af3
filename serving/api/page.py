"""The demo page at `/`: its files, and the sample viewers it offers."""

import asyncio
import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import orjson
from fastapi import FastAPI, Query, Request, Response
from starlette.exceptions import HTTPException

from serving.api.common import not_ready, responses
from serving.api.page_schemas import DemoUsers, DemoUsersRequest
from serving.api.state import State
from serving.live import Serving
from serving.sample_users import SampleUser, sample_users

FILES = Path(__file__).parents[1] / "static" / "demo"
INDEX = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Kept, but asked about each time: modules import each other by plain names, so old and new must not mix.
CACHE_CONTROL = "no-cache"


@dataclass(frozen=True)
class StaticFile:
    content: bytes
    headers: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "StaticFile":
        content = path.read_bytes()
        headers = {
            "Content-Type": TYPES[path.suffix],
            "ETag": f'"{hashlib.sha256(content).hexdigest()[:20]}"',
            "Cache-Control": CACHE_CONTROL,
        }
        return cls(content, headers)

    def answer(self, request: Request) -> Response:
        """The content, or 304 if the client has it."""
        held = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
        if self.headers["ETag"] in held or "*" in held:
            headers = {name: value for name, value in self.headers.items() if name != "Content-Type"}
            return Response(None, 304, headers)
        return Response(self.content, headers=self.headers)


class Samples:
    """The viewers of the bundle in service, computed once per bundle."""

    def __init__(self) -> None:
        # A name for it and not the bundle: what is out of service must not be held in memory by its samples.
        self._of: tuple[str, float] | None = None
        self._users: list[SampleUser] = []
        self._one_at_a_time = asyncio.Lock()

    async def users(self, serving: Serving) -> list[SampleUser]:
        async with self._one_at_a_time:
            if self._of != (serving.tag, serving.loaded_at):
                # A pass over all users: beside the loop, which has feeds to answer.
                self._users = await asyncio.to_thread(sample_users, serving.bundle)
                self._of = (serving.tag, serving.loaded_at)
            return self._users


def add(app: FastAPI, state: State) -> None:
    # A dozen small files, read once: no request opens one, and no path of a request reaches the disk.
    files = {path.name: StaticFile.read(path) for path in FILES.iterdir() if path.suffix in TYPES}
    samples = Samples()

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page(request: Request) -> Response:
        return files[INDEX].answer(request)

    @app.api_route("/static/demo/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    async def page_file(request: Request, name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        return files[name].answer(request)

    @app.get(
        "/api/v1/demo/users",
        tags=["demo"],
        summary="Viewers to try a feed with",
        responses=responses(DemoUsers, 422),
    )
    async def demo_users(request: Request, asked: Annotated[DemoUsersRequest, Query()]) -> Response:
        """Viewers with a long, a middling and a short history in turn, and last an id that nobody has. They are
        chosen once per bundle; those who were erased are left out."""
        serving, live = state.serving, state.live
        if serving is None or live is None:
            return not_ready(state, request.state.request_id)
        *known, newcomer = await samples.users(serving)
        present = [user for user in known if live.opt_out.known_as(user.user_id) == user.user_id]
        chosen = [*present[: asked.limit - 1], newcomer]
        settings = state.settings
        content = {
            "bundle": serving.record.bundle_id,
            "users": [asdict(user) for user in chosen],
            "links": settings and {"dagster": settings.dagster_url, "mlflow": settings.mlflow_ui_url},
        }
        return Response(orjson.dumps(content), media_type="application/json")

"""PeerTube's REST API, as far as we speak it: upload a video, find it again, look at it, delete it."""

from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from serving.breaker import Breaker, DependencyError
from serving.peertube.copies import Copy, copy_of
from serving.peertube.errors import CopyGoneError, PeerTubeRefusedError, PeerTubeUnavailableError
from serving.peertube.login import Login
from serving.peertube.multipart_body import MultipartBody
from serving.peertube.retries import ATTEMPTS, TryAgainError, retried, retry_after
from serving.telemetry.metrics import Metrics
from serving.telemetry.tracing import span

READ_BUDGET_S = 2.0
"""Of a question with its retries: a viewer waits for it."""
UPLOAD_BUDGET_S = 3600.0
CONNECT_S, READ_S, WRITE_S = 2.0, 30.0, 30.0
_PUBLIC = 1
_LOOKED_AT = 50
_CLOCKS_DIFFER = timedelta(minutes=10)
_ODD = (AttributeError, KeyError, OverflowError, TypeError, ValueError)
"""What reading an answer raises that is not what PeerTube documents."""


@dataclass(frozen=True)
class ToUpload:
    """A file and what PeerTube is told of it. `marker` becomes the file's name there, which only we see, and by which
    the video is found again if PeerTube's answer got lost."""

    file: Path
    size: int
    media_type: str
    extension: str
    marker: str
    title: str
    description: str = ""
    tags: Sequence[str] = ()
    language: str = ""

    @property
    def filename(self) -> str:
        return f"{self.marker}{self.extension}"


class PeerTube:
    """One instance of PeerTube, as one user. Raises `PeerTubeUnavailableError`, `PeerTubeRefusedError`."""

    def __init__(
        self,
        url: str,
        metrics: Metrics,
        *,
        username: str | None = None,
        password: str | None = None,
        channel_id: int = 1,
        read_budget_s: float = READ_BUDGET_S,
        upload_budget_s: float = UPLOAD_BUDGET_S,
    ) -> None:
        self.url = url.rstrip("/")
        self._channel_id = channel_id
        timeout = httpx.Timeout(READ_S, connect=CONNECT_S, write=WRITE_S)
        self._http = httpx.AsyncClient(base_url=self.url, timeout=timeout)
        self._login = Login(self._http, username, password)
        self._reading = Breaker("peertube", metrics, budget_s=read_budget_s)
        self._uploading = Breaker("peertube_upload", metrics, budget_s=upload_budget_s)

    async def close(self) -> None:
        await self._http.aclose()

    async def copy(self, uuid: UUID) -> Copy:
        """What PeerTube holds of a video; raises `CopyGoneError`."""
        with span("peertube.video"):
            found = await self._guarded(self._reading, self._found(f"/api/v1/videos/{uuid}"))
        if found is None:
            raise CopyGoneError("PeerTube no longer has this video")
        try:
            return copy_of(found, self.url)
        except _ODD as error:
            raise PeerTubeUnavailableError("PeerTube describes the video in a way we don't know") from error

    async def upload(self, video: ToUpload) -> UUID:
        """Send the file. If PeerTube breaks off, what it may have kept is looked for before it is sent again."""
        with span("peertube.upload", bytes=video.size):
            return await self._guarded(self._uploading, self._uploaded(video))

    async def find(self, video: ToUpload, since: datetime) -> UUID | None:
        """The upload of `video` that PeerTube has, if one reached it after `since`."""
        with span("peertube.find"):
            return await self._guarded(self._uploading, self._search(video, since))

    async def delete(self, uuid: UUID) -> None:
        """Take a video away; it may be gone already."""
        await self._guarded(self._uploading, self._deleted(uuid))

    async def _guarded(self, breaker: Breaker, work: Any) -> Any:
        try:
            return await breaker.call(work, PeerTubeUnavailableError)
        except DependencyError as error:
            raise PeerTubeUnavailableError("PeerTube does not answer now") from error

    async def _uploaded(self, video: ToUpload) -> UUID:
        since = datetime.now().astimezone()
        tried = 0

        async def once() -> UUID:
            nonlocal tried
            tried += 1
            if tried > 1 and (kept := await self._search(video, since)) is not None:
                return kept
            # A token refused in the midst of a large body shows as a broken connection: try it on something small.
            await self._found("/api/v1/users/me")
            return await self._send_file(video)

        return await retried(once, ATTEMPTS)

    async def _send_file(self, video: ToUpload) -> UUID:
        fields = [
            ("channelId", str(self._channel_id)),
            ("name", video.title),
            ("privacy", str(_PUBLIC)),
            ("waitTranscoding", "true"),
            *([("description", video.description)] if video.description else []),
            *([("language", video.language)] if video.language else []),
            *((f"tags[{i}]", tag) for i, tag in enumerate(video.tags)),
        ]
        body = MultipartBody(
            fields,
            name="videofile",
            file=video.file,
            filename=video.filename,
            media_type=video.media_type,
        )
        headers = {"Content-Type": body.content_type, "Content-Length": str(body.length(video.size))}
        response = await self._ask("POST", "/api/v1/videos/upload", headers=headers, content=body)
        try:
            return UUID(str(response.json()["video"]["uuid"]))
        except _ODD as error:
            raise TryAgainError("PeerTube does not name the video it took") from error

    async def _search(self, video: ToUpload, since: datetime) -> UUID | None:
        """Among our newest videos with this title, the one whose file has our name."""
        query = {"search": video.title, "sort": "-createdAt", "count": str(_LOOKED_AT), "start": "0"}
        listed = await self._found("/api/v1/users/me/videos", query)
        if listed is None:
            return None
        try:
            candidates = _named(listed, video.title, since - _CLOCKS_DIFFER)
        except _ODD as error:  # ours may be among them: sent again it might be there twice
            raise PeerTubeUnavailableError("PeerTube lists our videos in a way we don't know") from error
        for uuid in candidates:
            source = await self._found(f"/api/v1/videos/{uuid}/source") or {}
            # `filename` until PeerTube 6.1.
            if (source.get("inputFilename") or source.get("filename")) == video.filename:
                return uuid
        return None

    async def _deleted(self, uuid: UUID) -> None:
        await retried(lambda: self._ask("DELETE", f"/api/v1/videos/{uuid}", missing_is_fine=True))

    async def _found(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        """The JSON object at `path`; None if there is nothing."""
        response = await retried(lambda: self._ask("GET", path, params=query, missing_is_fine=True))
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        try:
            found = response.json()
        except ValueError as error:
            raise PeerTubeUnavailableError("PeerTube's answer is not JSON") from error
        if not isinstance(found, dict):
            raise PeerTubeUnavailableError("PeerTube's answer is not an object")
        return found

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        content: AsyncIterable[bytes] | None = None,
        missing_is_fine: bool = False,
    ) -> httpx.Response:
        """One request, and a second with a new token if PeerTube no longer takes the old one."""
        refused: str | None = None
        while True:
            # Without a user we are anybody, who may look at what is published.
            login = await self._login.header(refused) if self._login.possible or method != "GET" else {}
            try:
                response = await self._http.request(
                    method, path, headers={**(headers or {}), **login}, params=params, content=content
                )
            except httpx.TransportError as error:
                raise TryAgainError(f"PeerTube does not answer ({type(error).__name__})") from error
            if response.status_code != httpx.codes.UNAUTHORIZED or refused is not None or not login:
                break
            refused = login["Authorization"].removeprefix("Bearer ")
        status = response.status_code
        if status in (408, 425, 429) or response.is_server_error:
            raise TryAgainError(
                f"PeerTube answers {status}", retry_after(response.headers.get("Retry-After"))
            )
        if response.is_error and not (missing_is_fine and status == httpx.codes.NOT_FOUND):
            raise PeerTubeRefusedError(f"PeerTube refuses with {status}", status)
        return response


def _named(listed: Mapping[str, Any], title: str, oldest: datetime) -> list[UUID]:
    """Of a list of videos, the newest first, those with this title that are not older. Raises one of `_ODD`."""
    found = []
    for item in listed["data"]:
        if datetime.fromisoformat(str(item["createdAt"])) < oldest:
            break
        if item["name"] == title:
            found.append(UUID(str(item["uuid"])))
    return found

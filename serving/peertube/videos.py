"""Uploads and streams: PeerTube keeps the files, Postgres knows which are ours."""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

from fastapi import Request

from serving.peertube.client import PeerTube, ToUpload
from serving.peertube.copies import Copy
from serving.peertube.errors import (
    CatalogueUnavailableError,
    CopyGoneError,
    NoCopyError,
    PeerTubeRefusedError,
    PeerTubeUnavailableError,
    UnknownVideoError,
    UploadUnderWayError,
)
from serving.peertube.incoming import Incoming, received, sweep
from serving.peertube.register import UPLOADS_AT_ONCE, Claim, Register, VideoRow
from serving.peertube.stream_cache import StreamCache
from serving.peertube.video_metrics import VideoMetrics
from serving.telemetry.metrics import Metrics
from stack.settings import Settings

log = logging.getLogger(__name__)

DOUBLE_WAITS_S = 20.0
"""How long a second upload with the same key waits for the first."""


@dataclass(frozen=True)
class Uploaded:
    """`replayed`: an earlier request had uploaded it."""

    video_id: str
    peertube_uuid: UUID
    replayed: bool


@dataclass(frozen=True)
class Stream:
    """`degraded_because`: empty if this is what PeerTube says now or has said within minutes."""

    copy: Copy
    degraded_because: tuple[str, ...] = ()


class Videos:
    """Part `videos` of the endpoint's state."""

    def __init__(
        self,
        peertube: PeerTube,
        register: Register,
        metrics: Metrics,
        *,
        folder: Path,
        max_upload_bytes: int,
        in_bundle: Callable[[str], bool | None] = lambda video_id: None,
        cache: StreamCache | None = None,
    ) -> None:
        self._peertube = peertube
        self._register = register
        self._folder = folder
        self._max_upload_bytes = max_upload_bytes
        self._in_bundle = in_bundle
        self._cache = cache or StreamCache()
        self._asked: dict[str, asyncio.Task[Copy]] = {}
        self._uploads = 0
        self._counts = VideoMetrics(metrics.registry)

    @classmethod
    def of(
        cls, settings: Settings, metrics: Metrics, in_bundle: Callable[[str], bool | None]
    ) -> "Videos | None":
        """Of the settings; None if no PeerTube is set."""
        if settings.peertube_url is None:
            return None
        secret = settings.peertube_password
        peertube = PeerTube(
            settings.peertube_url,
            metrics,
            username=settings.peertube_username,
            password=secret.get_secret_value() if secret else None,
            channel_id=settings.peertube_channel_id,
        )
        return cls(
            peertube,
            Register(settings.database_url, metrics),
            metrics,
            folder=settings.home / "uploads",
            max_upload_bytes=settings.max_upload_bytes,
            in_bundle=in_bundle,
        )

    async def close(self) -> None:
        for task in list(self._asked.values()):
            task.cancel()
        await self._peertube.close()
        await self._register.close()

    # --- uploads ---

    async def upload(self, request: Request, key: str | None) -> Uploaded:
        """Take the upload in `request` to PeerTube and into `videos`, once for each key. Without a key the content is
        the key: the same file with the same fields is one video.

        Raises `UploadRefusedError`, `KeyReusedError`, `UploadUnderWayError`, `PeerTubeUnavailableError`,
        `PeerTubeRefusedError`, `CatalogueUnavailableError`, `NoRoomError`."""
        if self._uploads >= UPLOADS_AT_ONCE:
            self._counts.uploads.labels("busy").inc()
            raise UploadUnderWayError(f"{UPLOADS_AT_ONCE} uploads are under way, which is as many as we take")
        self._uploads += 1
        result = "failed"
        try:
            await asyncio.to_thread(sweep, self._folder)
            async with received(request, self._folder, self._max_upload_bytes) as incoming:
                done = await self._store(incoming, key or f"content {incoming.content_hash}")
            result = "replayed" if done.replayed else "stored"
            return done
        finally:
            self._uploads -= 1
            self._counts.uploads.labels(result).inc()

    async def _store(self, incoming: Incoming, key: str) -> Uploaded:
        key_hash = hashlib.sha256(key.encode()).hexdigest()
        video_id = uuid5(NAMESPACE_URL, f"reelgraph:upload:{key_hash}").hex
        async with self._register.held(key_hash, wait_s=DOUBLE_WAITS_S) as connection:
            claim = await self._register.claim(connection, key_hash, incoming.content_hash, video_id)
            if claim.registered and claim.peertube_uuid:
                return Uploaded(claim.video_id, claim.peertube_uuid, replayed=True)
            video = _to_upload(incoming, key_hash)
            uuid = await self._at_peertube(video, claim)
            thumbnail, duration_ms = await self._looked_at(uuid)
            fields = incoming.fields
            row = VideoRow(
                video_id=claim.video_id,
                creator_id=fields.creator_id,
                title=fields.title,
                description=fields.description,
                duration_ms=fields.duration_ms or duration_ms,
                category=fields.category,
                tags=fields.tags,
                language=fields.language,
                thumbnail_url=thumbnail,
                peertube_uuid=uuid,
            )
            # If this fails, PeerTube has a video that we do not know: the next try with this key finds it there.
            await self._register.register(connection, key_hash, row)
        return Uploaded(claim.video_id, uuid, replayed=False)

    async def _at_peertube(self, video: ToUpload, claim: Claim) -> UUID:
        """The video's UUID there: of an earlier try, if one got so far; else it is uploaded."""
        if claim.peertube_uuid:
            return claim.peertube_uuid
        if not claim.fresh and (kept := await self._peertube.find(video, claim.claimed_at)) is not None:
            log.info("an upload that broke off after PeerTube had it is taken up again")
            return kept
        return await self._peertube.upload(video)

    async def _looked_at(self, uuid: UUID) -> tuple[str, int | None]:
        """Thumbnail and duration as PeerTube has them now; a video is no less uploaded for lack of them."""
        try:
            copy = await self._peertube.copy(uuid)
        except (PeerTubeUnavailableError, PeerTubeRefusedError, CopyGoneError) as error:
            log.warning("PeerTube took a video and does not describe it: %s", error)
            return "", None
        return copy.thumbnail_url or "", copy.duration_ms

    # --- streams ---

    async def stream(self, video_id: str) -> Stream:
        """Where the video can be played, from memory for five minutes. What was known before is answered, and marked,
        while PeerTube or Postgres is down.

        Raises `UnknownVideoError`, `NoCopyError`, `CopyGoneError`, `PeerTubeUnavailableError`, `PeerTubeRefusedError`,
        `CatalogueUnavailableError`."""
        if (copy := self._cache.fresh(video_id)) is not None:
            self._counts.streams.labels("memory").inc()
            return Stream(copy)
        try:
            copy = await self._once(video_id)
        except (PeerTubeUnavailableError, PeerTubeRefusedError, CatalogueUnavailableError) as error:
            stale = self._cache.stale(video_id)
            if stale is None:
                raise
            self._counts.streams.labels("stale").inc()
            return Stream(stale, (str(error),))
        except (UnknownVideoError, CopyGoneError, NoCopyError):
            self._cache.forget(video_id)
            raise
        self._counts.streams.labels("peertube").inc()
        return Stream(copy)

    async def _once(self, video_id: str) -> Copy:
        """However many ask for a video at once, PeerTube is asked once, also if the first of them goes away."""
        task = self._asked.get(video_id)
        if task is None:
            task = self._asked[video_id] = asyncio.create_task(self._ask(video_id))
            task.add_done_callback(lambda done: self._answered(video_id, done))
        return await asyncio.shield(task)

    def _answered(self, video_id: str, task: "asyncio.Task[Copy]") -> None:
        del self._asked[video_id]
        if not task.cancelled():
            task.exception()  # seen, also when nobody waits for it any more

    async def _ask(self, video_id: str) -> Copy:
        try:
            known, uuid = await self._register.uuid_of(video_id)
        except CatalogueUnavailableError as error:
            raise CatalogueUnavailableError(str(error), known=self._in_bundle(video_id)) from error
        if not known:
            raise UnknownVideoError(f"no video {video_id}")
        if uuid is None:
            raise NoCopyError(f"video {video_id} came with a data set: there is no file of it to stream")
        copy = await self._peertube.copy(uuid)
        self._cache.keep(video_id, copy)
        return copy


def _to_upload(incoming: Incoming, key_hash: str) -> ToUpload:
    fields = incoming.fields
    return ToUpload(
        file=incoming.file,
        size=incoming.size,
        media_type=incoming.media_type,
        extension=incoming.extension,
        marker=f"reelgraph-{key_hash[:32]}",
        title=fields.title,
        # PeerTube wants three characters or none.
        description=fields.description if len(fields.description.strip()) >= 3 else "",
        tags=fields.tags,
        language=fields.language,
    )

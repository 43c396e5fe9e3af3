"""Uploads and videos in Postgres: who holds a key, what it stands for, and which PeerTube video is which of ours."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from serving.breaker import Breaker, DependencyError
from serving.peertube.errors import CatalogueUnavailableError, KeyReusedError, UploadUnderWayError
from serving.telemetry.metrics import Metrics
from serving.telemetry.tracing import span

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

BUDGET_S = 1.5
CONNECT_S = 2
STATEMENT_MS = 5000
UPLOADS_AT_ONCE = 4
"""Each holds a connection from its first look at the key to its end."""
_LOOKUPS_AT_ONCE = 4
_POLL_S = 0.1

T = TypeVar("T")


@dataclass(frozen=True)
class Claim:
    """What is known of an upload. `fresh`: nobody has begun it before."""

    video_id: str
    peertube_uuid: UUID | None
    claimed_at: datetime
    registered: bool
    fresh: bool


@dataclass(frozen=True)
class VideoRow:
    """A video as it goes into `videos` (contract R1.3)."""

    video_id: str
    creator_id: str
    title: str
    description: str
    duration_ms: int | None
    category: str
    tags: Sequence[str]
    language: str
    thumbnail_url: str
    peertube_uuid: UUID


class Register:
    """Postgres, asked from threads of its own. Raises `CatalogueUnavailableError` when it does not answer."""

    def __init__(self, database_url: str, metrics: Metrics, *, budget_s: float = BUDGET_S) -> None:
        options = f"-c statement_timeout={STATEMENT_MS}"
        self._engine = create_engine(
            database_url,
            pool_pre_ping=True,
            pool_size=UPLOADS_AT_ONCE + _LOOKUPS_AT_ONCE,
            max_overflow=0,
            pool_timeout=budget_s,
            connect_args={"connect_timeout": CONNECT_S, "options": options},
        )
        threads = UPLOADS_AT_ONCE + _LOOKUPS_AT_ONCE
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="videos-postgres")
        self._breaker = Breaker("postgres", metrics, budget_s=budget_s)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()

    async def uuid_of(self, video_id: str) -> tuple[bool, UUID | None]:
        """Whether the video is registered, and its PeerTube UUID if it has a copy there."""
        with span("postgres.video"):
            return await self._ask(self._uuid_of, video_id)

    @asynccontextmanager
    async def held(self, key_hash: str, *, wait_s: float) -> AsyncIterator["Connection"]:
        """A connection that nobody else holds for this key, in any process; it lets go however its holder ends.

        Raises `UploadUnderWayError` if the key is held for longer than `wait_s`."""
        connection = await self._ask(self._engine.connect)
        try:
            deadline = asyncio.get_running_loop().time() + wait_s
            while not await self._ask(_lock, connection, key_hash):
                if asyncio.get_running_loop().time() > deadline:
                    raise UploadUnderWayError("an upload with this key is under way")
                await asyncio.sleep(_POLL_S)
            yield connection
        finally:
            # Not given back to the pool: closing it is what surely lets go of the lock, also after a failure.
            self._threads.submit(_discard, connection)

    async def claim(self, connection: "Connection", key_hash: str, content_hash: str, video_id: str) -> Claim:
        """Write down that this key stands for this content, or what is known of it.

        Raises `KeyReusedError` if it stands for another."""
        return await self._ask(_claim, connection, key_hash, content_hash, video_id)

    async def register(self, connection: "Connection", key_hash: str, video: VideoRow) -> None:
        """The video and the end of its upload, in one transaction."""
        await self._ask(_register, connection, key_hash, video)

    def _uuid_of(self, video_id: str) -> tuple[bool, UUID | None]:
        with self._engine.connect() as connection:
            found = connection.execute(
                text("SELECT peertube_uuid FROM videos WHERE video_id = :id"), {"id": video_id}
            ).one_or_none()
        return found is not None, found.peertube_uuid if found else None

    async def _ask(self, work: Callable[..., T], *arguments: object) -> T:
        try:
            return await self._breaker.call(self._in_thread(work, *arguments), DBAPIError, PoolTimeoutError)
        except DependencyError as error:
            raise CatalogueUnavailableError(
                "the catalogue of videos cannot be read or written now"
            ) from error

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """A coroutine, so that nothing begins while the breaker is open."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)


def _lock(connection: "Connection", key_hash: str) -> bool:
    query = text("SELECT pg_try_advisory_lock(hashtextextended(:key, 0))")
    held: bool = connection.execute(query, {"key": f"reelgraph upload {key_hash}"}).scalar_one()
    connection.commit()
    return held


def _discard(connection: "Connection") -> None:
    connection.invalidate()
    connection.close()


def _claim(connection: "Connection", key_hash: str, content_hash: str, video_id: str) -> Claim:
    inserted = connection.execute(
        text(
            "INSERT INTO video_uploads (key_hash, content_hash, video_id) VALUES (:key, :content, :video) "
            "ON CONFLICT (key_hash) DO NOTHING"
        ),
        {"key": key_hash, "content": content_hash, "video": video_id},
    )
    row = connection.execute(
        text(
            "SELECT content_hash, video_id, peertube_uuid, claimed_at, registered_at FROM video_uploads "
            "WHERE key_hash = :key"
        ),
        {"key": key_hash},
    ).one()
    connection.commit()
    if row.content_hash != content_hash:
        raise KeyReusedError("this Idempotency-Key belongs to an upload of another file or with other fields")
    return Claim(
        row.video_id,
        row.peertube_uuid,
        row.claimed_at,
        registered=row.registered_at is not None,
        fresh=inserted.rowcount == 1,
    )


def _register(connection: "Connection", key_hash: str, video: VideoRow) -> None:
    values = {**vars(video), "tags": list(video.tags), "key": key_hash}
    connection.execute(
        text(
            "INSERT INTO videos (video_id, creator_id, title, description, upload_time, duration_ms, category, tags, "
            "language, thumbnail_url, peertube_uuid) VALUES (:video_id, :creator_id, :title, :description, now(), "
            ":duration_ms, :category, :tags, :language, :thumbnail_url, :peertube_uuid) "
            "ON CONFLICT (video_id) DO UPDATE SET peertube_uuid = EXCLUDED.peertube_uuid, updated_at = now()"
        ),
        values,
    )
    connection.execute(
        text(
            "UPDATE video_uploads SET peertube_uuid = :peertube_uuid, registered_at = now() WHERE key_hash = :key"
        ),
        {"peertube_uuid": video.peertube_uuid, "key": key_hash},
    )
    connection.commit()

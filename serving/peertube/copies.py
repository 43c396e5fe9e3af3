"""A video as PeerTube describes it, in our terms."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urljoin
from uuid import UUID

Status = Literal["ready", "processing", "failed"]

# PeerTube's `VideoState`: 1 is published; 7, 8 and 11 are failures of transcoding and of moving files.
_PUBLISHED = 1
_FAILED = {7, 8, 11}


@dataclass(frozen=True)
class Format:
    """One file. `resolution` is its height in pixels, 0 for sound alone; `size` in bytes."""

    resolution: int
    label: str
    url: str
    size: int | None


@dataclass(frozen=True)
class Copy:
    """What PeerTube holds of a video. `formats`: the largest resolution first."""

    uuid: UUID
    status: Status
    hls_url: str | None
    formats: tuple[Format, ...] = field(default=())
    thumbnail_url: str | None = None
    duration_ms: int | None = None


def copy_of(found: Mapping[str, Any], base_url: str) -> Copy:
    """Of the JSON of `GET /api/v1/videos/{id}`. Raises `KeyError`, `TypeError`, `ValueError` for what is not that.

    Files are those of the video itself (web videos), or of its playlist where PeerTube keeps only HLS.
    """
    playlists = found.get("streamingPlaylists") or []
    files = found.get("files") or [file for playlist in playlists for file in playlist.get("files") or []]
    formats = [_format(file) for file in files if file.get("fileUrl")]
    thumbnail = found.get("thumbnailPath")
    duration = found.get("duration")
    return Copy(
        uuid=UUID(str(found["uuid"])),
        status=_status(found.get("state")),
        hls_url=next((str(p["playlistUrl"]) for p in playlists if p.get("playlistUrl")), None),
        formats=tuple(sorted(formats, key=lambda item: (-item.resolution, item.url))),
        thumbnail_url=urljoin(f"{base_url}/", str(thumbnail)) if thumbnail else None,
        duration_ms=int(duration) * 1000 if duration else None,
    )


def _format(file: Mapping[str, Any]) -> Format:
    resolution = file["resolution"]
    size = file.get("size")
    return Format(
        int(resolution["id"]),
        str(resolution.get("label") or f"{resolution['id']}p"),
        str(file["fileUrl"]),
        None if size is None else int(size),
    )


def _status(state: Mapping[str, Any] | None) -> Status:
    number = int(state["id"]) if state else _PUBLISHED  # an old PeerTube says it of unpublished videos only
    return "ready" if number == _PUBLISHED else "failed" if number in _FAILED else "processing"

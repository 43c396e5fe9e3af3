"""What the video routes answer."""

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, Field


class UploadAnswer(BaseModel):
    request_id: str
    video_id: str = Field(examples=["5f2c8a9d0e1b4c3d8f7a6b5c4d3e2f10"])
    peertube_uuid: UUID = Field(examples=["9c9de5e8-0a1e-484a-b099-e80766180a6d"])
    stream_url: str = Field(examples=["/api/v1/videos/5f2c8a9d0e1b4c3d8f7a6b5c4d3e2f10/stream"])
    replayed: bool = Field(description="an earlier request with this key (or this content) had uploaded it")


class StreamFormat(BaseModel):
    """One file; `resolution` is its height in pixels, 0 for sound alone; `size` in bytes."""

    resolution: int = Field(examples=[720])
    label: str = Field(examples=["720p"])
    url: str
    size: int | None


class StreamAnswer(BaseModel):
    """`status`: `ready`; `processing` while PeerTube transcodes, with the formats there are; `failed`."""

    request_id: str
    video_id: str
    status: Literal["ready", "processing", "failed"]
    hls_url: str | None = Field(description="HLS playlist of all resolutions, null if PeerTube made none")
    formats: list[StreamFormat] = Field(description="files, the largest resolution first")
    thumbnail_url: str | None
    duration_ms: int | None
    degraded: bool = Field(description="PeerTube or Postgres is down: this is what they said last")
    degraded_because: list[str]

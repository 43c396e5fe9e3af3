"""What comes with a video: its fields, and the kinds of file we take, told by their first bytes."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.peertube.errors import UploadRefusedError
from serving.schemas import Id

# PeerTube's own limits, so that nothing we take is refused there.
_NO_CONTROL = r"^[^\x00-\x1f\x7f]+$"
_TEXT = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
Tag = Annotated[str, Field(min_length=2, max_length=30, pattern=_NO_CONTROL)]

SNIFFED_BYTES = 12


class VideoFields(BaseModel):
    """The fields of an upload beside its file."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    title: str = Field(min_length=3, max_length=120, pattern=_NO_CONTROL, examples=["A cat on a piano"])
    creator_id: Id = Field(examples=["17"])
    description: str = Field("", max_length=10_000, pattern=_TEXT)
    category: str = Field("", max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$", examples=["pets"])
    tags: list[Tag] = Field([], max_length=5, examples=[["cats", "music"]])
    language: str = Field("", pattern=r"^([a-z]{2,3}(-[A-Za-z0-9]{2,8})?)?$", examples=["en"])
    duration_ms: int | None = Field(
        None, ge=1, le=86_400_000, description="PeerTube's, in whole seconds, if not given"
    )


def fields_of(parts: Sequence[tuple[str, str]]) -> VideoFields:
    """Of the form's text parts; `tags` may come several times, or once with commas between.

    Raises `UploadRefusedError` naming the field."""
    values: dict[str, object] = {}
    tags: list[str] = []
    for name, value in parts:
        if name == "tags":
            tags += [tag.strip() for tag in value.split(",") if tag.strip()]
        elif name in values:
            raise UploadRefusedError("is there twice", 422, name[:100] or "body")
        elif (
            value or name not in VideoFields.model_fields
        ):  # a form sends the fields that were left empty, too
            values[name] = value
    try:
        return VideoFields.model_validate({**values, "tags": tags})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(place) for place in first["loc"]) or "body"
        raise UploadRefusedError(first["msg"], 422, field[:100]) from error


EXTENSIONS: Mapping[str, str] = {
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "video/x-matroska": ".mkv",
    "video/ogg": ".ogv",
    "video/x-msvideo": ".avi",
}


def check_kind(media_type: str, head: bytes) -> None:
    """Raises `UploadRefusedError` unless the first bytes are those of a file of this type."""
    if media_type not in EXTENSIONS:
        raise UploadRefusedError(f"must be one of {', '.join(EXTENSIONS)}", 415, "file")
    if media_type not in _kinds(head):
        raise UploadRefusedError(f"the file is not {media_type}", 415, "file")


def _kinds(head: bytes) -> tuple[str, ...]:
    """Which types a file that begins like this may have."""
    if (
        head[4:8] == b"ftyp"
    ):  # ISO base media; the brand tells QuickTime from MP4, and players care for neither
        return ("video/mp4", "video/quicktime")
    if head[4:8] in (b"moov", b"mdat", b"wide", b"free"):
        return ("video/quicktime",)
    if head[:4] == b"\x1a\x45\xdf\xa3":  # EBML
        return ("video/webm", "video/x-matroska")
    if head[:4] == b"OggS":
        return ("video/ogg",)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return ("video/x-msvideo",)
    return ()

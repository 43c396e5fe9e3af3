"""What the event routes take and answer."""

import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from data_quality.event_values import (
    EARLIEST_MS,
    LATEST_MS,
    MAX_ID_LENGTH,
    MAX_INT32,
    MAX_SCROLL_SPEED_MS,
    DeviceType,
    EventType,
    NetworkType,
)
from serving.schemas import FieldError, whole

MAX_BATCH = 1000
MAX_AHEAD = timedelta(hours=24)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_EXAMPLE: JsonDict = {
    "event_id": "0b8b1a52-6f0e-4c1c-9a43-5b7f1f1c2d3e",
    "user_id": "0",
    "video_id": "1042",
    "event_type": "like",
    "position_index": 3,
    "impression_timestamp": "2026-05-01T12:00:00.123Z",
    "device_type": "ios",
    "network_type": "wifi",
    "request_id": "4f7c9d0e-9a55-4f0e-8a2b-3c1d5e6f7a8b",
}

EventId = Annotated[
    str, Field(min_length=1, max_length=MAX_ID_LENGTH, pattern=r"^[^\x00-\x1f\x7f]+$", strict=True)
]
Whole = Annotated[int, Field(strict=True, ge=0, le=MAX_INT32), BeforeValidator(whole)]


def _milliseconds(given: Any) -> Any:
    """ISO 8601 -> milliseconds since 1970; anything else is judged as a number."""
    if isinstance(given, str):
        try:
            moment = datetime.fromisoformat(given)
        except ValueError as error:
            raise _wrong("must be ISO 8601 or milliseconds since 1970") from error
        if moment.tzinfo is None:
            raise _wrong("must name its time zone, such as Z")
        return (moment - _EPOCH) // timedelta(milliseconds=1)
    return whole(given)


def _not_far_ahead(ms: int) -> int:
    if ms > time.time() * 1000 + MAX_AHEAD.total_seconds() * 1000:
        raise _wrong("must not lie more than 24 h in the future")
    return ms


def _wrong(what: str) -> PydanticCustomError:
    return PydanticCustomError("impression_timestamp", "{what}", {"what": what})


Instant = Annotated[
    int,
    Field(strict=True, ge=EARLIEST_MS, lt=LATEST_MS),
    BeforeValidator(_milliseconds),
    AfterValidator(_not_far_ahead),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": EARLIEST_MS, "exclusiveMaximum": LATEST_MS},
                {"type": "string", "format": "date-time"},
            ]
        }
    ),
]


class TrackRequest(BaseModel):
    """One thing a viewer did with a video."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    event_id: UUID | None = Field(
        None, description="send it again under the same id and it counts once; made here if missing"
    )
    user_id: EventId
    video_id: EventId
    session_id: EventId | None = Field(
        None, description="of the app's session; half an hour of the user if missing"
    )
    event_type: EventType
    position_index: Whole = Field(0, description="rank in the feed")
    impression_timestamp: Instant | None = Field(
        None,
        description="ISO 8601 with a time zone, or milliseconds since 1970; now if missing. At most 24 h ahead of "
        "our clock; what is ahead is taken as now",
    )
    scroll_speed_ms: float = Field(0.0, ge=0, le=MAX_SCROLL_SPEED_MS, strict=True, allow_inf_nan=False)
    playback_position_ms: Whole | None = None
    device_type: DeviceType = DeviceType.WEB
    network_type: NetworkType = NetworkType.OTHER
    geo_location: str = Field(
        "", max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$", description="coarse: city, country"
    )
    request_id: str = Field(
        "",
        max_length=64,
        pattern=r"^[0-9A-Za-z_-]*$",
        description="of the recommendation that showed the video: links it to the decision",
    )


Items = Annotated[
    list[Any],
    Field(min_length=1, max_length=MAX_BATCH),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"$ref": "#/components/schemas/TrackRequest"},
            "minItems": 1,
            "maxItems": MAX_BATCH,
        }
    ),
]


class BatchRequest(BaseModel):
    """Each event is judged on its own."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"events": [_EXAMPLE]}]})

    events: Items


class TrackAnswer(BaseModel):
    """The event is on disk here, and the next feed takes it into account."""

    request_id: str
    event_id: UUID
    accepted: bool
    shown_by: str = Field(description="the event's `request_id`: the recommendation that showed the video")
    notes: list[str] = Field(
        description="what was changed: a clock that is ahead",
        examples=[["impression_timestamp is in the future: taken as now"]],
    )


class ItemResult(BaseModel):
    """`index` counts from 0 in the order of the request."""

    index: int
    accepted: bool
    event_id: UUID | None
    notes: list[str]
    errors: list[FieldError]


class BatchAnswer(BaseModel):
    request_id: str
    accepted: int
    rejected: int
    results: list[ItemResult]

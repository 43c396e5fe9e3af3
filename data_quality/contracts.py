"""What a playback event, a user and a video are: the one definition of their fields, types and values.

Names, types and enum values are requirement R1.1 (events) and R1.3 (users, videos). Everything else derives
from here: the ClickHouse table, the loader's checks, the importers' batches. Nothing else spells them out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from data_quality.event_values import (
    EARLIEST_MS,
    LATEST_MS,
    MAX_ID_LENGTH,
    MAX_INT32,
    MAX_SCROLL_SPEED_MS,
    CodedEnum,
    DeviceType,
    EventType,
    Gender,
    NetworkType,
)

DEFAULT_VIDEO_DURATION_MS: Final = 60_000  # R1.2: the duration of a video whose length nobody knows
FINISHED_RATIO: Final = 0.9  # R1.2: watched this share of the duration = finished

_UUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


class ContractError(Exception):
    """Data that is not what the contract says; the message names the table and the field."""


class FieldMissingError(ContractError):
    """A batch lacks a field of the contract."""


class FieldTypeError(ContractError):
    """A batch has a field with another type than the contract's."""


class RowInvalidError(ContractError):
    """A row of a table that takes no bad rows breaks the contract."""


TERMINAL_EVENTS: Final = (EventType.VIEW_END, EventType.SCROLL_PASS, EventType.CLICK)
"""The events that end a play."""

Check = Callable[[pa.Array], pa.Array]
"""A column's values -> a boolean per row, true where the value is good; nulls are judged before it runs."""


@dataclass(frozen=True)
class Field:
    """One column: `arrow` is its type in a batch, `clickhouse` in the table ('' if it is not there)."""

    name: str
    arrow: pa.DataType
    clickhouse: str = ""
    nullable: bool = False
    check: Check | None = None
    rule: str = ""
    """What `check` demands, as the end of the sentence "<field> must ..."."""


@dataclass(frozen=True)
class Contract:
    """The fields of one table, in its order."""

    table: str
    fields: tuple[Field, ...]

    @property
    def schema(self) -> pa.Schema:
        """Of a batch that is yet to be judged: every field can carry a null, nullability is judged by row."""
        return pa.schema([pa.field(f.name, f.arrow) for f in self.fields])

    @property
    def names(self) -> list[str]:
        return [f.name for f in self.fields]

    def clickhouse_columns(self) -> str:
        """The column list of `CREATE TABLE`, a line each."""
        return ",\n".join(f"    `{f.name}` {f.clickhouse}" for f in self.fields)


def enum8(values: type[CodedEnum]) -> str:
    """ClickHouse's type of an enum: `Enum8('ios' = 1, ...)`."""
    members = ", ".join(f"'{v.value}' = {v.code}" for v in values)
    return f"Enum8({members})"


def enum_array(values: type[CodedEnum], codes: pa.Array) -> pa.Array:
    """Codes (int8, as stored) -> the values' strings, for importers that compute with numbers."""
    names: list[str | None] = [None] * (max(v.code for v in values) + 1)
    for value in values:
        names[value.code] = value.value
    return pa.DictionaryArray.from_arrays(codes, pa.array(names, pa.string())).cast(pa.string())


def _one_of(values: type[Enum]) -> tuple[Check, str]:
    allowed = [str(v.value) for v in values]
    return lambda column: pc.is_in(column, pa.array(allowed)), f"be one of {', '.join(allowed)}"


def _between(low: float, high: float) -> tuple[Check, str]:
    # NaN compares false with both ends, so it is refused too.
    return (
        lambda column: pc.and_(pc.greater_equal(column, low), pc.less_equal(column, high)),
        f"be from {low} to {high}",
    )


def _instant(column: pa.Array) -> pa.Array:
    ms = column.cast(pa.int64())
    return pc.and_(pc.greater_equal(ms, EARLIEST_MS), pc.less(ms, LATEST_MS))


def _id(column: pa.Array) -> pa.Array:
    length = pc.utf8_length(column)
    return pc.and_(pc.greater(length, 0), pc.less_equal(length, MAX_ID_LENGTH))


_INSTANT = pa.timestamp("ms", "UTC")
_IS_ID = (_id, f"have 1 to {MAX_ID_LENGTH} characters")
_IS_INSTANT = (_instant, "lie between the years 2000 and 2100")
_TEXTS = pa.list_(pa.string())


def _field(
    name: str,
    arrow: pa.DataType,
    clickhouse: str = "",
    rule: tuple[Check, str] | None = None,
    *,
    nullable: bool = False,
) -> Field:
    check, text = rule or (None, "")
    return Field(name, arrow, clickhouse, nullable, check, text)


EVENTS: Final = Contract(
    "playback_events",
    (
        _field(
            "event_id",
            pa.string(),
            "UUID",
            (lambda column: pc.match_substring_regex(column, _UUID), "be a UUID"),
        ),
        _field("user_id", pa.string(), "String", _IS_ID),
        _field("video_id", pa.string(), "String", _IS_ID),
        _field("session_id", pa.string(), "String", _IS_ID),
        _field("event_type", pa.string(), enum8(EventType), _one_of(EventType)),
        _field("position_index", pa.int32(), "Int32", _between(0, MAX_INT32)),
        _field("impression_timestamp", _INSTANT, "DateTime64(3, 'UTC')", _IS_INSTANT),
        _field("scroll_speed_ms", pa.float32(), "Float32", _between(0, MAX_SCROLL_SPEED_MS)),
        _field("playback_position_ms", pa.int32(), "Nullable(Int32)", _between(0, MAX_INT32), nullable=True),
        _field("device_type", pa.string(), enum8(DeviceType), _one_of(DeviceType)),
        _field("network_type", pa.string(), enum8(NetworkType), _one_of(NetworkType)),
        _field("geo_location", pa.string(), "String"),
        _field("time_of_day", pa.int8(), "Int8", _between(0, 23)),
        _field("day_of_week", pa.int8(), "Int8", _between(1, 7)),
        _field("request_id", pa.string(), "String"),
    ),
)
"""A playback event as a source hands it over. `ARRIVAL` is the sixteenth column: the store sets it."""

ARRIVAL: Final = Field("created_at", _INSTANT, "DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')")

USERS: Final = Contract(
    "users",
    (
        _field("user_id", pa.string(), rule=_IS_ID),
        _field("created_at", _INSTANT, nullable=True),
        _field("age", pa.int16(), rule=_between(0, 150), nullable=True),
        _field("gender", pa.string(), rule=_one_of(Gender)),
        _field("language", pa.string()),
        _field("interested_categories", _TEXTS),
        _field("avg_daily_watch_time_ms", pa.int64(), rule=_between(0, 86_400_000)),
        _field("device_type", pa.string()),
        _field("preferred_creators", _TEXTS),
        _field("region", pa.string()),
    ),
)
"""A user as a source knows them; `engagement_score` and `updated_at` are the pipeline's own."""

VIDEOS: Final = Contract(
    "videos",
    (
        _field("video_id", pa.string(), rule=_IS_ID),
        _field("creator_id", pa.string(), rule=_IS_ID),
        _field("title", pa.string()),
        _field("description", pa.string()),
        _field("upload_time", _INSTANT, rule=_IS_INSTANT, nullable=True),
        _field("duration_ms", pa.int64(), rule=_between(1, MAX_INT32), nullable=True),
        _field("category", pa.string()),
        _field("tags", _TEXTS),
        _field("language", pa.string()),
        _field("sound_id", pa.string(), nullable=True),
        _field("thumbnail_url", pa.string()),
        _field("is_trending", pa.bool_()),
        _field("view_count", pa.int64(), rule=_between(0, 2**62)),
        _field("like_count", pa.int64(), rule=_between(0, 2**62)),
    ),
)
"""A video as a source knows it; `peertube_uuid` comes with an upload, `updated_at` is the store's."""

KEYS: Final[Mapping[str, str]] = {"users": "user_id", "videos": "video_id"}

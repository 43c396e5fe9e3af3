"""Judging one event by the contract (R1.1) in plain Python: the endpoint must not load Arrow.

The same rules as `data_quality.contracts.EVENTS`, in the same order; a test holds the two together.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from data_quality.event_values import (
    EARLIEST_MS,
    LATEST_MS,
    MAX_ID_LENGTH,
    MAX_INT32,
    MAX_SCROLL_SPEED_MS,
    CodedEnum,
    DeviceType,
    EventType,
    NetworkType,
)

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= MAX_ID_LENGTH


def _one_of(values: type[CodedEnum]) -> Callable[[Any], bool]:
    allowed = frozenset(member.value for member in values)
    return lambda value: isinstance(value, str) and value in allowed


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _text(value: Any) -> bool:
    return isinstance(value, str)


_RULES: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "event_id": (lambda v: isinstance(v, str) and _UUID.fullmatch(v) is not None, "be a UUID"),
    **dict.fromkeys(("user_id", "video_id", "session_id"), (_is_id, f"have 1 to {MAX_ID_LENGTH} characters")),
    "event_type": (_one_of(EventType), f"be one of {', '.join(EventType)}"),
    "position_index": (_whole(0, MAX_INT32), f"lie between 0 and {MAX_INT32}"),
    "impression_timestamp": (_whole(EARLIEST_MS, LATEST_MS - 1), "be milliseconds between 2000 and 2100"),
    "scroll_speed_ms": (
        lambda v: type(v) in (int, float) and 0 <= v <= MAX_SCROLL_SPEED_MS,
        f"lie between 0 and {MAX_SCROLL_SPEED_MS:g}",
    ),
    "playback_position_ms": (
        lambda v: v is None or _whole(0, MAX_INT32)(v),
        f"lie between 0 and {MAX_INT32}",
    ),
    "device_type": (_one_of(DeviceType), f"be one of {', '.join(DeviceType)}"),
    "network_type": (_one_of(NetworkType), f"be one of {', '.join(NetworkType)}"),
    "geo_location": (_text, "be text"),
    "time_of_day": (_whole(0, 23), "lie between 0 and 23"),
    "day_of_week": (_whole(1, 7), "lie between 1 and 7"),
    "request_id": (_text, "be text"),
}
FIELDS: Final = tuple(_RULES)


def _is_arrival(value: Any) -> bool:
    return _whole(EARLIEST_MS, LATEST_MS - 1)(value)


def fault(event: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first wrong field and why, or None. `impression_timestamp` is in milliseconds since 1970,
    as is `created_at`, which the endpoint sets."""
    for name, (good, rule) in _RULES.items():
        value = event.get(name)
        if value is None and name != "playback_position_ms":
            return name, f"{name} is missing"
        if not good(value):
            return name, f"{name} must {rule}, got {str(value)[:100]!r}"
    return (
        None if _is_arrival(event.get("created_at")) else ("created_at", "created_at is no time of arrival")
    )

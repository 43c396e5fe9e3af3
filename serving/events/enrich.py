"""A valid event as it is stored: with its times, its session, and its video's category and creator."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import orjson

from serving.context.change import Act
from serving.events.schemas import TrackRequest
from serving.live import Serving

SESSION_MS = 30 * 60 * 1000
AHEAD = "impression_timestamp is in the future: taken as now"


@dataclass(frozen=True)
class TrackedEvent:
    """`row` in the columns of `playback_events`, times in milliseconds since 1970."""

    row: dict[str, Any]
    act: Act
    creator_id: str | None
    notes: tuple[str, ...]

    @property
    def event_id(self) -> str:
        return str(self.row["event_id"])

    @property
    def line(self) -> bytes:
        return orjson.dumps(self.row)


def enriched(asked: TrackRequest, now: datetime, serving: Serving | None) -> TrackedEvent:
    """Category and creator are the catalogue's, None for a video it does not have."""
    now_ms = int(now.timestamp() * 1000)
    said_ms = now_ms if asked.impression_timestamp is None else asked.impression_timestamp
    at_ms = min(said_ms, now_ms)
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    category, creator = _of_video(asked.video_id, serving)
    row = {
        "event_id": str(asked.event_id or uuid4()),
        "user_id": asked.user_id,
        "video_id": asked.video_id,
        "session_id": asked.session_id or session_of(asked.user_id, at_ms),
        "event_type": asked.event_type.value,
        "position_index": asked.position_index,
        "impression_timestamp": at_ms,
        "scroll_speed_ms": asked.scroll_speed_ms,
        "playback_position_ms": asked.playback_position_ms,
        "device_type": asked.device_type.value,
        "network_type": asked.network_type.value,
        "geo_location": asked.geo_location,
        "time_of_day": at.hour,
        "day_of_week": at.isoweekday(),
        "request_id": asked.request_id,
        "created_at": now_ms,
    }
    act = Act(asked.user_id, asked.video_id, asked.event_type.value, at_ms, category)
    return TrackedEvent(row, act, creator, (AHEAD,) if said_ms > now_ms else ())


def session_of(user_id: str, at_ms: int) -> str:
    """A session for clients that name none: the user's half hour."""
    window = f"{at_ms // SESSION_MS}|{user_id}".encode("utf-8", "surrogatepass")
    return f"h-{hashlib.blake2b(window, digest_size=10).hexdigest()}"


def _of_video(video_id: str, serving: Serving | None) -> tuple[str | None, str | None]:
    if serving is None:
        return None, None
    catalogue = serving.bundle.catalogue
    row = catalogue.row(video_id)
    if row is None:
        return None, None
    card = orjson.loads(b"{" + catalogue.card(row) + b"}")
    return card["category"], card["creator_id"]

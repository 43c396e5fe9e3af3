"""Columns of numbers -> Arrow batches of playback events: what every importer shares, vectorised."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_quality.contracts import EVENTS, DeviceType, EventType, NetworkType, enum_array

Ints = NDArray[np.int64]

MAX_BATCH_ROWS = 100_000
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_HEX_PLACES = [i for i in range(36) if i not in (8, 13, 18, 23)]


def derived_uuids(namespace: str, *parts: Ints) -> pa.Array:
    """A UUID per row that depends on `namespace` and the row's integers only: (n,) strings.

    Version 8 of RFC 9562 (the maker's own hash): two 64-bit SplitMix64 chains over the parts, seeded
    by the namespace's SHA-256. Equal inputs give equal ids on every machine: what makes an import repeatable.
    """
    digest = hashlib.sha256(namespace.encode()).digest()
    lanes = []
    for lane in range(2):
        seed = np.frombuffer(digest, "<u8", 1, lane * 8).astype(np.uint64)
        state = np.broadcast_to(seed, parts[0].shape).copy()
        for part in parts:
            state = _splitmix64(state ^ part.astype(np.uint64))
        lanes.append(_splitmix64(state))
    raw = np.stack(lanes, axis=1).astype(">u8").view(np.uint8).reshape(-1, 16)
    raw[:, 6] = (raw[:, 6] & 0x0F) | 0x80
    raw[:, 8] = (raw[:, 8] & 0x3F) | 0x80
    text = np.full((len(raw), 36), ord("-"), np.uint8)
    text[:, _HEX_PLACES[0::2]] = _HEX[raw >> 4]
    text[:, _HEX_PLACES[1::2]] = _HEX[raw & 15]
    offsets = np.arange(0, 36 * len(raw) + 1, 36, dtype=np.int32)
    return pa.StringArray.from_buffers(len(raw), pa.py_buffer(offsets), pa.py_buffer(text))


def _splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014); arithmetic is modulo 2**64."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def time_of_day(epoch_ms: Ints) -> NDArray[np.int8]:
    """The hour, 0-23, in UTC: one clock for all sources, derivable from `impression_timestamp` alone."""
    return (epoch_ms % _DAY_MS // _HOUR_MS).astype(np.int8)


def day_of_week(epoch_ms: Ints) -> NDArray[np.int8]:
    """1 (Monday) to 7, in UTC; 1970-01-01 was a Thursday."""
    return ((epoch_ms // _DAY_MS + 3) % 7 + 1).astype(np.int8)


@dataclass(frozen=True)
class EventColumns:
    """n playback events; enum columns hold the contract's codes, `playback_position_ms` -1 where unknown."""

    event_id: pa.Array
    user_id: pa.Array
    video_id: pa.Array
    session_id: pa.Array
    event_type: Ints
    impression_timestamp: Ints
    """Epoch milliseconds."""
    playback_position_ms: Ints
    position_index: Ints
    scroll_speed_ms: NDArray[np.float32]
    device_type: Ints
    network_type: Ints
    geo_location: pa.Array
    request_id: pa.Array

    def to_batch(self) -> pa.RecordBatch:
        """The events in the contract's columns and types, in the order given."""
        when = self.impression_timestamp
        position = self.playback_position_ms
        columns = {
            "event_id": self.event_id,
            "user_id": self.user_id,
            "video_id": self.video_id,
            "session_id": self.session_id,
            "event_type": enum_array(EventType, pa.array(self.event_type.astype(np.int8))),
            "position_index": pa.array(self.position_index.astype(np.int32)),
            "impression_timestamp": pa.array(when.astype("datetime64[ms]")).cast(pa.timestamp("ms", "UTC")),
            "scroll_speed_ms": pa.array(self.scroll_speed_ms.astype(np.float32)),
            "playback_position_ms": pa.array(position.astype(np.int32), mask=position == -1),
            "device_type": enum_array(DeviceType, pa.array(self.device_type.astype(np.int8))),
            "network_type": enum_array(NetworkType, pa.array(self.network_type.astype(np.int8))),
            "geo_location": self.geo_location,
            "time_of_day": pa.array(time_of_day(when)),
            "day_of_week": pa.array(day_of_week(when)),
            "request_id": self.request_id,
        }
        return pa.RecordBatch.from_arrays([columns[name] for name in EVENTS.names], schema=EVENTS.schema)


def constant(text: str, rows: int) -> pa.Array:
    """`rows` times the same text."""
    return pa.repeat(pa.scalar(text, pa.string()), rows)


def texts_of(numbers: Ints, prefix: str = "") -> pa.Array:
    """Integers -> ids as strings, each distinct one formatted once."""
    distinct, inverse = np.unique(numbers, return_inverse=True)
    return pa.array([f"{prefix}{n}" for n in distinct.tolist()], pa.string()).take(pa.array(inverse))

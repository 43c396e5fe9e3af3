"""How a row of KuaiRand's log becomes playback events.

A distinct (user_id, video_id, time_ms) is one impression and one watch session; where rows repeat it, the longest
play is the truth and a flag set in any of them counts. `time_ms` is the impression's start:

- `play_time_ms` 0: a lone `scroll_pass`. A flag on such a row is kept as an interaction at the same instant, before
  it; without a `view_start` the session still lasts 0 ms.
- else `view_start` at 0; `like`, `comment`, `share` (is_forward) and `follow_creator` at 4, 6, 7 and 8 tenths of the
  play, as the log has no time for them; at its end `view_end` when 90% of `duration_ms` were played, else
  `scroll_pass`. A duration of 0 is unknown: the contract's default stands in. So the last event is exactly
  `play_time_ms` after the first.

`is_hate` ("not interested") is not written: `report` would claim a complaint to moderators that nobody made. How
often that and the other cases happen is in `notes`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_quality.contracts import (
    DEFAULT_VIDEO_DURATION_MS,
    FINISHED_RATIO,
    DeviceType,
    EventType,
    NetworkType,
)
from ingestion.events import EventColumns, Ints, constant, derived_uuids, texts_of

_DAY_MS = 86_400_000
# (the log's flag, what it becomes, when in the play in tenths)
_INTERACTIONS = (
    ("is_like", EventType.LIKE, 4),
    ("is_comment", EventType.COMMENT, 6),
    ("is_forward", EventType.SHARE, 7),
    ("is_follow", EventType.FOLLOW_CREATOR, 8),
)
_MAX_EVENTS_OF_A_SESSION = 2 + len(_INTERACTIONS)
_SESSIONS_PER_BATCH = 100_000 // _MAX_EVENTS_OF_A_SESSION


@dataclass(frozen=True)
class Impressions:
    """Distinct impressions, n of each array, by start, user and video; times in milliseconds."""

    user_id: Ints
    video_id: Ints
    time_ms: Ints
    play_time_ms: Ints
    duration_ms: Ints
    position_index: Ints
    flags: Mapping[str, NDArray[np.bool_]]
    log_rows: int

    @classmethod
    def from_log(cls, log: Mapping[str, Ints]) -> "Impressions":
        """Merge repeated rows; `log` has the columns of `kuairand.LOG_COLUMNS`, equally long."""
        key = (log["user_id"], log["video_id"], log["time_ms"])
        order = np.lexsort((log["tab"], key[1], key[0], key[2]))
        user, video, time = (part[order] for part in key)
        first = np.ones(len(order), bool)
        first[1:] = (np.diff(user) != 0) | (np.diff(video) != 0) | (np.diff(time) != 0)
        starts = np.flatnonzero(first)

        def longest(name: str) -> Ints:
            return np.maximum.reduceat(log[name][order], starts)

        return cls(
            user_id=user[starts],
            video_id=video[starts],
            time_ms=time[starts],
            play_time_ms=longest("play_time_ms"),
            duration_ms=longest("duration_ms"),
            position_index=_ordinals(user[starts], log["tab"][order][starts], time[starts] // _DAY_MS),
            flags={name: longest(name) > 0 for name in (*(flag for flag, _, _ in _INTERACTIONS), "is_hate")},
            log_rows=len(order),
        )

    def __len__(self) -> int:
        return len(self.time_ms)

    @property
    def finished(self) -> NDArray[np.bool_]:
        duration = np.where(self.duration_ms > 0, self.duration_ms, DEFAULT_VIDEO_DURATION_MS)
        return self.play_time_ms / duration >= FINISHED_RATIO  # divided: as watch_sessions computes it

    def notes(self) -> dict[str, int]:
        skipped = self.play_time_ms == 0
        interactions = np.sum([self.flags[flag] for flag, _, _ in _INTERACTIONS], axis=0)
        return {
            "log_rows": self.log_rows,
            "impressions": len(self),
            "repeated_rows_merged": self.log_rows - len(self),
            "impressions_not_played": int(skipped.sum()),
            "interactions_without_a_play": int(interactions[skipped].sum()),
            "hate_flags_not_written": int(self.flags["is_hate"].sum()),
            "impressions_of_unknown_duration": int((self.duration_ms == 0).sum()),
        }

    def part(self, start: int, stop: int) -> "Impressions":
        rows = slice(start, stop)
        return Impressions(
            self.user_id[rows],
            self.video_id[rows],
            self.time_ms[rows],
            self.play_time_ms[rows],
            self.duration_ms[rows],
            self.position_index[rows],
            {name: flag[rows] for name, flag in self.flags.items()},
            self.log_rows,
        )


def event_batches(impressions: Impressions) -> Iterator[pa.RecordBatch]:
    """Every event, an impression's together and in order, the impressions by start."""
    for start in range(0, len(impressions), _SESSIONS_PER_BATCH):
        yield _events(impressions.part(start, start + _SESSIONS_PER_BATCH)).to_batch()


def _events(of: Impressions) -> EventColumns:
    played = of.play_time_ms > 0
    every = np.arange(len(of))
    # (impressions, event type of each, time since the start of each), in the order within an impression
    groups: list[tuple[Ints, Ints, Ints]] = [
        (every[played], np.full(played.sum(), EventType.VIEW_START.code), np.zeros(played.sum(), np.int64))
    ]
    for flag, event_type, tenths in _INTERACTIONS:
        rows = every[of.flags[flag]]
        groups.append((rows, np.full(len(rows), event_type.code), of.play_time_ms[rows] * tenths // 10))
    terminal = np.where(played & of.finished, EventType.VIEW_END.code, EventType.SCROLL_PASS.code)
    groups.append((every, terminal, of.play_time_ms))

    order = np.argsort(np.concatenate([rows for rows, _, _ in groups]), kind="stable")
    row, kind, offset = (np.concatenate(column)[order] for column in zip(*groups, strict=True))
    user, video, time = of.user_id[row], of.video_id[row], of.time_ms[row]
    duration = of.duration_ms[row]
    # A play longer than the video loops: the position is that within the current round.
    in_round = np.where(duration > 0, (offset - 1) % np.maximum(duration, 1) + 1, offset)
    return EventColumns(
        event_id=derived_uuids("kuairand/event", user, video, time, kind),
        user_id=texts_of(user),
        video_id=texts_of(video),
        session_id=derived_uuids("kuairand/session", user, video, time),
        event_type=kind,
        impression_timestamp=time + offset,
        playback_position_ms=np.where(offset == 0, 0, in_round),
        position_index=of.position_index[row],
        scroll_speed_ms=np.zeros(len(row), np.float32),
        device_type=np.full(len(row), DeviceType.ANDROID.code),
        network_type=np.full(len(row), NetworkType.OTHER.code),
        geo_location=constant("CN", len(row)),
        request_id=constant("", len(row)),
    )


def _ordinals(*group: Ints) -> Ints:
    """Each row's ordinal, from 0, among the rows of the same group, in the order given."""
    order = np.lexsort(group)
    changed = np.zeros(len(order), bool)
    changed[:1] = True
    for part in group:
        changed[1:] |= np.diff(part[order]) != 0
    starts = np.flatnonzero(changed)
    lengths = np.diff(np.append(starts, len(order)))
    ordinals = np.empty(len(order), np.int64)
    ordinals[order] = np.arange(len(order)) - np.repeat(starts, lengths)
    return ordinals

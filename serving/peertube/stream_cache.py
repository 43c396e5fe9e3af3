"""What was last known of each video's streams: fresh for minutes, of use for a day when PeerTube is down."""

import time
from collections import OrderedDict
from dataclasses import dataclass

from serving.peertube.copies import Copy

FRESH_S = 300.0
UNFINISHED_FRESH_S = 5.0
"""Of a video that PeerTube still works on: it may be ready any moment."""
STALE_S = 86_400.0
ENTRIES = 10_000


@dataclass(frozen=True)
class Kept:
    """`fresh` and `usable` until these moments of the monotonic clock."""

    copy: Copy
    fresh_until: float
    usable_until: float


class StreamCache:
    """Bounded; what was asked for longest ago goes first."""

    def __init__(self, fresh_s: float = FRESH_S, entries: int = ENTRIES) -> None:
        self._fresh_s = fresh_s
        self._entries = entries
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def fresh(self, video_id: str) -> Copy | None:
        kept = self._kept.get(video_id)
        if kept is None or time.monotonic() >= kept.fresh_until:
            return None
        self._kept.move_to_end(video_id)
        return kept.copy

    def stale(self, video_id: str) -> Copy | None:
        """For when nothing newer is to be had."""
        kept = self._kept.get(video_id)
        return kept.copy if kept is not None and time.monotonic() < kept.usable_until else None

    def keep(self, video_id: str, copy: Copy) -> None:
        now = time.monotonic()
        fresh_s = self._fresh_s if copy.status == "ready" else min(self._fresh_s, UNFINISHED_FRESH_S)
        self._kept[video_id] = Kept(copy, now + fresh_s, now + STALE_S)
        self._kept.move_to_end(video_id)
        while len(self._kept) > self._entries:
            self._kept.popitem(last=False)

    def forget(self, video_id: str) -> None:
        self._kept.pop(video_id, None)

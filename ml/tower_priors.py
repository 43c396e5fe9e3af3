"""How popular each video was lately, and how old it was at moments of the training period."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ml.dataset import Encoded
from ml.fitting import decayed

DAY_MS = 86_400_000
MAX_SNAPSHOTS = 32  # bounds the memory, whatever the period: of 100,000 videos it is 3 MB

# Upper ends of the buckets of a video's age, in days; 0 is "upload time not known", 1 "not uploaded yet".
VIDEO_AGE_EDGES_DAYS = (0.25, 1, 2, 4, 7, 14, 30, 90, 365)
NOT_YET = 1
VIDEO_AGES = len(VIDEO_AGE_EDGES_DAYS) + 3


@dataclass(frozen=True)
class Snapshots:
    """How old all videos were at `times_ms` (s,), ascending: `ages` (s, n_videos), codes of `VIDEO_AGE_EDGES_DAYS`.

    Up to `MAX_SNAPSHOTS` days with examples have one each, at the day's start (UTC), of longer periods every n-th.
    """

    times_ms: NDArray[np.int64]
    ages: NDArray[np.uint8]

    @classmethod
    def of(cls, uploaded_ms: NDArray[np.int64], example_times_ms: NDArray[np.int64]) -> Self:
        """`uploaded_ms` (n_videos,), -1 where not known."""
        days = np.unique(example_times_ms // DAY_MS)
        chosen = days[np.unique(np.linspace(0, len(days) - 1, MAX_SNAPSHOTS).astype(np.int64))]
        return cls(chosen * DAY_MS, video_ages(uploaded_ms, chosen * DAY_MS))

    def rows_at(self, times_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """The newest snapshot that is not after each time."""
        return np.searchsorted(self.times_ms, times_ms, side="right") - 1


def video_ages(uploaded_ms: NDArray[np.int64], times_ms: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The code of each video's age at each time, (len(times_ms), n_videos)."""
    days = (times_ms[:, None] - uploaded_ms[None, :]) / DAY_MS
    codes = np.searchsorted(VIDEO_AGE_EDGES_DAYS, days) + NOT_YET + 1
    codes = np.where(days < 0, NOT_YET, codes)
    return np.where(uploaded_ms[None, :] < 0, 0, codes).astype(np.uint8)


def log_prior(data: Encoded, as_of_ms: int, half_life_days: float) -> NDArray[np.float32]:
    """log(1 + positives that had ended before, each halved by its age), (n_videos,).

    The "1 +" keeps videos nobody has watched yet at a finite distance from those somebody has.
    """
    rows = data.interactions
    ended = np.flatnonzero(rows.positives & (rows.ended_at_ms < as_of_ms))
    plays = decayed(rows.started_at_ms[ended], as_of_ms, half_life_days)
    counts = np.bincount(data.videos[ended], weights=plays, minlength=len(data.video_ids))
    return np.log1p(counts).astype(np.float32)

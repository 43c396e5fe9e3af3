"""How popular each video had been, and how old it was, as it was known at a few moments of the training period."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ml.dataset import Encoded
from ml.fitting import decayed

DAY_MS = 86_400_000
MAX_SNAPSHOTS = 32  # bounds the memory, whatever the period: a table of 100,000 videos is 13 MB

# Upper ends of the buckets of a video's age, in days; 0 is "upload time not known", or not uploaded yet.
VIDEO_AGE_EDGES_DAYS = (0.25, 1, 2, 4, 7, 14, 30, 90, 365)
VIDEO_AGES = len(VIDEO_AGE_EDGES_DAYS) + 2


@dataclass(frozen=True)
class Snapshots:
    """What was known of all videos at `times_ms` (s,), ascending: `priors` (s, n_videos) float32 and `ages` (s,
    n_videos) uint8, buckets of `VIDEO_AGE_EDGES_DAYS`.

    A prior is log(1 + positives that had ended before, each halved by its age); the "1 +" keeps videos nobody has
    watched yet at a finite distance from those somebody has. Up to `MAX_SNAPSHOTS` days with examples have one each,
    at the day's start (UTC), of longer periods every n-th: as stale as what is served, which answers for a day or more
    after the newest row it was trained on.
    """

    times_ms: NDArray[np.int64]
    priors: NDArray[np.float32]
    ages: NDArray[np.uint8]

    @classmethod
    def of(
        cls,
        data: Encoded,
        uploaded_ms: NDArray[np.int64],
        example_times_ms: NDArray[np.int64],
        half_life_days: float,
    ) -> Self:
        """`uploaded_ms` (n_videos,) in the order of `data.video_ids`, -1 where not known."""
        days = np.unique(example_times_ms // DAY_MS)
        chosen = days[np.unique(np.linspace(0, len(days) - 1, MAX_SNAPSHOTS).astype(np.int64))]
        return cls.at(data, uploaded_ms, chosen * DAY_MS, half_life_days)

    @classmethod
    def at(
        cls,
        data: Encoded,
        uploaded_ms: NDArray[np.int64],
        times_ms: NDArray[np.int64],
        half_life_days: float,
    ) -> Self:
        """The snapshots of these times."""
        rows = data.interactions
        positives = np.flatnonzero(rows.positives)
        positives = positives[np.argsort(rows.ended_at_ms[positives], kind="stable")]
        stops = np.searchsorted(rows.ended_at_ms[positives], times_ms)
        counts = np.zeros(len(data.video_ids))
        priors = np.empty((len(times_ms), len(counts)), dtype=np.float32)
        start, before_ms = 0, int(times_ms[0]) if len(times_ms) else 0
        for place, (stop, time_ms) in enumerate(zip(stops.tolist(), times_ms.tolist(), strict=True)):
            new = positives[start:stop]
            counts *= np.exp2((before_ms - time_ms) / DAY_MS / half_life_days)
            plays = decayed(rows.started_at_ms[new], time_ms, half_life_days)
            counts += np.bincount(data.videos[new], weights=plays, minlength=len(counts))
            priors[place] = np.log1p(counts)
            start, before_ms = stop, time_ms
        return cls(times_ms, priors, video_ages(uploaded_ms, times_ms))

    def rows_at(self, times_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """The newest snapshot that is not after each time."""
        return np.searchsorted(self.times_ms, times_ms, side="right") - 1


def video_ages(uploaded_ms: NDArray[np.int64], times_ms: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The bucket of each video's age at each time, (len(times_ms), n_videos)."""
    days = (times_ms[:, None] - uploaded_ms[None, :]) / DAY_MS
    buckets = np.searchsorted(VIDEO_AGE_EDGES_DAYS, days) + 1
    return np.where((uploaded_ms[None, :] < 0) | (days < 0), 0, buckets).astype(np.uint8)

"""Numpy features of the two-tower model: video codes and the popularity prior."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ml.dataset import Catalogue, Encoded
from ml.fitting import decayed
from ml.ids import MISSING

DAY_MS = 86_400_000

# Upper ends of the duration buckets, in seconds: short clips are split finely, long videos coarsely.
DURATION_EDGES_S = (5, 7, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600)


def video_codes(data: Encoded, catalogue: Catalogue) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """Feature codes of each of `data.video_ids`, shape (n_videos, 4), and the number of codes of each feature.

    Columns: the video's own id, creator, category, duration bucket; code 0 is "unknown" in each.
    """
    rows = catalogue.rows_of(data.video_ids)
    known = rows != MISSING
    codes = np.zeros((len(data.video_ids), 4), dtype=np.int64)
    codes[:, 0] = np.arange(1, len(data.video_ids) + 1)
    sizes = [len(data.video_ids) + 1]
    for column, values in ((1, catalogue.creator_ids), (2, catalogue.categories)):
        names, of_row = np.unique(values, return_inverse=True)
        labels = np.where(values == "", 0, of_row + 1)
        codes[known, column] = labels[rows[known]]
        sizes.append(len(names) + 1)
    edges_ms = np.asarray(DURATION_EDGES_S) * 1000
    buckets = np.where(catalogue.durations_ms > 0, np.searchsorted(edges_ms, catalogue.durations_ms) + 1, 0)
    codes[known, 3] = buckets[rows[known]]
    sizes.append(len(edges_ms) + 2)
    return codes, tuple(sizes)


def log_prior(data: Encoded, half_life_days: float) -> NDArray[np.float32]:
    """log(1 + recency-weighted positives) of each video at the newest end of a row; shape (n_videos,).

    The "1 +" keeps videos nobody has watched yet at a finite distance from those somebody has.
    """
    rows = data.interactions
    positives = np.flatnonzero(rows.positives)
    plays = decayed(rows.started_at_ms[positives], int(rows.ended_at_ms.max()), half_life_days)
    counts = np.bincount(data.videos[positives], weights=plays, minlength=len(data.video_ids))
    return np.log1p(counts).astype(np.float32)


@dataclass(frozen=True)
class DailyPriors:
    """`log_prior` as it was known at the start of each day (UTC), for training: row d of `table` (days, n_videos)
    counts the positives that had ended before day `first_day` + d began.

    A day's grain costs a row of the table a day instead of a count an example, and is as stale as what is served:
    a model answers for a day or more after the newest row it was trained on.
    """

    first_day: int
    table: NDArray[np.float32]

    @classmethod
    def of(cls, data: Encoded, half_life_days: float) -> Self:
        rows = data.interactions
        first, last = int(rows.started_at_ms.min()) // DAY_MS, int(rows.started_at_ms.max()) // DAY_MS
        positives = np.flatnonzero(rows.positives)
        ended_on = rows.ended_at_ms[positives] // DAY_MS
        table = np.zeros((last - first + 1, len(data.video_ids)), dtype=np.float32)
        counts = np.zeros(len(data.video_ids))
        for day in range(first + 1, last + 1):
            new = positives[ended_on == day - 1]
            plays = decayed(rows.started_at_ms[new], day * DAY_MS, half_life_days)
            counts *= np.exp2(-1 / half_life_days)
            counts += np.bincount(data.videos[new], weights=plays, minlength=len(counts))
            table[day - first] = np.log1p(counts)
        return cls(first, table)

    def rows_at(self, times_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row of `table` that was known at each time (between the first and the last start of a row)."""
        return times_ms // DAY_MS - self.first_day

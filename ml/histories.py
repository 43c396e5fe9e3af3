"""What was known of a user at a time: the newest interactions that had ended by then, and no later one."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ml.dataset import Encoded
from ml.ids import Rows

NO_VIDEO = 0
DAY_MS = 86_400_000


@dataclass(frozen=True)
class History:
    """The pasts of n users at a time each, newest first: video row + 1 (0 = none), weight (0 = none) and age in days,
    all (n, length)."""

    codes: NDArray[np.int64]
    weights: NDArray[np.float32]
    ages_days: NDArray[np.float32]


@dataclass(frozen=True)
class Histories:
    """Every user's interactions in the order they ended: what was known at any time is a prefix of each user's part.

    `codes` (video row + 1), `weights`, `started_ms` and `keys` are (n,), sorted by user, then end; a key is the
    user and the rank of the end among the distinct `ends_ms` as one number, so that one binary search finds where
    a user's past stops. Interactions without weight say nothing and are left out.
    """

    codes: NDArray[np.int32]
    weights: NDArray[np.float32]
    started_ms: NDArray[np.int64]
    keys: NDArray[np.int64]
    ends_ms: NDArray[np.int64]
    length: int

    @classmethod
    def of(cls, data: Encoded, length: int, min_weight: float = 0.0) -> Self:
        """`length` newest interactions are looked at, those of less than `min_weight` or of none being left out."""
        weights = data.interactions.weights
        rows = np.flatnonzero((weights > 0) & (weights >= min_weight))
        ended, users = data.interactions.ended_at_ms[rows], data.users[rows]
        order = np.lexsort((ended, users))  # stable: rows of one end stay in the order of the file
        ends_ms, ranks = np.unique(ended, return_inverse=True)
        rows = rows[order]
        return cls(
            codes=(data.videos[rows] + 1).astype(np.int32),
            weights=data.interactions.weights[rows],
            started_ms=data.interactions.started_at_ms[rows],
            keys=(users * (len(ends_ms) + 1) + ranks)[order],
            ends_ms=ends_ms,
            length=length,
        )

    def before(self, users: Rows, times_ms: NDArray[np.int64]) -> History:
        """Each user's past at each time, (len(users), length): only interactions with an end before it count.

        Half-watched videos are in it too, with their small weight: for users with few positives they are most of
        what is known.
        """
        stops = self._stops(users, np.searchsorted(self.ends_ms, times_ms))
        starts = self._stops(users, np.zeros(len(users), dtype=np.int64))
        places = stops[:, None] - 1 - np.arange(self.length)
        there = places >= starts[:, None]
        if not len(self.codes):
            nothing = np.zeros(places.shape, dtype=np.float32)
            return History(nothing.astype(np.int64), nothing, nothing)
        places = np.where(there, places, 0)
        ages = (times_ms[:, None] - self.started_ms[places]) / DAY_MS
        return History(
            codes=np.where(there, self.codes[places], NO_VIDEO).astype(np.int64),
            weights=np.where(there, self.weights[places], 0).astype(np.float32),
            ages_days=np.where(there, ages, 0).astype(np.float32),
        )

    def _stops(self, users: Rows, ends_before: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the first interaction of each user stands whose end has at least this rank."""
        return np.searchsorted(self.keys, users * (len(self.ends_ms) + 1) + ends_before)

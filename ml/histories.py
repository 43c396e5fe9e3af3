"""What was known of a user at a time: the newest interactions that had ended by then, and no later one."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ml.config import TwoTowerConfig
from ml.dataset import Encoded
from ml.fitting import decayed
from ml.ids import Rows

NO_VIDEO = 0


@dataclass(frozen=True)
class Histories:
    """Every user's interactions in the order they ended: what was known at any time is a prefix of each user's part.

    `codes` (video row + 1), `weights`, `started_ms` and `keys` are (n,), sorted by user, then end; a key is the
    user and the rank of the end among the distinct `ends_ms` as one number, so that one binary search finds where
    a user's past stops. Interactions without weight say nothing and are left out.
    """

    codes: NDArray[np.int64]
    weights: NDArray[np.float32]
    started_ms: NDArray[np.int64]
    keys: NDArray[np.int64]
    ends_ms: NDArray[np.int64]
    length: int
    half_life_days: float

    @classmethod
    def of(cls, data: Encoded, config: TwoTowerConfig) -> Self:
        rows = np.flatnonzero(data.interactions.weights > 0)
        ended, users = data.interactions.ended_at_ms[rows], data.users[rows]
        order = np.lexsort((ended, users))  # stable: rows of one end stay in the order of the file
        ends_ms, ranks = np.unique(ended, return_inverse=True)
        rows = rows[order]
        return cls(
            codes=data.videos[rows] + 1,
            weights=data.interactions.weights[rows],
            started_ms=data.interactions.started_at_ms[rows],
            keys=(users * (len(ends_ms) + 1) + ranks)[order],
            ends_ms=ends_ms,
            length=config.history_length,
            half_life_days=config.history_half_life_days,
        )

    def before(
        self, users: Rows, times_ms: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Video-id codes, newest first (0 = none), and weights of each user's past at each time; (n, length) both.

        Only interactions with an end before the time count. A weight is the interaction's own times
        0.5 ** (age / half life), so old interest fades and no user loses it all: the pooled mean uses shares, not
        sums. Half-watched videos count too, by their small weight: for users with few positives they are most of
        what is known.
        """
        stops = self._stops(users, np.searchsorted(self.ends_ms, times_ms))
        starts = self._stops(users, np.zeros(len(users), dtype=np.int64))
        places = stops[:, None] - 1 - np.arange(self.length)
        there = places >= starts[:, None]
        places = np.where(there, places, 0)
        if not len(self.codes):
            return np.zeros(places.shape, dtype=np.int64), np.zeros(places.shape, dtype=np.float32)
        fading = decayed(self.started_ms[places], times_ms[:, None], self.half_life_days)
        codes = np.where(there, self.codes[places], NO_VIDEO)
        return codes, np.where(there, self.weights[places] * fading, 0).astype(np.float32)

    def _stops(self, users: Rows, ends_before: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the first interaction of each user stands whose end has at least this rank."""
        return np.searchsorted(self.keys, users * (len(self.ends_ms) + 1) + ends_before)

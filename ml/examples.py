"""The two-tower model's training examples, each with what was known when it started and nothing later."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ml.config import TwoTowerConfig
from ml.dataset import Encoded
from ml.errors import EmptyTrainingSetError
from ml.features import DailyPriors
from ml.histories import Histories
from ml.ids import Rows


@dataclass(frozen=True)
class Inputs:
    """What the model is told about a batch of examples.

    `history` video-id codes and `weights`, (n, length) both; `prior_rows` (n,) are rows of the examples' `priors`.
    """

    history: NDArray[np.int64]
    weights: NDArray[np.float32]
    prior_rows: NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """One example for each positive interaction: user row, video row, start, and the strength of the evidence (n,)."""

    users: Rows
    videos: Rows
    times_ms: NDArray[np.int64]
    strength: NDArray[np.float32]
    histories: Histories
    priors: DailyPriors

    @classmethod
    def of(cls, data: Encoded, config: TwoTowerConfig) -> Self:
        """Raises `EmptyTrainingSetError` without a positive interaction."""
        positives = np.flatnonzero(data.interactions.positives)
        if not len(positives):
            raise EmptyTrainingSetError("two-tower: there are no positive interactions")
        return cls(
            users=data.users[positives],
            videos=data.videos[positives],
            times_ms=data.interactions.started_at_ms[positives],
            strength=data.interactions.weights[positives],
            histories=Histories.of(data, config),
            priors=DailyPriors.of(data, config.popularity_half_life_days),
        )

    def __len__(self) -> int:
        return len(self.users)

    def inputs(self, rows: Rows) -> Inputs:
        """What was known of each example's user, and of all videos, before the example started.

        An earlier play of the example's own video is taken out of the history: what a user has met is never a
        candidate when the model is asked, so "the same again" must not be what it learns.
        """
        times = self.times_ms[rows]
        history, weights = self.histories.before(self.users[rows], times)
        weights[history == self.videos[rows, None] + 1] = 0
        return Inputs(history, weights, self.priors.rows_at(times))

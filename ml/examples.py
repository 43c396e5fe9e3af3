"""The two-tower model's training examples, each with what was known at its moment and nothing later."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ml.dataset import Encoded
from ml.errors import EmptyTrainingSetError
from ml.histories import Histories, History
from ml.ids import Rows
from ml.tower_priors import Snapshots
from ml.tower_weights import target_strengths
from ml.two_tower_config import TwoTowerConfig


@dataclass(frozen=True)
class Batch:
    """n moments: who was asking, their past, the newest snapshot of all videos, and what they went on to watch.

    `targets` (n, k) are video rows and `strength` (n, k) what each counts, 0 where there is none: fewer than k were
    left, or the video is in the past already (what a user has met is never a candidate when the model is asked, so
    "the same again" must not be what it learns).
    """

    users: Rows
    history: History
    snapshots: Rows
    targets: Rows
    strength: NDArray[np.float32]

    def told(self) -> "Batch":
        """Without the moments that have nothing to teach, all their targets having been met before."""
        rows = np.flatnonzero(self.strength.any(axis=1))
        history = self.history
        return Batch(
            users=self.users[rows],
            history=History(history.codes[rows], history.weights[rows], history.ages_days[rows]),
            snapshots=self.snapshots[rows],
            targets=self.targets[rows],
            strength=self.strength[rows],
        )


@dataclass(frozen=True)
class Examples:
    """An example is a moment: a user just before they start a video, asked for that one and the next few.

    One moment with many targets costs one row of scores, where an example a target would cost many; and as each epoch
    draws other moments, a video is learned from short pasts and from long ones. `users`, `videos`, `times_ms` (start)
    and `strength` (n,) are the targets, sorted by user, then start; `starts` (n_users + 1,) bound each user's.
    """

    users: Rows
    videos: Rows
    times_ms: NDArray[np.int64]
    strength: NDArray[np.float32]
    starts: NDArray[np.int64]
    histories: Histories
    snapshots: Snapshots
    width: int

    @classmethod
    def of(
        cls,
        data: Encoded,
        config: TwoTowerConfig,
        durations_ms: NDArray[np.int64] | None = None,
        uploaded_ms: NDArray[np.int64] | None = None,
    ) -> Self:
        """`durations_ms` and `uploaded_ms` (n_videos,) are in the order of `data.video_ids`, unknown unless given.

        Raises `EmptyTrainingSetError` without a positive interaction.
        """
        rows = data.interactions
        if not rows.positives.any():
            raise EmptyTrainingSetError("two-tower: there are no positive interactions")
        unknown = np.full(len(data.video_ids), -1, dtype=np.int64)
        durations_ms = unknown if durations_ms is None else durations_ms
        uploaded_ms = unknown if uploaded_ms is None else uploaded_ms
        strength = target_strengths(rows, durations_ms[data.videos], config)
        kept = np.flatnonzero(strength > 0)
        kept = kept[np.lexsort((rows.started_at_ms[kept], data.users[kept]))]
        times_ms = rows.started_at_ms[kept]
        return cls(
            users=data.users[kept],
            videos=data.videos[kept],
            times_ms=times_ms,
            strength=strength[kept],
            starts=np.searchsorted(data.users[kept], np.arange(len(data.user_ids) + 1)),
            histories=Histories.of(data, config.history_length, config.history_min_weight),
            snapshots=Snapshots.of(uploaded_ms, times_ms),
            width=config.targets,
        )

    def __len__(self) -> int:
        """Moments in an epoch: so many that each target is asked for about once (users with one: always)."""
        return int(self._moments().sum())

    def _moments(self) -> NDArray[np.int64]:
        return -(-np.diff(self.starts) // self.width)

    def epoch(self, seed: int, epoch: int) -> Rows:
        """The places of an epoch's moments, shuffled; the same for the same seed and epoch, wherever it is asked."""
        draws = np.random.default_rng([seed, epoch])
        users = np.repeat(np.arange(len(self.starts) - 1), self._moments())
        counts = np.diff(self.starts)[users]
        return draws.permutation(self.starts[users] + (draws.random(len(users)) * counts).astype(np.int64))

    def batch(self, places: Rows) -> Batch:
        """What was known just before the targets at these places started, and which they and the next ones are."""
        users, times_ms = self.users[places], self.times_ms[places]
        history = self.histories.before(users, times_ms)
        targets, strength = self.targets_from(places)
        offsets = np.arange(len(places))[:, None] * (self.snapshots.ages.shape[1] + 1)
        keys = (
            np.sort(history.codes, axis=1) + offsets
        ).ravel()  # ascending: one row of the batch after the other
        wanted = targets + 1 + offsets
        met = keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted
        return Batch(
            users=users,
            history=history,
            snapshots=self.snapshots.rows_at(times_ms),
            targets=targets,
            strength=np.where(met, 0, strength).astype(np.float32),
        )

    def targets_from(self, places: Rows) -> tuple[Rows, NDArray[np.float32]]:
        """Video rows and strengths of the targets at each place and after it, of the same user; (n, at most width)."""
        left = self.starts[self.users[places] + 1] - places
        width = min(self.width, int(left.max())) if len(places) else 0
        after = np.arange(width)
        there = after < left[:, None]
        at = np.where(there, places[:, None] + after, 0)
        return np.where(there, self.videos[at], 0), np.where(there, self.strength[at], 0).astype(np.float32)

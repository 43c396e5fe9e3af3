"""Softmax over sampled candidates, or over the whole catalogue where it is small enough."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ml.examples import Batch, Examples
from ml.ids import Rows
from ml.towers import Past, TwoTower, Videos
from ml.two_tower_config import TwoTowerConfig


@dataclass(frozen=True)
class Candidates:
    """Distinct video rows that a batch's targets are told from, ascending, and the log of how likely each was to be
    among them; (c,) each."""

    rows: Rows
    log_chance: NDArray[np.float32]


@dataclass(frozen=True)
class Sampler:
    """Draws the candidates of a batch: the batch's own targets and `uniform` videos of the catalogue.

    `share` (n_videos,) is how often a target drawn from the examples is each video.
    """

    share: NDArray[np.float64]
    uniform: int
    whole: bool
    seed: int

    @classmethod
    def of(cls, examples: Examples, config: TwoTowerConfig, seed: int) -> "Sampler":
        n = examples.snapshots.ages.shape[1]
        share = np.bincount(examples.videos, minlength=n) / len(examples.videos)
        return cls(share, config.uniform_negatives, n <= config.whole_catalogue_up_to, seed)

    def draw(self, targets: Rows, epoch: int, step: int) -> Candidates:
        """`targets` (any shape) are those of the batch; what is drawn depends on the seed, epoch and step alone.

        A video is among the candidates unless all draws miss it: with probability 1 - exp(-E), E being the number of
        times it is expected to be drawn.
        """
        if self.whole:
            return Candidates(np.arange(len(self.share)), np.zeros(len(self.share), dtype=np.float32))
        draws = np.random.default_rng([self.seed, epoch, step])
        rows = np.union1d(targets, draws.integers(len(self.share), size=self.uniform))
        expected = targets.size * self.share[rows] + self.uniform / len(self.share)
        return Candidates(rows, np.log(-np.expm1(-expected)).astype(np.float32))


class Inputs(NamedTuple):
    """A batch on the device: who asks, the candidates, and what is right.

    `ages` (s, c) are those of the candidates at each snapshot, `snapshots` (n,) the row that an example is told;
    `targets` (n, k) are columns of the candidates, with `strength`; `total` is the strength of all processes' examples
    together.
    """

    past: Past
    videos: Videos
    rows: Tensor
    log_chance: Tensor
    ages: Tensor
    snapshots: Tensor
    targets: Tensor
    strength: Tensor
    total: float


class SampledSoftmax(nn.Module):
    """The loss of a batch, as a module, so that `DistributedDataParallel` can wrap it."""

    def __init__(self, towers: TwoTower) -> None:
        super().__init__()
        self.towers = towers

    def forward(self, inputs: Inputs) -> Tensor:
        """Mean cross-entropy of the targets against the candidates, weighted by strength.

        A sampled candidate stands for 1 / p of its kind, p being its chance to be one; so log p is taken off its logit
        (log-Q correction: Yi et al. 2019, "Sampling-bias-corrected neural modeling for large corpus item
        recommendations"; mixed with uniform negatives: Yang et al. 2020). The candidates come from examples of any
        time, but in expectation the corrected loss is that of the softmax over the whole catalogue, which does not
        know when they were played. What an example's user had met before is no candidate for it.
        """
        logits = self.logits(inputs)
        right = logits.gather(1, inputs.targets)
        losses = (torch.logsumexp(logits, dim=1, keepdim=True) - right).masked_fill(inputs.strength == 0, 0)
        return (losses * inputs.strength).sum() / inputs.total

    def logits(self, inputs: Inputs) -> Tensor:
        """(n, c), less the log chance of each candidate."""
        towers = self.towers
        u, v = towers.user_vectors(inputs.past), towers.video_vectors(inputs.videos)
        shared = towers.age[inputs.ages] + towers.bias[inputs.rows]
        logits = (u * towers.log_scale.exp()) @ v.T
        logits = logits.float() + (shared - inputs.log_chance)[inputs.snapshots]
        return logits.masked_fill(self._met(inputs), float("-inf"))

    def _met(self, inputs: Inputs) -> Tensor:
        """Whether a candidate is in the past of each example, (n, c); a target never is (`Examples.batch`)."""
        n, c = len(inputs.past.users), len(inputs.rows)
        columns = torch.full((self.towers.n_videos + 1,), c, device=inputs.rows.device)
        columns[inputs.rows + 1] = torch.arange(c, device=inputs.rows.device)
        met = torch.zeros((n, c + 1), dtype=torch.bool, device=inputs.rows.device)
        return met.scatter_(1, columns[inputs.past.codes], True)[:, :c]


def columns_of(batch: Batch, candidates: Candidates) -> Rows:
    """The column of each target among the candidates; of places without a target any column."""
    return np.minimum(np.searchsorted(candidates.rows, batch.targets), len(candidates.rows) - 1)

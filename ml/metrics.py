"""Ranking metrics per user, and how sure of their means one may be."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

PRIMARY = "ndcg_at_10"
"""What models are compared by; the other metrics stand beside it."""

CUTOFFS = (10, 20)
RESAMPLES = 1000
CONFIDENCE = 0.95

# Users looked at together, and draws held at once (16 MB): neither memory nor the passes over it grow with the users.
CHUNK_USERS = 16_384
BLOCK_DRAWS = 2_000_000

PerUser = dict[str, NDArray[np.float64]]

Key = TypeVar("Key", bound=Hashable)


def ranking_metrics(
    hits: NDArray[np.bool_], relevant: NDArray[np.int64], cutoffs: tuple[int, ...] = CUTOFFS
) -> PerUser:
    """Metrics of each user with binary relevance, `{metric_at_k: (n,)}`.

    `hits` (n, K): whether the video at each rank is relevant, K >= max(cutoffs) (pad short lists with False);
    `relevant` (n,) >= 1: how many relevant videos the user has. With h_i the hit at rank i, R relevant:
    precision = sum h / k; recall = sum h / R; ndcg = sum h_i/log2(i+1) / the same of the ideal list
    (min(R, k) hits first; Jarvelin and Kekalainen 2002); map = sum h_i * precision_i / min(R, k);
    mrr = 1 / rank of the first hit, 0 without one; hit_rate = 1 with a hit, 0 without one.
    """
    if hits.shape[1] < max(cutoffs):
        raise ValueError(f"hits has {hits.shape[1]} ranks, the cutoffs need {max(cutoffs)}")
    if (relevant < 1).any():
        raise ValueError("a user without relevant videos has no metrics: leave them out before")
    metrics: PerUser = {}
    for k in cutoffs:
        top = hits[:, :k].astype(np.float64)
        ranks = np.arange(1, k + 1)
        found = top.sum(axis=1)
        reachable = np.minimum(relevant, k)
        gains = 1 / np.log2(ranks + 1)
        metrics[f"precision_at_{k}"] = found / k
        metrics[f"recall_at_{k}"] = found / relevant
        metrics[f"ndcg_at_{k}"] = top @ gains / np.cumsum(gains)[reachable - 1]
        metrics[f"map_at_{k}"] = (top * np.cumsum(top, axis=1) / ranks).sum(axis=1) / reachable
        metrics[f"mrr_at_{k}"] = (top / ranks).max(axis=1)
        metrics[f"hit_rate_at_{k}"] = (found > 0).astype(np.float64)
    return metrics


# The last bits of a sum depend on how many threads share it; what is reported does not.
DECIMALS = 12


@dataclass(frozen=True)
class Interval:
    """A mean with its percentile bootstrap interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, low: float, high: float) -> Self:
        """Rounded to 12 decimals."""
        return cls(*(round(float(number), DECIMALS) for number in (value, low, high)))

    def as_dict(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


def resampled_means(
    values: NDArray[np.float64], seed: int, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Means of `values` (n, m) over bootstrap resamples of the rows, shape (resamples, m).

    The draws depend on n and the seed alone, so calls about the same users are paired. A resample is how often each
    row was drawn, so that all columns are one matrix product. More rows than a chunk holds: how many draws fall into
    each chunk is multinomial, and within it they are uniform again.
    """
    rng = np.random.default_rng(seed)
    n, m = values.shape
    chunks = [slice(start, min(start + CHUNK_USERS, n)) for start in range(0, n, CHUNK_USERS)]
    sizes = np.asarray([chunk.stop - chunk.start for chunk in chunks])
    shares = rng.multinomial(n, sizes / n, size=resamples)
    sums = np.zeros((resamples, m))
    for chunk, size, draws in zip(chunks, sizes.tolist(), shares.T, strict=True):
        step = max(1, BLOCK_DRAWS // size)
        for start in range(0, resamples, step):
            of_block = draws[start : start + step]
            block = len(of_block)
            drawn = rng.integers(0, size, of_block.sum()) + np.repeat(np.arange(block) * size, of_block)
            times = np.bincount(drawn, minlength=block * size).reshape(block, size)
            sums[start : start + block] += times.astype(np.float64) @ values[chunk]
    return sums / n


def percentiles(resampled: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ends of the 95% interval of each column of (resamples, m), (m,) each."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail], axis=0)
    return low, high


def intervals(per_user: Mapping[Key, NDArray], seed: int) -> dict[Key, Interval]:
    """The mean over users of each column (n,) with its 95% interval (Efron's percentile bootstrap over users).

    The difference of two models' per-user values is a column too: its interval is the paired one. Many columns in one
    call cost little more than one. With a handful of users the interval is too narrow, and where nobody has a hit it
    is a point: look at the number of users beside it.
    """
    values = np.stack([np.asarray(column, dtype=np.float64) for column in per_user.values()], axis=1)
    low, high = percentiles(resampled_means(values, seed))
    centre = values.mean(axis=0)
    return {name: Interval.of(centre[i], low[i], high[i]) for i, name in enumerate(per_user)}


def root_mean_square(squares: NDArray[np.float64], rows: NDArray[np.int64], seed: int) -> Interval:
    """RMSE with its interval, from each user's sum of squared errors and number of rows, both (n,)."""
    sums = resampled_means(np.stack([squares, rows.astype(np.float64)], axis=1), seed)
    low, high = percentiles(np.sqrt(sums[:, 0] / sums[:, 1]))
    return Interval.of(np.sqrt(squares.sum() / rows.sum()), float(low), float(high))


def catalogue_coverage(recommended: NDArray[np.integer], n_videos: int) -> float:
    """Share of the catalogue that appears in anybody's list; `recommended` (n, k) rows, negative = no video."""
    return len(np.unique(recommended[recommended >= 0])) / n_videos

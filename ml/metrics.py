"""Ranking metrics per user, and how sure of their means one may be."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CUTOFFS = (10, 20)
RESAMPLES = 1000
CONFIDENCE = 0.95

PerUser = dict[str, NDArray[np.float64]]


def ranking_metrics(
    hits: NDArray[np.bool_], relevant: NDArray[np.int64], cutoffs: tuple[int, ...] = CUTOFFS
) -> PerUser:
    """Metrics of each user with binary relevance, `{metric_at_k: (n,)}`.

    `hits` (n, K): whether the video at each rank is relevant, K >= max(cutoffs) (pad short lists with False);
    `relevant` (n,) >= 1: how many relevant videos the user has. With h_i the hit at rank i, R relevant:
    precision = sum h / k; recall = sum h / R; ndcg = sum h_i/log2(i+1) / the same of the ideal list
    (min(R, k) hits first; Jarvelin and Kekalainen 2002); map = sum h_i * precision_i / min(R, k);
    mrr = 1 / rank of the first hit, 0 without one.
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
    return metrics


@dataclass(frozen=True)
class Interval:
    """A mean with its percentile bootstrap interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


def resampled_counts(n: int, seed: int, resamples: int = RESAMPLES) -> NDArray[np.float32]:
    """How often each of n users is drawn in each bootstrap resample, shape (resamples, n); rows sum to n.

    One matrix for all metrics and models of a judgement: the same draws for both sides make differences paired.
    """
    rng = np.random.default_rng(seed)
    counts = np.empty((resamples, n), dtype=np.float32)
    for row in range(resamples):
        counts[row] = np.bincount(rng.integers(0, n, n), minlength=n)
    return counts


def intervals(per_user: Mapping[str, NDArray], counts: NDArray[np.float32]) -> dict[str, Interval]:
    """The mean over users of each metric with its 95% interval, resampling users (Efron's percentile method)."""
    names = list(per_user)
    values = np.stack([np.asarray(per_user[name], dtype=np.float64) for name in names], axis=1)
    means = counts @ values / values.shape[0]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    centre = values.mean(axis=0)
    return {
        name: Interval(float(centre[i]), float(low[i]), float(high[i])) for i, name in enumerate(names)
    }


def root_mean_square(
    squared_errors: NDArray[np.float64], rows: NDArray[np.int64], counts: NDArray[np.float32]
) -> Interval:
    """RMSE with its interval from each user's sum of squared errors and number of rows, both (n,)."""
    resampled = np.sqrt((counts @ squared_errors) / (counts @ rows.astype(np.float64)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(float(np.sqrt(squared_errors.sum() / rows.sum())), float(low), float(high))


def catalogue_coverage(recommended: NDArray[np.int64], n_videos: int) -> float:
    """Share of the catalogue that appears in anybody's list; `recommended` (n, k) rows, negative = no video."""
    return len(np.unique(recommended[recommended >= 0])) / n_videos

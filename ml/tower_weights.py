"""What each interaction counts as something to learn: by watch time, against other videos as long."""

import numpy as np
from numpy.typing import NDArray

from ml.dataset import Interactions
from ml.features import duration_buckets
from ml.fitting import decayed
from ml.two_tower_config import TwoTowerConfig


def target_strengths(
    rows: Interactions, durations_ms: NDArray[np.int64], config: TwoTowerConfig
) -> NDArray[np.float32]:
    """The strength of each row as a target, (n,): its weight, made comparable between short videos and long ones.

    Few finish a long video, so by its weight alone a long one is hardly worth showing. What counts besides is how the
    row compares with those of videos as long: its quantile among them, twice, so that the typical watch counts 1
    whatever the duration (duration-deconfounded quantiles: Zhan et al. 2022, "Deconfounding duration bias in watch-time
    prediction for video recommendation"). Rows that are no positives count `weak_targets` of that. `durations_ms` (n,)
    is that of each row's video. All fades with `example_half_life_days`: what is watched next is like what was watched
    last. A quantile is taken over all rows given: it decides how much an example counts, not what it is told.
    """
    share = config.duration_debiasing
    strength = (1 - share) * rows.weights + share * 2 * quantiles(
        rows.weights, duration_buckets(durations_ms)
    )
    strength = np.where(rows.weights > 0, strength, rows.positives.astype(np.float32))
    strength *= np.where(rows.positives, 1, config.weak_targets)
    newest_ms = int(rows.started_at_ms.max(initial=0))
    return (strength * decayed(rows.started_at_ms, newest_ms, config.example_half_life_days)).astype(
        np.float32
    )


def quantiles(values: NDArray, groups: NDArray[np.int64]) -> NDArray[np.float32]:
    """The mid-rank of each value within its group as a share, in (0, 1); 0.5 where all values of a group are equal."""
    order = np.lexsort((values, groups))
    sorted_groups, sorted_values = groups[order], values[order]
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (sorted_groups[1:] != sorted_groups[:-1]) | (sorted_values[1:] != sorted_values[:-1])
    tie = np.cumsum(new) - 1
    first = np.flatnonzero(new)
    counts = np.diff(np.append(first, len(order)))
    group_start = np.searchsorted(sorted_groups, sorted_groups)
    group_size = np.searchsorted(sorted_groups, sorted_groups, side="right") - group_start
    middle = (first + counts / 2)[tie] - group_start
    found = np.empty(len(order), dtype=np.float32)
    found[order] = middle / np.maximum(group_size, 1)
    return found

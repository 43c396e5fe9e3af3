"""The one place that decides which rows a judged model may learn from."""

from dataclasses import dataclass

import numpy as np

from ml.dataset import Interactions
from ml.errors import ConfigurationError, EmptySplitError, EmptyTrainingSetError


@dataclass(frozen=True)
class Split:
    """`train` started before `cut_ms` (epoch ms) and ended by then, `test` started at or after it.

    `straddling` rows, started before and ended after, are in neither: what they say was not known at the cut, and
    the decision to watch was not taken after it.
    """

    train: Interactions
    test: Interactions
    cut_ms: int
    straddling: int = 0


def time_split(interactions: Interactions, test_fraction: float) -> Split:
    """Global time split: one cut for everybody, so that no model learns from what came after a test row.

    The newest `test_fraction` of the rows by start is held out; rows of the cut's own millisecond all go to the test.
    Raises `EmptySplitError` when nothing is left to train on, as with rows that all share one time.
    """
    if not 0 < test_fraction < 1:
        raise ConfigurationError(f"test_fraction: must lie between 0 and 1 (got {test_fraction})")
    if not len(interactions):
        raise EmptyTrainingSetError("the training set has no interactions")
    times = np.sort(interactions.started_at_ms)
    cut_ms = int(times[min(int(len(times) * (1 - test_fraction)), len(times) - 1)])
    after = interactions.started_at_ms >= cut_ms
    before = ~after & (interactions.ended_at_ms <= cut_ms)
    if not before.any():
        raise EmptySplitError(
            f"no interaction started and ended before the cut at {cut_ms} ms: too few distinct times to split"
        )
    straddling = len(interactions) - int(before.sum()) - int(after.sum())
    return Split(interactions.take(before), interactions.take(after), cut_ms, straddling)

"""The three sets of rows that every kind is fitted on, one inside the other."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from ml.dataset import Interactions, Known
from ml.evaluate import TestUsers
from ml.split import Split, time_split
from ml.training_set import TrainingSet

VALIDATION, HOLDOUT, FULL = "validation", "holdout", "full"


@dataclass(frozen=True)
class Phases:
    """`validation` is known at an inner cut, `holdout` at the cut, `full` is everything.

    What is chosen by looking (epochs, weights of a blend, hyper-parameters) is chosen on the rows between the inner cut
    and the cut. The rows after the cut judge, and nothing is chosen on them.
    """

    validation: Known
    holdout: Known
    full: Known
    inner: Split
    outer: Split

    @classmethod
    def of(cls, data: TrainingSet, test_fraction: float, validation_fraction: float) -> Self:
        """Raises `EmptySplitError` when the rows have too few distinct times for two cuts."""
        outer = time_split(data.interactions, test_fraction)
        inner = time_split(outer.train, validation_fraction)
        return cls(
            validation=data.known(inner.train, inner.cut_ms),
            holdout=data.known(outer.train, outer.cut_ms),
            full=data.known(data.interactions),
            inner=inner,
            outer=outer,
        )

    def __iter__(self) -> Iterator[tuple[str, Known]]:
        yield from ((VALIDATION, self.validation), (HOLDOUT, self.holdout), (FULL, self.full))

    @property
    def validation_rows(self) -> Interactions:
        """What happened between the inner cut and the cut."""
        return self.inner.test

    def validation_users(self) -> TestUsers:
        """Who is looked at to choose, and on what; raises `NothingToJudgeError`."""
        return TestUsers.of(self.inner, self.holdout.watched)

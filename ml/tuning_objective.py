"""What a trial is judged by: the validation rows inside the training period, never a row after the cut.

The users of those rows are split in two. One half chooses among the trials; the other, which no trial was chosen on,
confirms that the winner beats the present parameters (`ml.tuning_verdict`). The best of many trials owes part of its
lead to luck with the users it was picked on: on the others the paired interval is honest.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ml.config import TrainConfig
from ml.dataset import Known
from ml.errors import ConfigurationError, DivergedError, NothingToJudgeError
from ml.evaluate import TestUsers, evaluate
from ml.fit import fit
from ml.fitting import Fitted, Progress, Validate
from ml.metrics import CUTOFFS, PRIMARY
from ml.phases import Phases
from ml.recommender import BASELINE, Recommender
from ml.split import time_split

# What is the fault of a trial's parameters: it fails, the search goes on. Anything else is a defect and ends it.
TROUBLES = (DivergedError, ConfigurationError, ArithmeticError, np.linalg.LinAlgError, MemoryError)


@dataclass(frozen=True)
class Judge:
    """The two halves of the validation users; people a model does not know get the list of `strangers`, as in
    serving."""

    choosing: TestUsers
    confirming: TestUsers
    strangers: Recommender

    @classmethod
    def of(cls, phases: Phases, config: TrainConfig) -> Self:
        """Raises `NothingToJudgeError` when a half has nobody."""
        users = phases.validation_users()
        first = half(users)
        if first.all() or not first.any():
            raise NothingToJudgeError(
                f"{len(users.user_ids)} validation users are too few to choose on and confirm"
            )
        return cls(take(users, first), take(users, ~first), fit(BASELINE, phases.validation, config).model)

    def choose(self, model: Recommender) -> float:
        """Mean NDCG@10 of the choosing users."""
        return float(self._per_user(model, self.choosing).mean())

    def confirm(self, model: Recommender) -> NDArray[np.float64]:
        """NDCG@10 of each confirming user, (n,)."""
        return self._per_user(model, self.confirming)

    def _per_user(self, model: Recommender, users: TestUsers) -> NDArray[np.float64]:
        strangers = None if model.kind == BASELINE else self.strangers
        return evaluate(model, users, CUTOFFS[:1], strangers=strangers).per_user[PRIMARY]


def half(users: TestUsers) -> NDArray[np.bool_]:
    """Who is in the first half, (n,): by a hash of the id, so that a person stays in the same half for ever."""
    digests = (hashlib.blake2b(str(user).encode(), digest_size=1).digest()[0] for user in users.user_ids)
    return np.fromiter((byte % 2 == 0 for byte in digests), np.bool_, len(users.user_ids))


def take(users: TestUsers, chosen: NDArray[np.bool_]) -> TestUsers:
    """The users of a mask, with their pairs."""
    row = np.cumsum(chosen) - 1

    def theirs(pairs: tuple[NDArray[np.int64], NDArray[np.int64]]) -> tuple[NDArray, NDArray]:
        kept = chosen[pairs[0]]
        return row[pairs[0][kept]], pairs[1][kept]

    return replace(
        users,
        user_ids=users.user_ids[chosen],
        relevant=theirs(users.relevant),
        met=theirs(users.met),
        new=users.new[chosen],
    )


class Fit(Protocol):
    """Fits one kind on what is known at the inner cut."""

    def __call__(
        self, config: TrainConfig, *, progress: Progress | None = None, validate: Validate | None = None
    ) -> Fitted: ...


@dataclass(frozen=True)
class FitKind:
    """A kind that is fitted whole in every trial."""

    kind: str
    known: Known

    def __call__(
        self, config: TrainConfig, *, progress: Progress | None = None, validate: Validate | None = None
    ) -> Fitted:
        return fit(self.kind, self.known, config, progress=progress, validate=validate)


@dataclass
class FitHybrid:
    """The hybrid: its parts are fitted once, with the parameters found before; a trial learns the weights anew.

    The weights are learned inside the known rows, between a third cut and the inner one, by parts fitted before it;
    then they blend parts fitted on all known rows. The validation rows judge only.
    """

    known: Known
    validation_fraction: float
    _parts: dict[str, Mapping[str, Recommender]] = field(default_factory=dict)

    def __call__(
        self, config: TrainConfig, *, progress: Progress | None = None, validate: Validate | None = None
    ) -> Fitted:
        from ml import hybrid

        known = self.known
        third = time_split(known.interactions, self.validation_fraction)
        before = Known.of(third.train, known.catalogue, known.people, known.watched, third.cut_ms)
        if not self._parts:
            # Both or neither: an interruption in between must not leave the one without the other.
            learnt_by = {kind: fit(kind, before, config).model for kind in config.hybrid.parts}
            blended = {kind: fit(kind, known, config).model for kind in config.hybrid.parts}
            self._parts = {"before": learnt_by, "known": blended}
        learned = hybrid.learn(
            self._parts["before"], before, third.test, known.watched, config.hybrid, seed=config.seed
        )
        return Fitted(hybrid.assemble(self._parts["known"], learned, known, config.hybrid), found=learned)

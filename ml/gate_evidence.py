"""How sure one may be that a recipe is better than another, from one training of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, pi, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ml.errors import MismatchedHoldoutError, NothingToJudgeError

_NORMAL = NormalDist()


@dataclass(frozen=True)
class Evidence:
    """The challenger's primary metric minus the incumbent's on the same users.

    `sampling_sd` is the standard error of the mean difference over users, `training_sd` what other seeds would move
    it by; `low` and `high` bound it at `confidence`, one-sided each, by both together. `p_value` is one-sided: of a
    difference as large as this one if the two recipes were equally good. `relative` is to the incumbent (None at 0).
    """

    challenger: float
    incumbent: float
    difference: float
    relative: float | None
    sampling_sd: float
    training_sd: float
    low: float
    high: float
    confidence: float
    p_value: float
    users: int
    wins: int
    losses: int
    ties: int


def weigh(
    challenger: NDArray,
    incumbent: NDArray,
    *,
    alpha: float,
    noise: tuple[float, float] = (0.0, 0.0),
    identical: bool = False,
) -> Evidence:
    """Compare per-user values, (n,) each, the same users in the same order.

    `noise` are the relative standard deviations of each recipe's mean between seeds. The difference of two recipes has
    the variance of the users' mean, se^2, and that of either training: sd = sqrt(se^2 + sd_challenger^2 +
    sd_incumbent^2), which for two trainings of one recipe is sqrt(se^2 + 2 sd^2). Sums over thousands of users, so the
    interval is the normal one; of a single user it is infinite. `identical`: the two are one training, whose seeds
    are no matter.
    Raises `MismatchedHoldoutError`, `NothingToJudgeError`.
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in (challenger, incumbent))
    if first.shape != second.shape or first.ndim != 1:
        raise MismatchedHoldoutError(f"values of {first.shape} and {second.shape} are not of the same users")
    n = len(first)
    if not n:
        raise NothingToJudgeError("there are no users to compare two models on")
    differences = first - second
    means = float(first.mean()), float(second.mean())
    alone = 0.0 if identical else inf  # one user says nothing of the others
    sampling = float(differences.std(ddof=1) / sqrt(n)) if n > 1 else alone
    training = 0.0 if identical else float(np.hypot(noise[0] * means[0], noise[1] * means[1]))
    total = sqrt(sampling**2 + training**2)
    mean = float(differences.mean())
    reach = _NORMAL.inv_cdf(1 - alpha) * total
    return Evidence(
        challenger=means[0],
        incumbent=means[1],
        difference=mean,
        relative=mean / means[1] if means[1] else None,
        sampling_sd=sampling,
        training_sd=training,
        low=mean - reach,
        high=mean + reach,
        confidence=1 - alpha,
        p_value=1 - _NORMAL.cdf(mean / total) if total else float(mean <= 0),
        users=n,
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        ties=int((differences == 0).sum()),
    )


def level(alpha: float, attempt: int, candidates: int = 1) -> float:
    """What the `attempt`-th test (from 1) against one incumbent may spend of `alpha`: alpha * 6 / (pi k)^2.

    The levels of all attempts sum to `alpha` (Basel series), so that however often an incumbent is challenged, by
    challengers that are no better, it is replaced with a probability of at most `alpha` in all. A challenger that
    was picked out of several `candidates` by the very rows it is tested on has had that many chances (Bonferroni).
    """
    if attempt < 1 or candidates < 1:
        raise ValueError(f"attempt {attempt} of {candidates} candidates: both start at 1")
    return alpha * 6 / (pi * attempt) ** 2 / candidates


def seed_noise(fits: Sequence[NDArray]) -> float:
    """Relative standard deviation of a recipe's mean between seeds, beyond what the users explain.

    `fits`: per-user values, (n,) each, of two or more trainings that differ in their seed alone, on the same users.
    Two-way random effects (fits x users, one value a cell): s^2 = (MS of fits - residual MS) / n, at least 0. What
    seeds change from user to user without moving the mean is in the residual, and so in the paired standard error.
    """
    values = np.stack([np.asarray(column, dtype=np.float64) for column in fits])
    k, n = values.shape
    if k < 2 or n < 2:
        raise ValueError(f"{k} fits on {n} users: the noise between seeds needs two of each")
    grand = values.mean()
    if grand == 0:
        return 0.0
    of_fits, of_users = values.mean(axis=1), values.mean(axis=0)
    between = n * float(np.square(of_fits - grand).sum()) / (k - 1)
    residual = values - of_fits[:, None] - of_users[None, :] + grand
    within = float(np.square(residual).sum()) / ((k - 1) * (n - 1))
    return sqrt(max(between - within, 0.0) / n) / float(grand)

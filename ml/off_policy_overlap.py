"""How much the log of one policy says about another, and estimates that are ratios of sums over users."""

from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from ml.errors import ModelError
from ml.metrics import CONFIDENCE
from ml.off_policy_log import Floats, InvalidLogError, LoggedDecisions

QUANTILE = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


class OverlapTooSmallError(ModelError):
    """The log says too little about the target policy; holds the `figure`, its `value` and the `limit` it missed."""

    def __init__(self, figure: str, value: float, limit: float, why: str) -> None:
        super().__init__(f"{figure} is {value:.4g}, the limit is {limit:.4g}: {why}")
        self.figure, self.value, self.limit = figure, value, limit


@dataclass(frozen=True)
class OverlapLimits:
    """How much overlap of the two policies an estimate needs; the reasons for the defaults.

    `min_effective_size`, `min_effective_users`: the intervals are normal approximations of skewed sums.
    `min_effective_share`, of the rows: when fewer count, the log has hardly met the heavy weights that make up the
    expectation, and its own effective size is too rosy (Chatterjee and Diaconis 2018). In 32 simulated settings
    (16 pairs of policies, 1,000 and 4,000 users), the 95% intervals of IPS and SNIPS held the truth in 89-99% of
    120 logs where these three limits are met on average, and in as little as 56% where they are not.
    `mean_weight_tolerance`: the mean weight expects the share of the target policy's actions that the logging
    policy can take. Below 1 by more than this and noise, that much of the value was never observed; above 1, the
    propensities are not those of the log.
    `min_supported_mass`: the same share, where the log states it.
    """

    min_effective_size: float = 400.0
    min_effective_users: float = 200.0
    min_effective_share: float = 0.03
    mean_weight_tolerance: float = 0.05
    min_supported_mass: float = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95% interval (clustered by user) and the standard error the interval is made of."""

    value: float
    low: float
    high: float
    standard_error: float


@dataclass(frozen=True, eq=False)
class RatioOfSums:
    """sum(top) / sum(bottom) and what each user moves it by, to first order (users,)."""

    value: float
    influence: Floats = field(repr=False)

    @classmethod
    def of(cls, log: LoggedDecisions, top: Floats, bottom: Floats) -> "RatioOfSums":
        total = float(bottom.sum())
        value = float(top.sum()) / total
        residuals = np.bincount(log.clusters, top - value * bottom, minlength=log.n_users)
        return cls(value, residuals / total)

    def minus(self, other: "RatioOfSums") -> "RatioOfSums":
        return RatioOfSums(self.value - other.value, self.influence - other.influence)

    def estimate(self) -> Estimate:
        users = len(self.influence)
        error = float(np.sqrt(users / (users - 1) * (self.influence**2).sum()))
        return Estimate(self.value, self.value - QUANTILE * error, self.value + QUANTILE * error, error)


@dataclass(frozen=True)
class Overlap:
    """How much of the log speaks about the target policy.

    `effective_size` = (sum w)^2 / sum w^2 (Kish 1965), `effective_share` of the rows, `effective_users` the same of
    the users' summed weights. `mean_weight` should be 1. `clipped_rows` have w > `clip`; `clipped_weight` is the
    share of all weight that clipping takes away. `supported_mass`: mean of the log's, None if it has none.
    """

    decisions: int
    users: int
    effective_size: float
    effective_share: float
    effective_users: float
    mean_weight: Estimate
    max_weight: float
    clip: float
    clipped_rows: float
    clipped_weight: float
    supported_mass: float | None


def _effective(weights: Floats) -> float:
    largest = weights.max()
    if largest == 0:
        return 0.0
    scaled = weights / largest  # so that tiny or huge weights keep their squares
    return float(scaled.sum() ** 2 / (scaled**2).sum())


def clip_limit(log: LoggedDecisions, clip: float | None) -> float:
    if clip is None:
        return float(np.sqrt(len(log)))
    if not clip > 0:
        raise InvalidLogError(f"clip must be above 0, it is {clip}")
    return float(clip)


def overlap(log: LoggedDecisions, *, clip: float | None = None) -> Overlap:
    """The overlap's figures, whatever they are; `clip` as in `clipped_ips`. Needs two users for the interval."""
    if log.n_users < 2:
        raise OverlapTooSmallError("users", log.n_users, 2, "one user alone tells nothing about others")
    w, limit = log.weights, clip_limit(log, clip)
    total = float(w.sum())
    return Overlap(
        decisions=len(log),
        users=log.n_users,
        effective_size=_effective(w),
        effective_share=_effective(w) / len(log),
        effective_users=_effective(np.bincount(log.clusters, w, log.n_users).astype(np.float64)),
        mean_weight=RatioOfSums.of(log, w, np.ones(len(log))).estimate(),
        max_weight=float(w.max()),
        clip=limit,
        clipped_rows=float((w > limit).mean()),
        clipped_weight=float(np.maximum(w - limit, 0).sum()) / total if total else 0.0,
        supported_mass=None if log.supported_mass is None else float(log.supported_mass.mean()),
    )


def require_overlap(
    log: LoggedDecisions, limits: OverlapLimits | None = None, *, clip: float | None = None
) -> Overlap:
    """The overlap's figures if they keep the limits, else `OverlapTooSmallError`.

    Raises `InvalidLogError` if the mean weight is above 1 beyond noise: then the propensities cannot be right.
    """
    limits = limits or OverlapLimits()
    found = overlap(log, clip=clip)
    for figure in ("effective_size", "effective_share", "effective_users"):
        value, limit = getattr(found, figure), getattr(limits, f"min_{figure}")
        if value < limit or value == 0:
            raise OverlapTooSmallError(
                figure, value, limit, "the log hardly holds the target policy's actions"
            )
    why = "the target policy takes actions that the logging policy never takes"
    if found.supported_mass is not None and found.supported_mass < limits.min_supported_mass:
        raise OverlapTooSmallError("supported_mass", found.supported_mass, limits.min_supported_mass, why)
    tolerance, mean = limits.mean_weight_tolerance, found.mean_weight
    if mean.high < 1 - tolerance:
        raise OverlapTooSmallError("mean_weight", mean.value, 1 - tolerance, why)
    if mean.low > 1 + tolerance:
        raise InvalidLogError(
            f"propensities are too small for the log: target_probabilities / propensities has the mean "
            f"{mean.value:.4g} [{mean.low:.4g}, {mean.high:.4g}], and it cannot be above 1"
        )
    return found

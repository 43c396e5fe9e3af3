"""What a policy would have earned, estimated from the log of another one.

Intervals are by the delta method with sums per user. Rewards of one user are not independent, so the user is the
unit; every estimator here is a ratio of two sums over users, whose linearised variance is exact to first order,
needs one pass, no seed and no resamples (a bootstrap over users agrees, tests compare them).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

from ml.off_policy_log import Floats, LoggedDecisions, column
from ml.off_policy_overlap import (
    Estimate,
    Overlap,
    OverlapLimits,
    RatioOfSums,
    clip_limit,
    require_overlap,
)


@dataclass(frozen=True)
class PolicyValue:
    """`value`: mean reward per decision under the target policy; `difference`: that minus the logging policy's.

    The difference is paired: both are of the same users, so what makes a user good for either cancels out.
    """

    value: Estimate
    difference: Estimate


@dataclass(frozen=True, eq=False)
class RewardPredictions:
    """A reward model's answers (n,): `q_logged` for the logged action, `q_target` expected under the target policy.

    Fit the model on other users than the log's (or cross-fit): otherwise the interval is too narrow.
    """

    q_logged: ArrayLike
    q_target: ArrayLike


RewardModel = RewardPredictions | Callable[[LoggedDecisions], RewardPredictions]


@dataclass(frozen=True)
class OffPolicyReport:
    """All estimators on one log: `logged` is the logging policy's own mean reward, `doubly_robust` needs a model.

    Which to believe: doubly robust with a cross-fitted model, else SNIPS. Estimators far apart for their errors say
    that propensities or support are not what the log claims.
    """

    overlap: Overlap
    logged: Estimate
    ips: PolicyValue
    clipped_ips: PolicyValue
    snips: PolicyValue
    doubly_robust: PolicyValue | None

    def as_dict(self) -> dict:
        return asdict(self)


def ips(log: LoggedDecisions, *, limits: OverlapLimits | None = None) -> PolicyValue:
    """mean(w r): unbiased under full support (Horvitz and Thompson 1952). Raises as `require_overlap`."""
    require_overlap(log, limits)
    return _mean(log, log.weights * log.rewards)


def clipped_ips(
    log: LoggedDecisions, *, clip: float | None = None, limits: OverlapLimits | None = None
) -> PolicyValue:
    """mean(min(w, clip) r): less variance, biased towards 0 for rewards of one sign (Bottou et al. 2013).

    `clip` None: sqrt(n), which keeps the estimate consistent (Ionides 2008). Raises as `require_overlap`.
    """
    require_overlap(log, limits, clip=clip)
    return _mean(log, np.minimum(log.weights, clip_limit(log, clip)) * log.rewards)


def clipping_bias(
    log: LoggedDecisions, reward_range: tuple[float, float], *, clip: float | None = None
) -> tuple[float, float]:
    """The least and the most that clipping adds to `clipped_ips`, noise apart, for rewards within `reward_range`.

    The weight taken away, 1 - mean(min(w, clip)), earned a mean reward within the range (the inner interval of
    Bottou et al. 2013), so the bias is minus that weight times a reward in the range.
    """
    low, high = reward_range
    taken = max(1 - float(np.minimum(log.weights, clip_limit(log, clip)).mean()), 0.0)
    return -high * taken, -low * taken


def snips(log: LoggedDecisions, *, limits: OverlapLimits | None = None) -> PolicyValue:
    """sum(w r) / sum(w): a constant added to all rewards is added to the value (Swaminathan and Joachims 2015).

    Its bias is of the order 1 / effective size. Raises as `require_overlap`.
    """
    require_overlap(log, limits)
    return _snips(log)


def doubly_robust(
    log: LoggedDecisions, model: RewardModel, *, limits: OverlapLimits | None = None
) -> PolicyValue:
    """mean(q_target + w (r - q_logged)): right if the propensities or the model are (Dudik et al. 2011).

    `model`: predictions, or a function of the log that gives them. Raises as `require_overlap`, `InvalidLogError`.
    """
    require_overlap(log, limits)
    return _doubly_robust(log, model)


def evaluate_policy(
    log: LoggedDecisions,
    *,
    model: RewardModel | None = None,
    clip: float | None = None,
    limits: OverlapLimits | None = None,
) -> OffPolicyReport:
    """Every estimator with the overlap behind it. Raises `OverlapTooSmallError`, `InvalidLogError`."""
    found = require_overlap(log, limits, clip=clip)
    return OffPolicyReport(
        overlap=found,
        logged=_logged(log).estimate(),
        ips=_mean(log, log.weights * log.rewards),
        clipped_ips=_mean(log, np.minimum(log.weights, found.clip) * log.rewards),
        snips=_snips(log),
        doubly_robust=None if model is None else _doubly_robust(log, model),
    )


def _logged(log: LoggedDecisions) -> RatioOfSums:
    return RatioOfSums.of(log, log.rewards, np.ones(len(log)))


def _against_logging(log: LoggedDecisions, target: RatioOfSums) -> PolicyValue:
    return PolicyValue(target.estimate(), target.minus(_logged(log)).estimate())


def _mean(log: LoggedDecisions, rows: Floats) -> PolicyValue:
    return _against_logging(log, RatioOfSums.of(log, rows, np.ones(len(log))))


def _snips(log: LoggedDecisions) -> PolicyValue:
    return _against_logging(log, RatioOfSums.of(log, log.weights * log.rewards, log.weights))


def _doubly_robust(log: LoggedDecisions, model: RewardModel) -> PolicyValue:
    predicted = model if isinstance(model, RewardPredictions) else model(log)
    q_logged = column("q_logged", predicted.q_logged, len(log))
    q_target = column("q_target", predicted.q_target, len(log))
    return _mean(log, q_target + log.weights * (log.rewards - q_logged))

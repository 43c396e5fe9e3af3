"""An experiment judged: whether its sample is sound, and what each variant changes, at any look."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml.experiment_balance import Balance, sample_ratio
from ml.experiment_effects import Effect, effects_of
from ml.experiment_users import METRICS, Design, ExperimentUsers, Metric, UnusableExperimentError

ALPHA = 0.05
"""How often an experiment that changes nothing may be said to change something, however often one looks."""
MIN_USERS = 100
"""Observed users a variant needs before anything is said, of a ratio those with something below it: the intervals are
asymptotic, and those of a handful are far too narrow."""


@dataclass(frozen=True)
class ExperimentResult:
    """`effects` is empty while a variant has fewer than `MIN_USERS` observed users (`observed`, by variant). `unsaid`:
    metrics of which there is too little in some variant, though it has the users; they have no effects."""

    design: Design
    balance: Balance
    observed: tuple[int, ...]
    effects: tuple[Effect, ...]
    unsaid: tuple[str, ...] = ()

    @property
    def trusted(self) -> bool:
        """Whether the effects may be believed: the sample is as it was declared."""
        return self.balance.sound

    @property
    def found(self) -> list[Effect]:
        """Effects that are surely something, of a trusted sample."""
        return [effect for effect in self.effects if self.trusted and effect.direction]


def analyse(
    users: ExperimentUsers, design: Design, *, metrics: Sequence[Metric] = METRICS, alpha: float = ALPHA
) -> ExperimentResult:
    """Judge the experiment. Raises `UnusableExperimentError` for users of a variant that was not declared.

    Every metric of every treatment is a comparison that may be called by mistake: each gets alpha / (their number)
    (Bonferroni), so that all intervals together hold with probability 1 - alpha. That share does not grow when a
    metric is left out: which one is, the data decide.
    """
    if len(users.variant) and not 0 <= users.variant.min() <= users.variant.max() < len(design.variants):
        raise UnusableExperimentError(f"experiment {design.id}: users of a variant that is not declared")
    balance = sample_ratio(users.variant, design.shares)
    seen = users.chosen(users.observed)
    observed = np.bincount(seen.variant, minlength=len(design.variants))
    effects: list[Effect] = []
    unsaid: list[str] = []
    if observed.min() >= MIN_USERS:
        level = alpha / (len(metrics) * len(design.treatments))
        for metric in metrics:
            if _is_enough(seen, metric, design):
                effects += effects_of(seen, metric, design, level)
            else:
                unsaid.append(metric.name)
    return ExperimentResult(design, balance, tuple(int(n) for n in observed), tuple(effects), tuple(unsaid))


def _is_enough(users: ExperimentUsers, metric: Metric, design: Design) -> bool:
    """Whether each variant has users enough with something below the ratio, who are not all alike: of one viewer, or
    of many where nobody has done it yet, the variance is 0, which looks like certainty."""
    top, bottom = users.sums[metric.name]
    for place in range(len(design.variants)):
        counted = (users.variant == place) & (bottom > 0)
        if counted.sum() < MIN_USERS:
            return False
        with np.errstate(over="ignore"):  # only whether they differ is asked
            ratios = top[counted] / bottom[counted]
        if ratios.min() == ratios.max():
            return False
    return True

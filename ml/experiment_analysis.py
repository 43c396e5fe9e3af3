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
"""Observed users a variant needs before anything is said: the intervals are asymptotic."""


@dataclass(frozen=True)
class ExperimentResult:
    """`effects` is empty while a variant has fewer than `MIN_USERS` observed users (`observed`, by variant)."""

    design: Design
    balance: Balance
    observed: tuple[int, ...]
    effects: tuple[Effect, ...]

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
    (Bonferroni), so that all intervals together hold with probability 1 - alpha.
    """
    if len(users.variant) and not 0 <= users.variant.min() <= users.variant.max() < len(design.variants):
        raise UnusableExperimentError(f"experiment {design.id}: users of a variant that is not declared")
    balance = sample_ratio(users.variant, design.shares)
    seen = users.chosen(users.observed)
    observed = np.bincount(seen.variant, minlength=len(design.variants))
    effects: list[Effect] = []
    if observed.min() >= MIN_USERS:
        level = alpha / (len(metrics) * len(design.treatments))
        effects = [effect for metric in metrics for effect in effects_of(seen, metric, design, level)]
    return ExperimentResult(design, balance, tuple(int(n) for n in observed), tuple(effects))

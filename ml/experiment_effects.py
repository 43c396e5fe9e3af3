"""How much a variant changes a metric: the difference to the control, with less noise by what was known before."""

from dataclasses import dataclass

import numpy as np

from ml.experiment_intervals import half_width
from ml.experiment_users import Design, ExperimentUsers, Floats, Metric


@dataclass(frozen=True)
class Effect:
    """A treatment against the control in one metric: `difference` within `low` and `high` at every look, at level
    `alpha`. `variance_kept`: of the difference's variance, what CUPED leaves (1: it helps nothing)."""

    metric: str
    variant: str
    users: int
    control: float
    value: float
    difference: float
    low: float
    high: float
    alpha: float
    variance_kept: float

    @property
    def relative(self) -> float:
        """The difference as a share of the control's value; NaN if that is 0."""
        return self.difference / self.control if self.control else float("nan")

    @property
    def direction(self) -> int:
        """1 if surely better, -1 if surely worse, 0 if no difference was found. Of every metric more is better."""
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True, eq=False)
class _Arm:
    """One variant's users: the metric, each user's influence on it, and their covariate (both around 0)."""

    value: float
    influence: Floats
    before: Floats
    before_mean: float

    @property
    def users(self) -> int:
        return len(self.influence)


def effects_of(users: ExperimentUsers, metric: Metric, design: Design, alpha: float) -> list[Effect]:
    """One effect a treatment, of users who were observed in full. Each variant needs one at least.

    The unit is the user, the unit of assignment. A ratio of sums R = sum(x) / sum(y) is linearised (delta method):
    a user's influence is (x - R y) / mean(y). CUPED (Deng, Xu, Kohavi and Walker 2013): theta = cov(influence,
    before) / var(before), pooled within the variants; each metric becomes R - theta (mean(before) of the variant
    minus that of all), whose expectation is the same and whose variance is (1 - correlation^2) of it.
    """
    top, bottom = users.sums[metric.name]
    arms = [
        _arm(top[rows], bottom[rows], users.before[rows])
        for rows in (users.variant == i for i in range(len(design.variants)))
    ]
    theta = _theta(arms)
    overall = float(users.before.mean())
    control = arms[design.control_index]
    effects = []
    for i in design.treatments:
        arm, count = arms[i], arms[i].users + control.users
        values = [a.value - theta * (a.before_mean - overall) for a in (control, arm)]
        plain = sum(_variance(a, 0.0) for a in (control, arm))
        variance = sum(_variance(a, theta) for a in (control, arm))
        half = half_width(variance, count, alpha=alpha, planned_users=design.planned_users)
        difference = values[1] - values[0]
        effects.append(
            Effect(
                metric=metric.name,
                variant=design.variants[i],
                users=count,
                control=values[0],
                value=values[1],
                difference=difference,
                low=difference - half,
                high=difference + half,
                alpha=alpha,
                variance_kept=variance / plain if plain else 1.0,
            )
        )
    return effects


def _arm(top: Floats, bottom: Floats, before: Floats) -> _Arm:
    below = float(bottom.mean())
    value = float(top.mean()) / below if below else 0.0
    influence = (top - value * bottom) / below if below else np.zeros_like(top)
    mean = float(before.mean())
    return _Arm(value, influence, before - mean, mean)


def _theta(arms: list[_Arm]) -> float:
    spread = sum(float(arm.before @ arm.before) for arm in arms)
    return sum(float(arm.influence @ arm.before) for arm in arms) / spread if spread else 0.0


def _variance(arm: _Arm, theta: float) -> float:
    """Of the arm's adjusted metric: that of the mean of independent users."""
    adjusted = arm.influence - theta * arm.before
    return float(adjusted @ adjusted) / max(arm.users - 1, 1) / arm.users

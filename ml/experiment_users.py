"""What an experiment is judged by: sums per user, since users were assigned and users behave alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class UnusableExperimentError(ValueError):
    """The users' sums or the design cannot be analysed; the message names what is wrong."""


@dataclass(frozen=True)
class Metric:
    """A mean over users, or where `per` says so a ratio of two sums over users: its numerator over its denominator."""

    name: str
    per: str
    unit: str = ""


CTR = Metric("ctr", "items played per item shown")
WATCH_TIME = Metric("watch_time", "seconds in the playing state per user", "s")
COMPLETION = Metric("completion", "finished views per valid view")
METRICS = (CTR, WATCH_TIME, COMPLETION)


@dataclass(frozen=True)
class Design:
    """What was declared: variants with the shares of users they were to get, and which of them is the control.

    `planned_users`: at so many observed users the intervals are narrowest; chosen beforehand, never by the data.
    """

    id: str
    variants: Sequence[str]
    shares: Sequence[float]
    control: str
    planned_users: int = 10_000

    @property
    def treatments(self) -> list[int]:
        return [i for i, name in enumerate(self.variants) if name != self.control]

    @property
    def control_index(self) -> int:
        return list(self.variants).index(self.control)


@dataclass(frozen=True, eq=False)
class ExperimentUsers:
    """A row (n,) a user of the experiment. `variant`: its place in the design. `observed`: the user's whole time of
    observation has passed; only such users are compared, each over the same length of time, so that they are alike
    and independent whenever somebody looks. `before`: what they did before they were in (CUPED's covariate).
    `sums`: metric -> (numerator, denominator); a mean over users has ones below.
    """

    variant: NDArray[np.int64]
    observed: NDArray[np.bool_]
    before: Floats
    sums: Mapping[str, tuple[Floats, Floats]]

    def __post_init__(self) -> None:
        n = len(self.variant)
        columns = {"observed": self.observed, "before": self.before}
        for name, (top, bottom) in self.sums.items():
            columns |= {f"{name} above": top, f"{name} below": bottom}
        for name, column in columns.items():
            if column.shape != (n,):
                raise UnusableExperimentError(f"{name}: {column.shape} where ({n},) users are")
            if not np.isfinite(column).all():
                raise UnusableExperimentError(f"{name}: not every value is finite")

    def chosen(self, rows: NDArray) -> "ExperimentUsers":
        """Those users only."""
        return ExperimentUsers(
            self.variant[rows],
            self.observed[rows],
            self.before[rows],
            {name: (top[rows], bottom[rows]) for name, (top, bottom) in self.sums.items()},
        )

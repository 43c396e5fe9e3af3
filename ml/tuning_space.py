"""Which hyper-parameters are looked for, and where: declared here and nowhere else, each range with its reason."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ml.config import TrainConfig
from ml.errors import ConfigurationError
from ml.fit import check_kind, section

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Value = float | int


@dataclass(frozen=True)
class Real:
    """A number between two bounds, both included; `log`: what matters is the ratio, so powers are drawn evenly."""

    low: float
    high: float
    why: str
    log: bool = False

    def holds(self, value: Value) -> bool:
        return self.low <= value <= self.high

    def widened(self, value: Value) -> "Real":
        if self.log and value <= 0:
            raise ConfigurationError(f"{value} is not on a logarithmic range ({self.low} to {self.high})")
        return Real(min(self.low, float(value)), max(self.high, float(value)), self.why, self.log)

    def bounds(self) -> tuple[Value, Value]:
        return self.low, self.high

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Whole:
    """A whole number between two bounds, both included."""

    low: int
    high: int
    why: str
    log: bool = False

    def holds(self, value: Value) -> bool:
        return self.low <= value <= self.high

    def widened(self, value: Value) -> "Whole":
        return Whole(min(self.low, int(value)), max(self.high, int(value)), self.why, self.log)

    def bounds(self) -> tuple[Value, Value]:
        return self.low, self.high

    def distribution(self) -> "BaseDistribution":
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, log=self.log)


Range = Real | Whole


@dataclass(frozen=True)
class Space:
    """What is tuned of one kind: a range for each of some fields of its settings. The others stay as they are.

    `seeded`: whether the fit depends on a seed, so that a second fit with another says something new. Raises
    `ConfigurationError` for a field that the kind's settings do not have or a bound that they refuse.
    """

    kind: str
    ranges: Mapping[str, Range] = field(default_factory=dict)
    seeded: bool = True

    def __post_init__(self) -> None:
        check_kind(self.kind)
        if not self.ranges:
            raise ConfigurationError(f"{self.kind}: no field to tune")
        known = type(getattr(TrainConfig(), section(self.kind))).model_fields
        for name, wanted in self.ranges.items():
            where = f"{section(self.kind)}.{name}"
            if name not in known:
                raise ConfigurationError(f"{where}: no such setting (there are {', '.join(known)})")
            low, high = wanted.bounds()
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ConfigurationError(f"{where}: {low} to {high} is no range")
            if wanted.log and low <= 0:
                raise ConfigurationError(f"{where}: a logarithmic range starts above 0 (got {low})")
            for bound in (low, high):
                TrainConfig.of({section(self.kind): {name: bound}})

    def present(self, config: TrainConfig) -> dict[str, Value]:
        """What the settings say now of the tuned fields."""
        own = getattr(config, section(self.kind))
        return {name: getattr(own, name) for name in self.ranges}

    def fixed(self, config: TrainConfig) -> dict[str, Any]:
        """What the settings say of the kind's other fields, as JSON."""
        own = getattr(config, section(self.kind)).model_dump(mode="json")
        return {name: value for name, value in own.items() if name not in self.ranges}

    def around(self, config: TrainConfig) -> "Space":
        """The space, widened where the present settings lie outside: they are always the first trial."""
        return self.holding(self.present(config))

    def holding(self, values: Mapping[str, Value]) -> "Space":
        """The space, widened where one of these values lies outside. Raises `ConfigurationError`."""
        ranges = {
            name: wanted.widened(values[name])
            if name in values and not wanted.holds(values[name])
            else wanted
            for name, wanted in self.ranges.items()
        }
        return Space(self.kind, ranges, self.seeded)

    def bounds(self) -> dict[str, tuple[Value, Value]]:
        return {name: wanted.bounds() for name, wanted in self.ranges.items()}

    def applied(self, config: TrainConfig, values: Mapping[str, Value]) -> TrainConfig:
        """The settings with these values in the kind's section; raises `ConfigurationError`."""
        name = section(self.kind)
        own = getattr(config, name).model_dump() | dict(values)
        return TrainConfig.of(config.model_dump() | {name: own})

    def distributions(self) -> dict[str, "BaseDistribution"]:
        return {name: wanted.distribution() for name, wanted in self.ranges.items()}

    def as_json(self) -> dict[str, Any]:
        return {name: {"type": type(it).__name__, **asdict(it)} for name, it in self.ranges.items()}


_FADES = "interest in a short video lasts hours to days; under 2 h the counts are noise, 2 weeks is no fading"
_STEP = "below, the epochs do not suffice; above, training diverges"

# The order is that of the search. What others are made of comes first: popularity is what strangers are served in
# every other kind's trials, and the hybrid is made of all the others. Dimensions and the number of two-tower epochs
# (an upper limit, it stops early) are the contract's (R5) and the operator's: they are not looked for.
SPACES: dict[str, Space] = {
    space.kind: space
    for space in (
        Space(
            "popularity",
            {"half_life_days": Real(0.08, 14.0, _FADES, log=True)},
            seeded=False,
        ),
        Space(
            "svd",
            {
                "learning_rate": Real(
                    0.001, 0.02, f"a factor 4 around the contract's 0.005: {_STEP}", log=True
                ),
                "regularisation": Real(
                    0.005,
                    0.3,
                    "0.02 of the contract is for Netflix's 200 ratings a user; here are tens",
                    log=True,
                ),
                "n_epochs": Whole(5, 40, "half to double the contract's 20; every epoch costs the same"),
            },
        ),
        Space(
            "als",
            {
                "regularisation": Real(
                    0.01, 100.0, "the useful order differs by data set, so: four", log=True
                ),
                "alpha": Real(
                    0.5, 50.0, "Hu et al. 2008 use 40 on counts; weights here are at most about 1", log=True
                ),
                "n_epochs": Whole(5, 30, "ALS has converged after 10 to 20 sweeps on all published sets"),
            },
        ),
        Space(
            "item-item",
            {
                "regularisation": Real(
                    5.0, 10_000.0, "Steck 2019: 200 to 1000 on dense sets, more on sparse ones", log=True
                ),
                "neighbours": Whole(
                    20, 500, "fewer loses co-watches, more costs memory at serving", log=True
                ),
            },
            seeded=False,
        ),
        Space(
            "two-tower",
            {
                "learning_rate": Real(0.001, 0.02, f"Adam's; {_STEP}", log=True),
                "temperature": Real(
                    0.03,
                    0.3,
                    "cosines divided by it: below, the softmax sees one negative; above, none",
                    log=True,
                ),
                "weight_decay": Real(1e-4, 0.1, "of AdamW, whose default is 0.01", log=True),
                "dropout": Real(0.0, 0.7, "with few videos a user the inputs are soon learnt by heart"),
                "user_id_dropout": Real(
                    0.5, 1.0, "a user's own vector helps the known only; 1 is no such vector at all"
                ),
                "history_half_life_days": Real(0.5, 30.0, "tastes last longer than videos do", log=True),
            },
        ),
    )
}

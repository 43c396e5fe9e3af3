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


_STEP = "below, the epochs do not suffice; above, training diverges"

# The order is that of the search. What others are made of comes first: popularity is what strangers are served in
# every other kind's trials, and the hybrid is made of the others. What is left alone: dimensions, which are the
# contract's (R5); numbers of epochs that are upper limits, because training stops early; and what trades quality for
# memory or time (neighbours kept, history length, negatives), which a search for quality alone would drive up; fewer
# than 300 neighbours also lose recall, so no range may ever reach below that.
SPACES: dict[str, Space] = {
    space.kind: space
    for space in (
        Space(
            "popularity",
            {
                "half_life_days": Real(
                    1.0,
                    14.0,
                    "below a day a slow hour empties the list; two weeks is hardly any fading",
                    log=True,
                )
            },
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
                    "the contract's 0.02 is for users with 200 ratings; here they have tens",
                    log=True,
                ),
                "n_epochs": Whole(5, 40, "a quarter to double of the contract's 20; it does not stop early"),
            },
        ),
        Space(
            "als",
            {
                "regularisation": Real(
                    0.01, 100.0, "the useful order of magnitude differs by data set", log=True
                ),
                "alpha": Real(
                    0.5, 50.0, "Hu et al. 2008 use 40 on counts; weights here are at most about 1", log=True
                ),
                "n_epochs": Whole(5, 30, "10 to 20 sweeps converge; fewer regularise"),
            },
        ),
        Space(
            "item-item",
            {
                "regularisation": Real(
                    20.0,
                    5_000.0,
                    "Steck 2019: 200 to 1000 on dense sets, and it grows with the plays",
                    log=True,
                ),
                "dropout": Real(
                    0.0, 0.6, "EDLAE, Steck 2020: none to beyond the half that is best on his sets"
                ),
                "weight_power": Real(0.0, 1.0, "from all watches alike to their weights as they are"),
                "half_life_videos": Real(
                    5.0, 300.0, "from the last few videos to whole histories, of 50 and more", log=True
                ),
            },
            seeded=False,
        ),
        Space(
            "content",
            {"half_life_days": Real(1.0, 90.0, "from today's mood to the whole training window", log=True)},
            seeded=False,
        ),
        Space(
            "two-tower",
            {
                "learning_rate": Real(0.001, 0.02, f"Adam's; {_STEP}", log=True),
                "weight_decay": Real(
                    0.001, 0.5, "of AdamW: from none to speak of to what stops learning", log=True
                ),
                "dropout": Real(0.0, 0.6, "with few videos a user the inputs are soon learnt by heart"),
                "user_id_dropout": Real(
                    0.5, 1.0, "a user's own vector helps the known only; 1 is no such vector at all"
                ),
                "history_half_life_days": Real(
                    1.0, 90.0, "from today's mood to the whole training window", log=True
                ),
                "popularity_half_life_days": Real(
                    0.1,
                    8.0,
                    "from the last hours to the week: what is in fashion fades within days",
                    log=True,
                ),
                "targets": Whole(
                    5,
                    50,
                    "many next videos a moment beat one; double of the default doubles the work",
                    log=True,
                ),
                "weak_targets": Real(0.0, 1.0, "from positives alone to all watches alike"),
            },
        ),
        Space(
            "hybrid",
            {
                "regularisation": Real(0.1, 500.0, "from hardly a prior to hardly any learning", log=True),
                "history_scale": Real(0.5, 50.0, "from one known watch to a whole history", log=True),
                "new_scale": Real(0.5, 50.0, "from videos nobody met to those that some tens did", log=True),
            },
        ),
    )
}

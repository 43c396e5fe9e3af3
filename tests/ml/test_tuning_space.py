"""What may be tuned is checked against the settings before anything is fitted."""

import pytest

from ml.config import TrainConfig
from ml.errors import ConfigurationError, UnknownKindError
from ml.tuning_space import SPACES, Real, Space, Whole

RATE = Real(0.001, 0.02, "because", log=True)


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"learning_rat": RATE}, "svd.learning_rat: no such setting"),
        ({"learning_rate": Real(0.0, 0.02, "")}, "svd.learning_rate: Input should be greater than 0"),
        ({"n_epochs": Whole(0, 5, "")}, "svd.n_epochs: Input should be greater than or equal to 1"),
        ({"learning_rate": Real(0.02, 0.02, "")}, "svd.learning_rate: 0.02 to 0.02 is no range"),
        ({"learning_rate": Real(0.01, float("inf"), "")}, "svd.learning_rate: 0.01 to inf is no range"),
        (
            {"regularisation": Real(0.0, 1.0, "", log=True)},
            "svd.regularisation: a logarithmic range starts above 0",
        ),
        ({}, "svd: no field to tune"),
    ],
)
def test_a_space_that_the_settings_refuse_is_refused_by_name(ranges: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Space("svd", ranges)


def test_a_kind_nobody_knows_has_no_space() -> None:
    with pytest.raises(UnknownKindError):
        Space("magic", {"learning_rate": RATE})


@pytest.mark.parametrize("kind", SPACES)
def test_the_defaults_lie_inside_every_declared_range_and_every_range_has_a_reason(kind: str) -> None:
    space = SPACES[kind]
    assert space.around(TrainConfig()) == space
    assert all(len(wanted.why) > 10 for wanted in space.ranges.values())


def test_present_parameters_outside_widen_the_range() -> None:
    config = TrainConfig.of({"svd": {"learning_rate": 0.1, "n_epochs": 2}})
    around = SPACES["svd"].around(config).ranges
    assert around["learning_rate"].bounds() == (0.001, 0.1)
    assert around["n_epochs"].bounds() == (2, 40)
    assert around["regularisation"] == SPACES["svd"].ranges["regularisation"]


def test_present_parameters_that_a_logarithm_cannot_hold_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"0\.0 is not on a logarithmic range"):
        SPACES["svd"].around(TrainConfig.of({"svd": {"regularisation": 0.0}}))


def test_a_trials_values_change_its_own_section_only() -> None:
    config = TrainConfig.of({"seed": 7, "svd": {"n_factors": 3}, "als": {"alpha": 2.0}})
    changed = SPACES["svd"].applied(config, {"learning_rate": 0.01})
    assert changed == TrainConfig.of(
        {"seed": 7, "svd": {"n_factors": 3, "learning_rate": 0.01}, "als": {"alpha": 2.0}}
    )
    assert SPACES["svd"].fixed(config) == {"n_factors": 3, "init_std": 0.1}


def test_no_search_lets_the_neighbours_kept_sink_to_where_recall_is_lost() -> None:
    assert TrainConfig().item_item.neighbours >= 300
    wanted = SPACES["item-item"].ranges.get("neighbours")
    assert wanted is None or wanted.bounds()[0] >= 300


def test_the_two_towers_space_holds_what_counted_when_it_was_set_by_hand() -> None:
    assert {
        "learning_rate",
        "weight_decay",
        "dropout",
        "popularity_half_life_days",
        "targets",
    } <= SPACES["two-tower"].ranges.keys()

"""The figures of the gate, small: calm on equal models, awake to a large gain."""

import numpy as np
import pytest

from ml.bench.gate import measure, noise_between_seeds, same_recipe


def test_equal_models_are_left_alone_and_a_large_gain_is_seen() -> None:
    said: list[str] = []
    found = measure(pairs=8, gains=(0.3,), platforms=1, users=1500, say=said.append)
    assert found["promoted"]["same"]["promoted"] <= 1
    assert found["promoted"]["30%"]["promoted"] >= 7
    assert found["targets"] == {"same": {"at most": 0.05, "kept": found["promoted"]["same"]["promoted"] == 0}}
    assert [line.split(":")[0] for line in said] == ["same", "30%"]


def test_the_noise_between_seeds_is_small_beside_a_gain_worth_having() -> None:
    assert noise_between_seeds(users=4000) < 0.01


def test_trainings_that_differ_by_their_seed_win_if_their_noise_is_not_known() -> None:
    rng = np.random.default_rng(0)
    users = rng.random(3000)
    fits = [users * (1 + shift) for shift in (-0.02, -0.01, 0.0, 0.01, 0.02)]
    found = same_recipe(fits)
    assert found["promoted without"] == 0.5  # of two that differ one always wins
    assert found["promoted with noise"] == 0.0
    assert found["spread of the means"] == pytest.approx(np.sqrt(0.00025))
    assert found["noise"] == pytest.approx(found["spread of the means"], rel=0.01)

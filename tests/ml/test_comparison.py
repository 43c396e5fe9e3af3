"""Paired tests: exact on small samples, right as often as they say on many, and the same whoever asks."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml import comparison
from ml.comparison import compare, compare_all, compare_values, holm, sign_flip_p_values
from ml.errors import MismatchedHoldoutError, NothingToJudgeError


def test_a_small_sample_counts_every_flip() -> None:
    # |sum| of (+-1 +-2 +-3) is >= 6 for two of the eight flips, >= 4 for four, >= 2 for six
    signs = np.asarray([[1.0, 2, 3], [-1, 2, 3], [1, -2, 3]]).T
    assert sign_flip_p_values(signs, seed=0).tolist() == [2 / 8, 4 / 8, 6 / 8]


def test_flips_that_tie_with_what_was_seen_count_as_extreme() -> None:
    # 0.1 + 0.2 + 0.3 differs in the last bit by order; two of the eight flips reach it either way
    assert sign_flip_p_values(np.asarray([[0.1], [0.2], [0.3]]), seed=0).tolist() == [0.25]


def test_drawn_flips_come_close_to_the_counted_ones() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, (16, 1))
    every = ((np.arange(2**16)[:, None] >> np.arange(16)) & 1) * 2.0 - 1
    exact = (np.abs(every @ values) >= abs(values.sum()) - 1e-12).mean()
    assert sign_flip_p_values(values, seed=0)[0] == pytest.approx(exact, abs=0.012)


def test_chunks_of_users_are_flipped_each_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(0.3, 1, (16, 1))
    exact = sign_flip_p_values(values, seed=0)[0]
    monkeypatch.setattr(comparison, "CHUNK_USERS", 5)
    assert sign_flip_p_values(values, seed=0)[0] == pytest.approx(exact, abs=0.015)


def test_no_difference_is_never_significant() -> None:
    assert sign_flip_p_values(np.zeros((30, 2)), seed=0).tolist() == [1.0, 1.0]


def test_the_smallest_p_value_is_one_over_all_flips() -> None:
    assert sign_flip_p_values(np.ones((200, 1)), seed=0)[0] == 1e-4


def test_equal_models_are_told_apart_as_often_as_the_level_says() -> None:
    """Sparse, skewed values as NDCG has them: mostly 0, and both models draw from the same."""
    rng = np.random.default_rng(1)
    values = rng.beta(1, 3, (400, 300)) * (rng.random((400, 300)) < 0.15)
    differences = values[:, :150] - values[:, 150:]
    found = (sign_flip_p_values(differences, seed=0, permutations=999) <= 0.05).sum()
    assert 2 <= found <= 15  # 7.5 of 150 expected


def test_wins_losses_and_the_interval_of_the_difference() -> None:
    a, b = np.asarray([0.5, 1.0, 0.0, 0.25]), np.asarray([0.25, 0.0, 0.5, 0.25])
    found = compare({"ndcg_at_10": a}, {"ndcg_at_10": b}, seed=0)
    assert (found.users, found.wins, found.losses, found.ties) == (4, 2, 1, 1)
    assert found.difference.value == pytest.approx(0.1875)
    assert found.difference.low <= 0.1875 <= found.difference.high
    # flips of (.25, 1, -.5, 0) with |sum| >= .75: those where the 1 has another sign than the .5, 8 of 16,
    # and where all three agree or the .25 alone differs: 1.75 and 1.25, the other 8
    assert found.p_value == 12 / 16
    spread = np.std(a - b, ddof=1)
    assert found.detectable == pytest.approx((1.959964 + 0.841621) * spread / 2)


def test_a_gain_of_a_tenth_for_everybody_is_certain_and_relative_to_the_other_model() -> None:
    b = np.linspace(0.1, 1, 50)
    found = compare_values(1.1 * b, b, seed=0)
    assert found.relative is not None
    assert (found.relative.value, found.relative.low, found.relative.high) == pytest.approx((0.1, 0.1, 0.1))
    assert (found.p_value, found.wins) == (1e-4, 50)


def test_nothing_is_said_relative_to_a_model_without_a_hit() -> None:
    assert compare_values(np.asarray([0.5, 0.5]), np.zeros(2), seed=0).relative is None


def test_the_detectable_difference_is_found_four_times_out_of_five() -> None:
    rng = np.random.default_rng(2)
    n, trials = 200, 1000
    gain = (1.959964 + 0.841621) / math.sqrt(n)
    draws = rng.normal(gain, 1, (n, trials))
    assert compare_values(draws[:, 0], np.zeros(n), seed=0).detectable == pytest.approx(gain, rel=0.15)
    power = (sign_flip_p_values(draws, seed=0, permutations=999) <= 0.05).mean()
    assert power == pytest.approx(0.8, abs=0.04)


def test_values_of_other_users_are_not_compared() -> None:
    with pytest.raises(MismatchedHoldoutError, match="not of the same users"):
        compare_values(np.ones(3), np.ones(4), seed=0)


def test_nobody_to_compare_on_is_an_error() -> None:
    with pytest.raises(NothingToJudgeError):
        compare_values(np.ones(0), np.ones(0), seed=0)


def test_a_metric_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        compare_values(np.asarray([np.nan, 1]), np.ones(2), seed=0)


def test_holm_on_the_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=25))
def test_holm_lies_between_each_p_value_and_bonferroni_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= min(1, p * len(p_values)) + 1e-15
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.asarray(adjusted)[order]) >= 0).all()


def test_all_pairs_say_what_each_comparison_alone_would() -> None:
    rng = np.random.default_rng(3)
    values = {name: rng.random(60) + gain for name, gain in (("x", 0.0), ("y", 0.3), ("z", 0.05))}
    pairs = compare_all(values, seed=4)
    assert {(pair.better, pair.worse) for pair in pairs} == {("y", "z"), ("y", "x"), ("z", "x")}
    for pair in pairs:
        alone = compare_values(values[pair.better], values[pair.worse], seed=4)
        assert pair.comparison.p_value == alone.p_value
        assert pair.comparison.difference.low == pytest.approx(alone.difference.low, abs=1e-12)
        assert pair.p_adjusted >= alone.p_value
    assert [pair.p_adjusted for pair in pairs] == sorted(pair.p_adjusted for pair in pairs)


def test_one_model_has_no_pairs() -> None:
    assert compare_all({"x": np.ones(3)}, seed=0) == []


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.integers(0, 3))
def test_the_order_of_two_models_turns_the_sign_and_nothing_else(values: list[float], seed: int) -> None:
    a, b = np.asarray(values), np.zeros(len(values))
    there, back = compare_values(a, b, seed), compare_values(b, a, seed)
    assert (there.p_value, there.wins, there.losses) == (back.p_value, back.losses, back.wins)
    assert there.difference.value == pytest.approx(-back.difference.value)
    assert there.difference.low == pytest.approx(-back.difference.high, abs=1e-12)

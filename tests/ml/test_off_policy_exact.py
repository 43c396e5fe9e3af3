"""Off-policy estimates worked out by hand, and what holds for any log."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ml.off_policy import RewardPredictions, clipped_ips, doubly_robust, evaluate_policy, ips, snips
from ml.off_policy_log import InvalidLogError, LoggedDecisions
from ml.off_policy_overlap import OverlapLimits

ANY_OVERLAP = OverlapLimits(0, 0, 0, float("inf"), 0)
METHODS = ("ips", "clipped_ips", "snips", "doubly_robust")


def hand_log() -> LoggedDecisions:
    """Weights 2, 0.5, 0, 1 of users a, a, b, b."""
    return LoggedDecisions(
        user_ids=np.array(["a", "a", "b", "b"]),
        propensities=np.array([0.25, 0.8, 0.5, 0.5]),
        target_probabilities=np.array([0.5, 0.4, 0.0, 0.5]),
        rewards=np.array([1.0, 2.0, 3.0, 4.0]),
    )


def test_values_worked_out_by_hand() -> None:
    log = hand_log()
    predictions = RewardPredictions(q_logged=[1.0, 1.0, 2.0, 2.0], q_target=[1.5, 1.5, 2.5, 2.5])
    report = evaluate_policy(log, model=predictions, clip=1.5, limits=ANY_OVERLAP)
    assert report.logged.value == 2.5
    assert report.ips.value.value == pytest.approx((2 + 1 + 0 + 4) / 4)
    assert report.clipped_ips.value.value == pytest.approx((1.5 + 1 + 0 + 4) / 4)
    assert report.snips.value.value == pytest.approx(7 / 3.5)
    assert report.doubly_robust is not None
    assert report.doubly_robust.value.value == pytest.approx((1.5 + (1.5 + 0.5) + 2.5 + (2.5 + 2)) / 4)
    assert report.ips.difference.value == pytest.approx(1.75 - 2.5)


def test_errors_worked_out_by_hand() -> None:
    """Sums of a and b: w r 3 and 4, w 2.5 and 1, r 3 and 7; so off by 0.5 (IPS), 2 (SNIPS) and 1.5 (difference)."""
    report = evaluate_policy(hand_log(), limits=ANY_OVERLAP)
    assert report.ips.value.standard_error == pytest.approx(np.sqrt(2 * (0.5**2 + 0.5**2)) / 4)
    assert report.snips.value.standard_error == pytest.approx(np.sqrt(2 * (2**2 + 2**2)) / 3.5)
    assert report.ips.difference.standard_error == pytest.approx(np.sqrt(2 * (1.5**2 + 1.5**2)) / 4)
    half = report.ips.value.high - report.ips.value.value
    assert half == pytest.approx(1.959964 * report.ips.value.standard_error)
    assert report.as_dict()["snips"]["value"]["value"] == pytest.approx(2.0)


def test_clip_must_be_above_zero() -> None:
    with pytest.raises(InvalidLogError, match="clip must be above 0"):
        clipped_ips(hand_log(), clip=0, limits=ANY_OVERLAP)


@pytest.mark.parametrize("field", ["q_logged", "q_target"])
@pytest.mark.parametrize(
    ("wrong", "why"), [([1.0], "has shape"), ([1.0, np.nan, 1.0, 1.0], "must be finite")]
)
def test_wrong_predictions_are_named(field: str, wrong: list[float], why: str) -> None:
    answers = {"q_logged": [1.0] * 4, "q_target": [1.0] * 4} | {field: wrong}
    with pytest.raises(InvalidLogError, match=f"{field} {why}"):
        doubly_robust(hand_log(), RewardPredictions(**answers), limits=ANY_OVERLAP)


@st.composite
def logs(draw: st.DrawFn, same_policies: bool = False) -> LoggedDecisions:
    n = draw(st.integers(2, 30))

    def numbers(low: float, high: float) -> NDArray[np.float64]:
        return np.array(draw(st.lists(st.floats(low, high), min_size=n, max_size=n)))

    propensities = numbers(0.01, 1)
    users = draw(st.lists(st.integers(0, 4), min_size=n - 2, max_size=n - 2))
    return LoggedDecisions(
        user_ids=np.array([7, 8, *users]),  # two users at least
        propensities=propensities,
        target_probabilities=propensities if same_policies else numbers(0.01, 1),
        rewards=numbers(-5, 5),
    )


def context_only_model(log: LoggedDecisions) -> RewardPredictions:
    """Predicts the same for all actions of a context, so that logging = target leaves nothing to correct."""
    q = np.sin(np.arange(len(log)))
    return RewardPredictions(q, q)


@given(logs(same_policies=True))
def test_a_policy_judged_on_its_own_log_has_the_mean_reward_and_no_difference(log: LoggedDecisions) -> None:
    report = evaluate_policy(log, model=context_only_model, limits=ANY_OVERLAP)
    for method in METHODS:
        found = getattr(report, method)
        assert found.value.value == pytest.approx(log.rewards.mean(), abs=1e-12)
        assert found.difference.value == pytest.approx(0, abs=1e-12)
        assert found.difference.standard_error == pytest.approx(0, abs=1e-12)
        assert found.value.standard_error == pytest.approx(report.logged.standard_error, abs=1e-12)


@given(logs(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(log: LoggedDecisions, random: Random) -> None:
    order = list(range(len(log)))
    random.shuffle(order)
    shuffled = LoggedDecisions(
        log.user_ids[order], log.propensities[order], log.target_probabilities[order], log.rewards[order]
    )
    q = np.sin(np.arange(len(log)))
    before = evaluate_policy(log, model=RewardPredictions(q, q**2), limits=ANY_OVERLAP)
    after = evaluate_policy(shuffled, model=RewardPredictions(q[order], q[order] ** 2), limits=ANY_OVERLAP)
    for method in METHODS:
        for part in ("value", "difference"):
            one, two = (getattr(getattr(report, method), part) for report in (before, after))
            assert (two.value, two.standard_error) == pytest.approx((one.value, one.standard_error), abs=1e-9)


@given(logs(), st.floats(-100, 100))
def test_a_constant_added_to_all_rewards_is_added_to_snips_and_changes_nothing_else(
    log: LoggedDecisions, constant: float
) -> None:
    before = snips(log, limits=ANY_OVERLAP)
    after = snips(replace(log, rewards=log.rewards + constant), limits=ANY_OVERLAP)
    assert after.value.value == pytest.approx(before.value.value + constant, abs=1e-8)
    assert after.value.standard_error == pytest.approx(before.value.standard_error, abs=1e-8)
    assert after.difference.value == pytest.approx(before.difference.value, abs=1e-8)


@given(logs())
def test_snips_stays_within_the_rewards_and_clipping_never_adds_weight(log: LoggedDecisions) -> None:
    value = snips(log, limits=ANY_OVERLAP).value.value
    assert log.rewards.min() - 1e-9 <= value <= log.rewards.max() + 1e-9
    ones = replace(log, rewards=np.ones(len(log)))
    assert (log.weights >= 0).all()
    assert (
        0
        <= clipped_ips(ones, clip=2, limits=ANY_OVERLAP).value.value
        <= ips(ones, limits=ANY_OVERLAP).value.value
    )

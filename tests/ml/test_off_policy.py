"""Estimates of a policy's value against simulated bandits whose values are known."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from ml.off_policy import (
    OffPolicyReport,
    RewardModel,
    RewardPredictions,
    clipped_ips,
    clipping_bias,
    doubly_robust,
    evaluate_policy,
    ips,
    snips,
)
from ml.off_policy_log import LoggedDecisions
from ml.off_policy_overlap import Estimate, OverlapLimits

CONTEXTS, ACTIONS = 4, 6
LOGS = 400


@dataclass(frozen=True)
class Bandit:
    """Known expected rewards and two policies, all (contexts, actions); contexts are equally likely."""

    rewards: NDArray[np.float64]
    logging: NDArray[np.float64]
    target: NDArray[np.float64]

    @classmethod
    def planted(cls, seed: int = 0, apart: float = 1.0) -> "Bandit":
        rng = np.random.default_rng(seed)
        policies = np.exp(apart * rng.standard_normal((2, CONTEXTS, ACTIONS)))
        policies /= policies.sum(axis=2, keepdims=True)
        return cls(rng.uniform(0, 1, (CONTEXTS, ACTIONS)), *policies)

    def value(self, policy: NDArray[np.float64]) -> float:
        return float((policy * self.rewards).sum(axis=1).mean())

    @property
    def gain(self) -> float:
        return self.value(self.target) - self.value(self.logging)

    def log(
        self, seed: int, users: int = 600, per_user: int = 5, user_effect: float = 0.4
    ) -> LoggedDecisions:
        """`per_user` decisions of each user on average; a user is in one context and likes everything more or less."""
        rng = np.random.default_rng([seed, 1])
        user_ids = np.repeat(np.arange(users), rng.geometric(1 / per_user, users))
        n = len(user_ids)
        contexts = rng.integers(0, CONTEXTS, users)[user_ids]
        chosen = (self.logging.cumsum(axis=1)[contexts] < rng.random(n)[:, None]).sum(axis=1)
        actions = np.minimum(chosen, ACTIONS - 1)
        effects = user_effect * rng.standard_normal(users)
        return LoggedDecisions(
            user_ids=user_ids,
            propensities=self.logging[contexts, actions],
            target_probabilities=self.target[contexts, actions],
            rewards=self.rewards[contexts, actions] + effects[user_ids] + 0.3 * rng.standard_normal(n),
            contexts=contexts,
            actions=actions,
        )

    def model(self, shift: float = 0.0, scale: float = 1.0) -> RewardModel:
        """A reward model: the truth, or the truth distorted."""
        guess = scale * self.rewards + shift

        def predict(log: LoggedDecisions) -> RewardPredictions:
            assert log.contexts is not None
            assert log.actions is not None
            expected = (self.target * guess).sum(axis=1)
            return RewardPredictions(guess[log.contexts, log.actions], expected[log.contexts])

        return predict


ANY_OVERLAP = OverlapLimits(0, 0, 0, float("inf"), 0)
METHODS = ("ips", "clipped_ips", "snips", "doubly_robust")


@dataclass(frozen=True)
class Runs:
    """The same estimate on many logs: (logs,) each."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, estimates: list[Estimate]) -> "Runs":
        return cls(*np.array([(e.value, e.low, e.high) for e in estimates]).T)

    def coverage(self, truth: float) -> float:
        return float(((self.low <= truth) & (truth <= self.high)).mean())

    def bias_in_errors(self, truth: float) -> float:
        """The bias in standard errors of the mean over logs: about N(0, 1) without one."""
        return float((self.value.mean() - truth) / (self.value.std(ddof=1) / np.sqrt(len(self.value))))


BANDIT = Bandit.planted()
# 95% give or take three binomial standard errors at 400 logs
NOMINAL = pytest.approx(0.95, abs=0.033)


@pytest.fixture(scope="module")
def reports() -> list[OffPolicyReport]:
    return [evaluate_policy(BANDIT.log(seed), model=BANDIT.model()) for seed in range(LOGS)]


@pytest.mark.parametrize("method", METHODS)
def test_estimates_miss_the_true_value_by_noise_alone_and_95_percent_intervals_hold_it_as_often(
    reports: list[OffPolicyReport], method: str
) -> None:
    runs = Runs.of([getattr(report, method).value for report in reports])
    assert abs(runs.bias_in_errors(BANDIT.value(BANDIT.target))) < 3
    assert runs.coverage(BANDIT.value(BANDIT.target)) == NOMINAL


@pytest.mark.parametrize("method", METHODS)
def test_differences_from_the_logging_policy_are_unbiased_and_covered(
    reports: list[OffPolicyReport], method: str
) -> None:
    runs = Runs.of([getattr(report, method).difference for report in reports])
    assert abs(runs.bias_in_errors(BANDIT.gain)) < 3
    assert runs.coverage(BANDIT.gain) == NOMINAL


def test_the_mean_weight_and_the_logging_policy_s_own_reward_are_covered(
    reports: list[OffPolicyReport],
) -> None:
    assert Runs.of([report.overlap.mean_weight for report in reports]).coverage(1) == NOMINAL
    assert Runs.of([r.logged for r in reports]).coverage(BANDIT.value(BANDIT.logging)) == NOMINAL


def test_the_paired_difference_is_surer_than_two_unpaired_values(reports: list[OffPolicyReport]) -> None:
    for report in reports[:20]:
        apart = np.hypot(report.doubly_robust.value.standard_error, report.logged.standard_error)
        assert report.doubly_robust.difference.standard_error < 0.5 * apart


def test_intervals_that_took_rows_for_independent_would_be_too_narrow() -> None:
    truth = BANDIT.value(BANDIT.target)
    logs = [BANDIT.log(seed) for seed in range(LOGS)]
    each_row_a_user = [replace(log, user_ids=np.arange(len(log))) for log in logs]
    runs = Runs.of([snips(log).value for log in each_row_a_user])
    assert runs.coverage(truth) < 0.85


def test_the_error_is_that_of_a_bootstrap_over_users() -> None:
    log = BANDIT.log(3, users=400)
    rng = np.random.default_rng(0)
    rows_of = [np.flatnonzero(log.clusters == user) for user in range(log.n_users)]
    resampled = []
    for _ in range(400):
        rows = np.concatenate([rows_of[user] for user in rng.integers(0, log.n_users, log.n_users)])
        w, r = log.weights[rows], log.rewards[rows]
        resampled.append(((w * r).mean(), (w * r).sum() / w.sum(), (w * r).sum() / w.sum() - r.mean()))
    errors = np.std(resampled, axis=0)
    assert ips(log).value.standard_error == pytest.approx(errors[0], rel=0.1)
    assert snips(log).value.standard_error == pytest.approx(errors[1], rel=0.1)
    assert snips(log).difference.standard_error == pytest.approx(errors[2], rel=0.1)


def test_a_good_reward_model_lowers_the_variance() -> None:
    logs = [BANDIT.log(seed, user_effect=0.0) for seed in range(200)]
    plain = Runs.of([ips(log).value for log in logs])
    robust = Runs.of([doubly_robust(log, BANDIT.model()).value for log in logs])
    assert robust.value.var() < 0.5 * plain.value.var()


def test_doubly_robust_stays_unbiased_with_a_bad_reward_model() -> None:
    bad = BANDIT.model(shift=0.7, scale=-1.0)
    runs = Runs.of([doubly_robust(BANDIT.log(seed), bad).value for seed in range(LOGS)])
    assert abs(runs.bias_in_errors(BANDIT.value(BANDIT.target))) < 3
    assert runs.coverage(BANDIT.value(BANDIT.target)) == NOMINAL


def test_doubly_robust_stays_right_with_a_good_model_and_wrong_propensities() -> None:
    def doubled(log: LoggedDecisions) -> LoggedDecisions:
        return replace(log, propensities=np.minimum(2 * log.propensities, 1))

    logs = [doubled(BANDIT.log(seed)) for seed in range(LOGS)]
    truth = BANDIT.value(BANDIT.target)
    model = BANDIT.model()
    right = Runs.of([doubly_robust(log, model, limits=ANY_OVERLAP).value for log in logs])
    wrong = Runs.of([ips(log, limits=ANY_OVERLAP).value for log in logs])
    assert abs(right.bias_in_errors(truth)) < 3
    assert wrong.bias_in_errors(truth) < -20


def test_predictions_may_be_given_as_arrays() -> None:
    log = BANDIT.log(0)
    assert doubly_robust(log, BANDIT.model()(log)) == doubly_robust(log, BANDIT.model())


def test_clipping_lowers_the_estimate_of_rewards_above_zero_and_no_more_than_its_bound() -> None:
    logs = [BANDIT.log(seed, user_effect=0.0) for seed in range(LOGS)]
    clip = 1.5
    estimates = Runs.of([clipped_ips(log, clip=clip).value for log in logs])
    bounds = np.mean([clipping_bias(log, (0.0, 1.0), clip=clip) for log in logs], axis=0)
    weights = BANDIT.target / BANDIT.logging
    bias = (BANDIT.logging * (np.minimum(weights, clip) - weights) * BANDIT.rewards).sum(axis=1).mean()
    assert bounds[0] < bias < bounds[1] == 0
    assert estimates.bias_in_errors(BANDIT.value(BANDIT.target)) < -20
    assert abs(estimates.bias_in_errors(BANDIT.value(BANDIT.target) + bias)) < 3
    negative = [replace(log, rewards=-log.rewards) for log in logs]
    raised = Runs.of([clipped_ips(log, clip=clip).value for log in negative])
    assert raised.bias_in_errors(-BANDIT.value(BANDIT.target)) > 20


def test_clipping_lowers_the_variance() -> None:
    heavy = Bandit.planted(seed=1, apart=1.5)
    logs = [heavy.log(seed, users=600) for seed in range(200)]
    plain = Runs.of([ips(log).value for log in logs])
    clipped = Runs.of([clipped_ips(log, clip=3).value for log in logs])
    assert clipped.value.var() < 0.8 * plain.value.var()

"""Which logs are taken, and when their overlap with the target policy is too small to say anything."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ml.errors import ModelError
from ml.off_policy import clipped_ips, doubly_robust, evaluate_policy, ips, snips
from ml.off_policy_log import InvalidLogError, LoggedDecisions
from ml.off_policy_overlap import OverlapLimits, OverlapTooSmallError, overlap, require_overlap

GOOD = {
    "user_ids": ["a", "a", "b"],
    "propensities": [0.5, 0.25, 1.0],
    "target_probabilities": [0.5, 0.5, 0.0],
    "rewards": [1.0, -2.0, 0.0],
}


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        ("user_ids", [], "user_ids is empty"),
        ("user_ids", [["a", "a", "b"]], "user_ids must be one column"),
        ("user_ids", [0.5, 1.5, 2.5], "user_ids must be strings or whole numbers"),
        ("user_ids", np.array(["a", None, "b"], dtype=object), "user_ids must be strings or whole numbers"),
        ("propensities", [0.5, 0.0, 1.0], r"propensities must lie in \(0, 1\], row 1 = 0.0"),
        ("propensities", [0.5, 0.5, 1.5], r"propensities must lie in \(0, 1\], row 2 = 1.5"),
        ("propensities", [0.5, np.nan, 1.0], "propensities must be finite, row 1 = nan"),
        ("propensities", [0.5, 5e-324, 1.0], "propensities too small to divide by: row 1"),
        (
            "target_probabilities",
            [0.5, -0.1, 0.0],
            r"target_probabilities must lie in \[0, 1\], row 1 = -0.1",
        ),
        ("target_probabilities", [0.5, 1.1, 0.0], r"target_probabilities must lie in \[0, 1\], row 1 = 1.1"),
        ("rewards", [1.0, np.inf, 0.0], "rewards must be finite, row 1 = inf"),
        ("rewards", ["many", 1, 1], "rewards must be numbers"),
        ("rewards", [1.0], r"rewards has shape \(1,\), the log has 3 decisions"),
        ("supported_mass", [0.5, 1.0, 2.0], r"supported_mass must lie in \[0, 1\], row 2 = 2.0"),
        ("contexts", [[1.0, 2.0]], r"contexts has shape \(1, 2\), the log has 3 decisions"),
        ("actions", 3, r"actions has shape \(\), the log has 3 decisions"),
    ],
)
def test_a_field_that_cannot_be_is_named(field: str, values: object, message: str) -> None:
    with pytest.raises(InvalidLogError, match=message):
        LoggedDecisions(**(GOOD | {field: values}))


def test_weights_are_the_target_probability_over_the_propensity() -> None:
    log = LoggedDecisions(**GOOD)
    assert log.weights.tolist() == [1.0, 2.0, 0.0]
    assert (len(log), log.n_users, log.clusters.tolist()) == (3, 2, [0, 0, 1])


def test_users_may_be_numbers_or_strings_in_an_object_column() -> None:
    for users in (np.array([7, 7, 3]), np.array(["x", "x", "y"], dtype=object)):
        assert LoggedDecisions(**(GOOD | {"user_ids": users})).n_users == 2


@given(st.lists(st.tuples(st.floats(1e-6, 1), st.floats(0, 1)), min_size=1, max_size=20))
def test_weights_are_never_negative(rows: list[tuple[float, float]]) -> None:
    propensities, targets = np.array(rows).T
    log = LoggedDecisions(np.arange(len(rows)), propensities, targets, np.zeros(len(rows)))
    assert (log.weights >= 0).all()


def test_each_shown_item_of_a_ranking_is_a_decision_of_its_user() -> None:
    log = LoggedDecisions.from_rankings(
        user_ids=["a", "b"],
        propensities=[[0.5, 0.25], [0.2, np.nan]],
        target_probabilities=[[1.0, 0.5], [0.1, np.nan]],
        rewards=[[1.0, 0.0], [2.0, np.nan]],
        shown=[[True, True], [True, False]],
    )
    assert log.user_ids.tolist() == ["a", "a", "b"]
    assert log.weights.tolist() == [2.0, 2.0, 0.5]
    assert log.rewards.tolist() == [1.0, 0.0, 2.0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rewards": [1.0, 2.0]}, "must be .lists, positions."),
        ({"shown": [[1, 1], [1, 0]]}, "of booleans"),
        ({"propensities": [[0.5], [0.5]]}, r"propensities has shape \(2, 1\), the lists have \(2, 2\)"),
        ({"user_ids": ["a"]}, r"user_ids has shape \(1,\), there are 2 lists"),
    ],
)
def test_rankings_of_unequal_shapes_are_refused_by_field(changed: dict, message: str) -> None:
    half = [[0.5, 0.5], [0.5, 0.5]]
    good = {"user_ids": ["a", "b"], "propensities": half, "target_probabilities": half, "rewards": half}
    with pytest.raises(InvalidLogError, match=message):
        LoggedDecisions.from_rankings(**(good | changed))


def test_rankings_under_the_item_position_model_have_the_value_per_shown_item() -> None:
    """Logging shuffles two items; the target always puts item 0, which earns 1 at the top and 0.5 below, first."""
    rng = np.random.default_rng(0)
    n = 4_000
    first = rng.integers(0, 2, n)
    items = np.stack([first, 1 - first], axis=1)
    earned = np.where(items == 0, [1.0, 0.5], [0.25, 0.0])
    target = (items == [0, 1]).astype(float)
    log = LoggedDecisions.from_rankings(np.arange(n), np.full((n, 2), 0.5), target, earned)
    found = ips(log).value
    assert found.low < (1.0 + 0.0) / 2 < found.high
    assert snips(log).value.value == pytest.approx(0.5, abs=1e-12)


def mixed(n: int, weights: NDArray[np.float64], per_user: int = 1, **more: object) -> LoggedDecisions:
    """A log with these weights over and over."""
    w = np.resize(weights, n)
    users = np.arange(n) // per_user
    propensity = 1 / max(1.0, w.max())
    return LoggedDecisions(users, np.full(n, propensity), w * propensity, np.ones(n), **more)


def test_the_figures_of_the_overlap_worked_out_by_hand() -> None:
    log = mixed(4, np.array([3.0, 1.0, 0.0, 0.0]), per_user=2, supported_mass=[1.0, 1.0, 0.8, 0.8])
    found = overlap(log, clip=2.0)
    assert (found.decisions, found.users, found.max_weight, found.clip) == (4, 2, 3.0, 2.0)
    assert found.effective_size == pytest.approx(4**2 / (9 + 1))
    assert found.effective_share == pytest.approx(0.4)
    assert found.effective_users == pytest.approx(1)
    assert found.mean_weight.value == pytest.approx(1)
    assert found.mean_weight.standard_error == pytest.approx(np.sqrt(2 * (2**2 + 2**2)) / 4)
    assert (found.clipped_rows, found.clipped_weight) == (0.25, 0.25)
    assert found.supported_mass == pytest.approx(0.9)
    assert overlap(log).clip == 2.0  # sqrt(4)


def refused(log: LoggedDecisions, limits: OverlapLimits | None = None) -> OverlapTooSmallError:
    with pytest.raises(OverlapTooSmallError) as caught:
        require_overlap(log, limits)
    return caught.value


def test_a_small_effective_size_is_refused_with_the_figure_and_the_limit() -> None:
    error = refused(mixed(300, np.array([1.0])))
    assert (error.figure, error.value, error.limit) == ("effective_size", pytest.approx(300), 400)
    assert "effective_size is 300, the limit is 400" in str(error)
    assert isinstance(error, ModelError)
    assert require_overlap(mixed(400, np.array([1.0]))).effective_size == pytest.approx(400)


def test_a_small_share_of_rows_that_count_is_refused() -> None:
    rare = np.zeros(50)
    rare[0] = 50
    error = refused(mixed(50_000, rare))
    assert (error.figure, error.value, error.limit) == ("effective_share", pytest.approx(0.02), 0.03)


def test_many_rows_of_few_users_are_refused() -> None:
    error = refused(mixed(10_000, np.array([1.0]), per_user=100))
    assert (error.figure, error.value, error.limit) == ("effective_users", pytest.approx(100), 200)


def test_target_actions_that_were_never_logged_are_seen_in_the_mean_weight() -> None:
    error = refused(mixed(2_000, np.array([0.8, 0.9])))
    assert (error.figure, error.value, error.limit) == ("mean_weight", pytest.approx(0.85), 0.95)
    assert "the logging policy never takes" in str(error)


def test_support_that_the_log_states_is_checked_exactly() -> None:
    n = 2_000
    error = refused(mixed(n, np.array([0.9, 1.1]), supported_mass=np.full(n, 0.94)))
    assert (error.figure, error.value, error.limit) == ("supported_mass", pytest.approx(0.94), 0.95)
    require_overlap(mixed(n, np.array([0.9, 1.1]), supported_mass=np.full(n, 0.96)))


def test_a_mean_weight_above_one_means_that_the_propensities_are_wrong() -> None:
    with pytest.raises(
        InvalidLogError, match=r"propensities are too small for the log.* 1\.2 .*cannot be above 1"
    ):
        require_overlap(mixed(2_000, np.array([1.1, 1.3])))


def test_a_target_policy_that_never_acts_as_logged_is_refused_whatever_the_limits() -> None:
    anything = OverlapLimits(0, 0, 0, float("inf"), 0)
    error = refused(mixed(10, np.array([0.0])), anything)
    assert (error.figure, error.value) == ("effective_size", 0)


def test_one_user_alone_is_refused_whatever_the_limits() -> None:
    error = refused(mixed(10, np.array([1.0]), per_user=10), OverlapLimits(0, 0, 0, float("inf"), 0))
    assert (error.figure, error.value, error.limit) == ("users", 1, 2)


@pytest.mark.parametrize(
    "estimate",
    [
        ips,
        clipped_ips,
        snips,
        lambda log: doubly_robust(log, lambda _: pytest.fail("asked")),
        evaluate_policy,
    ],
)
def test_no_estimator_answers_without_overlap(estimate) -> None:
    with pytest.raises(OverlapTooSmallError, match="effective_size"):
        estimate(mixed(100, np.array([1.0])))


def test_limits_are_configurable() -> None:
    assert ips(mixed(100, np.array([1.0])), limits=OverlapLimits(50, 50)).value.value == pytest.approx(1)

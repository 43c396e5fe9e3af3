"""EASE: its closed form against the definition, what is kept of it, whom it scores."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from ml.collaborative_config import ItemItemConfig
from ml.errors import DivergedError, EmptyTrainingSetError
from ml.item_item import ROWS_AT_ONCE, fit, largest_weights, most_watched, regularised_inverse
from ml.neighbours import NeighbourModel
from ml.recommender import Past
from ml.saved import load
from tests.ml.planted import Row, interactions, known, tastes

PLAIN = ItemItemConfig(regularisation=2.0, dropout=0.0, weight_power=0.0, half_life_videos=1e9)


def model_of(rows: Sequence[Row], config: ItemItemConfig = PLAIN) -> NeighbourModel:
    model = fit(known(rows, ["a", "b", "c", "d"]), config).model
    assert isinstance(model, NeighbourModel)
    return model


def matrix(rows: np.ndarray) -> sparse.csr_matrix:
    return sparse.csr_matrix(rows.astype(np.float32))


def ease(X: np.ndarray, regularisation: float) -> np.ndarray:
    """Column by column, as it is defined: ridge regression of each video on all others."""
    m = X.shape[1]
    B = np.zeros((m, m))
    for v in range(m):
        others = np.arange(m) != v
        left = X[:, others].T @ X[:, others] + regularisation * np.eye(m - 1)
        B[others, v] = np.linalg.solve(left, X[:, others].T @ X[:, v])
    return B


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.5, 50))
def test_the_weights_are_those_of_a_regression_of_each_video_on_the_others(seed: int, reg: float) -> None:
    X = (np.random.default_rng(seed).random((12, 6)) < 0.4).astype(np.float64)
    weights = largest_weights(regularised_inverse(matrix(X), reg, 0.0), 6).toarray()
    np.testing.assert_allclose(weights, ease(X, reg), atol=2e-5)


def test_the_inverse_is_whole_when_it_is_larger_than_a_block() -> None:
    X = np.random.default_rng(0).random((40, ROWS_AT_ONCE + 30)) < 0.05
    inverse = regularised_inverse(matrix(X), 3.0, 0.5)
    gram = X.astype(float).T @ X
    np.testing.assert_allclose(inverse, np.linalg.inv(gram + np.diag(3.0 + np.diag(gram))), atol=1e-5)


def test_two_videos_watched_together_lead_to_each_other() -> None:
    """X'X = [[2, 1], [1, 1]] + 2 on the diagonal; B = 1 / (2 + 2) from a to b, 1 / (1 + 2) from b to a."""
    model = model_of([("ann", "a", 0, 1.0), ("ann", "b", 1, 1.0), ("bob", "a", 2, 1.0)])
    np.testing.assert_allclose(model.weights.toarray()[:2, :2], [[0, 1 / 4], [1 / 3, 0]], atol=1e-6)
    np.testing.assert_allclose(model.scores(["bob"])[0], [0, 1 / 4, 0, 0], atol=1e-6)


def test_strangers_get_equal_scores() -> None:
    model = model_of([("ann", "a", 0, 1.0), ("ann", "b", 1, 1.0)])
    assert not model.knows("zoe")
    assert model.scores(["zoe"]).tolist() == [[0, 0, 0, 0]]


def test_half_of_the_watches_count_by_the_root_of_their_weight_and_fade() -> None:
    config = PLAIN.model_copy(update={"weight_power": 0.5, "half_life_videos": 1.0})
    model = model_of([("ann", "a", 0, 0.25), ("ann", "b", 1, 1.0)], config)
    np.testing.assert_allclose(model.history.toarray(), [[0.25, 1, 0, 0]])  # .25 ** .5, one later watch


def test_a_past_scores_as_the_user_who_has_it() -> None:
    rows = tastes()
    model = fit(known(rows), ItemItemConfig(regularisation=5.0)).model
    user = str(rows.user_ids[0])
    mine = rows.take(rows.user_ids == user)
    mine = mine.take(np.argsort(mine.ended_at_ms, kind="stable"))
    past = Past(mine.video_ids.tolist(), mine.weights.tolist())
    np.testing.assert_allclose(model.scores_for([past]), model.scores([user]), rtol=1e-5, atol=1e-6)


def test_only_the_largest_weights_are_kept() -> None:
    P = np.asarray([[1, -0.5, 0.2], [-0.5, 1, -0.1], [0.2, -0.1, 1]], dtype=np.float32)
    assert largest_weights(P, 1).toarray().tolist() == pytest.approx(
        np.asarray([[0, 0.5, 0], [0.5, 0, 0], [-0.2, 0, 0]])
    )


def test_videos_that_are_watched_too_little_for_the_matrix_have_no_neighbours() -> None:
    rows = [
        ("ann", "a", 0, 1.0),
        ("ann", "b", 1, 1.0),
        ("ann", "c", 2, 1.0),
        ("bob", "a", 3, 1.0),
        ("bob", "c", 4, 1.0),
    ]
    model = model_of(rows, PLAIN.model_copy(update={"max_videos": 2}))
    assert sorted(zip(*(places.tolist() for places in model.weights.nonzero()), strict=True)) == [
        (0, 2),
        (2, 0),
    ]


def test_the_most_watched_are_counted_by_watchers_and_never_unwatched() -> None:
    X = matrix(np.asarray([[1, 0, 1, 1], [0, 0, 1, 9]]))
    assert most_watched(X, 2).tolist() == [2, 3]
    assert most_watched(X, 4).tolist() == [0, 2, 3]


def test_tastes_are_found(tmp_path: Path) -> None:
    rows = tastes()
    model = fit(known(rows), ItemItemConfig(regularisation=5.0, weight_power=1.0)).model
    fans = [user for user in model.user_ids.tolist() if "fan" in user]
    met = {user: set(rows.video_ids[rows.user_ids == user].tolist()) for user in fans}
    lists = model.recommend(fans, 5, met)
    right = [video[0] == user[0] for user, ranked in zip(fans, lists, strict=True) for video, _ in ranked]
    assert np.mean(right) > 0.99
    model.save(tmp_path / "model")
    assert load(tmp_path / "model").recommend(fans, 5, met) == lists


def test_nothing_watched_is_an_error_that_says_so() -> None:
    with pytest.raises(EmptyTrainingSetError, match="item-item: no interaction has a weight"):
        fit(known(interactions([]), ["a"]), PLAIN)


def test_a_matrix_that_cannot_be_inverted_is_an_error_that_says_what_helps() -> None:
    twins = sparse.csr_matrix(np.full((2, 2), 1e4, dtype=np.float32))
    with pytest.raises(DivergedError, match="larger regularisation may help"):
        regularised_inverse(twins, 1e-6, 0.0)

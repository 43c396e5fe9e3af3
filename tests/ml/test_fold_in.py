"""A stranger's vector by their history: by hand, and against the equations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.errors import ModelFilesError
from ml.fold_in import FoldIn, LeastSquaresFoldIn, MeanFoldIn, faded, restored

VIDEOS = np.asarray([[1, 0], [0, 1], [0, 0], [3, 4]], dtype=np.float32)


def floats(*values: float) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)


def test_a_weight_is_halved_each_half_life() -> None:
    assert faded(floats(8, 8, 8), floats(0, 3, 6), 3.0).tolist() == [8, 4, 2]


def test_the_mean_is_weighted_faded_and_scaled() -> None:
    rows, weights, ages = np.asarray([0, 1]), floats(3, 8), floats(0, 4)
    assert MeanFoldIn(4.0).user_vector(rows, weights, ages, VIDEOS).tolist() == pytest.approx([0.6, 0.8])
    doubled = MeanFoldIn(4.0, scale=2.0).user_vector(rows, weights, ages, VIDEOS)
    assert doubled.tolist() == pytest.approx([1.2, 1.6])
    assert doubled.dtype == np.float32


def test_the_mean_of_videos_nothing_is_known_of_is_zero() -> None:
    vector = MeanFoldIn(4.0).user_vector(np.asarray([2]), floats(1), floats(0), VIDEOS)
    assert vector.tolist() == [0, 0]


def test_a_past_so_old_that_nothing_is_left_is_zero_and_not_an_error() -> None:
    vector = MeanFoldIn(0.01).user_vector(np.asarray([0]), floats(1), floats(1e6), VIDEOS)
    assert vector.tolist() == [0, 0]


def test_least_squares_solves_the_equations_of_implicit_als() -> None:
    """Minimise sum c (p - x.y)^2 + reg |x|^2 over all videos; watched: p = 1, c = 1 + alpha w; else p = 0, c = 1."""
    alpha, regularisation = 5.0, 0.3
    rows, weights = np.asarray([0, 3]), floats(1, 0.5)
    fold_in = LeastSquaresFoldIn(VIDEOS.T @ VIDEOS, alpha, regularisation)
    found = fold_in.user_vector(rows, weights, floats(0, 9), VIDEOS)
    confidence, wanted = np.ones(4), np.zeros(4)
    confidence[rows] += alpha * weights
    wanted[rows] = 1
    root = np.sqrt(confidence)[:, None]
    stacked = np.concatenate([root * VIDEOS, np.sqrt(regularisation) * np.eye(2)])
    expected, *_ = np.linalg.lstsq(stacked, np.concatenate([root[:, 0] * wanted, [0, 0]]))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(0.01, 10), st.floats(0, 1000)), min_size=1, max_size=9)
)
def test_any_past_gives_a_finite_vector(past: list[tuple[int, float, float]]) -> None:
    rows = np.asarray([row for row, _, _ in past])
    weights, ages = floats(*(w for _, w, _ in past)), floats(*(age for _, _, age in past))
    for fold_in in (MeanFoldIn(7.0), LeastSquaresFoldIn(VIDEOS.T @ VIDEOS, 40.0, 0.1)):
        vector = fold_in.user_vector(rows, weights, ages, VIDEOS)
        assert (vector.shape, vector.dtype) == ((2,), np.float32)
        assert np.isfinite(vector).all()


@pytest.mark.parametrize("fold_in", [MeanFoldIn(3.0, 2.0), LeastSquaresFoldIn(VIDEOS.T @ VIDEOS, 4.0, 0.5)])
def test_what_is_restored_says_the_same(fold_in: FoldIn) -> None:
    again = restored(fold_in.name, fold_in.settings(), fold_in.arrays())
    past = (np.asarray([0, 3]), floats(1, 2), floats(0, 1), VIDEOS)
    np.testing.assert_array_equal(again.user_vector(*past), fold_in.user_vector(*past))


def test_a_name_this_code_does_not_know_is_refused() -> None:
    with pytest.raises(ModelFilesError, match="fold_in: 'oracle' is none this code knows"):
        restored("oracle", {}, {})

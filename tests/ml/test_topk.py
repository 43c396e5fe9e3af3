"""The k best, exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ml.topk import GROUP, NO_CANDIDATE, top_k


def test_equal_scores_go_to_the_lower_column() -> None:
    columns, values = top_k(np.asarray([[1, 3, 3, 2, 3]], dtype=np.float32), 2)
    assert columns.tolist() == [[1, 2]]
    assert values.tolist() == [[3, 3]]


def test_minus_infinity_is_no_candidate_and_leaves_its_place_empty() -> None:
    columns, _ = top_k(np.asarray([[-np.inf, 5, -np.inf]], dtype=np.float32), 3)
    assert columns.tolist() == [[1, NO_CANDIDATE, NO_CANDIDATE]]


def test_more_than_there_are_gives_all() -> None:
    assert top_k(np.asarray([[1, 2]], dtype=np.float32), 99)[0].tolist() == [[1, 0]]


def test_no_rows_or_no_columns_give_empty_results() -> None:
    assert top_k(np.empty((0, 4), dtype=np.float32), 2)[0].shape == (0, 2)
    assert top_k(np.empty((3, 0), dtype=np.float32), 2)[0].shape == (3, 0)


def expected(scores: np.ndarray, k: int) -> list[list[int]]:
    """The columns a full stable sort of each row gives."""
    orders = np.argsort(-scores, axis=1, kind="stable").tolist()
    return [
        [column for column in order if row[column] > -np.inf][:k]
        for row, order in zip(scores, orders, strict=True)
    ]


def test_zero_and_minus_zero_are_equal() -> None:
    columns, _ = top_k(np.asarray([[-1e-30, -0.0, 0.0, -0.0, 1e-30]], dtype=np.float32), 4)
    assert columns.tolist() == [[4, 1, 2, 3]]


def test_infinity_comes_first() -> None:
    assert top_k(np.asarray([[3e38, np.inf, -3e38]], dtype=np.float32), 3)[0].tolist() == [[1, 0, 2]]


@pytest.mark.parametrize("k", [1, 2, 7])
@pytest.mark.parametrize("width", [GROUP * 40, GROUP * 40 + 5, GROUP * 4 * 7, GROUP * 4 * 7 + GROUP])
@pytest.mark.parametrize("levels", [2, 30, 1_000_000])  # few levels: ties at the k-th place
def test_wide_rows_agree_with_a_full_stable_sort(k: int, width: int, levels: int) -> None:
    rng = np.random.default_rng(k + width + levels)
    scores = rng.integers(-levels, levels, (20, width)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.2] = -np.inf
    scores[3] = -np.inf
    scores[4, 2:] = -np.inf
    columns, values = top_k(scores, k)
    for row, order in enumerate(expected(scores, k)):
        assert columns[row].tolist() == order + [NO_CANDIDATE] * (k - len(order))
        assert values[row, : len(order)].tolist() == scores[row, order].tolist()


def test_a_row_alone_answers_as_in_a_batch() -> None:
    scores = np.random.default_rng(0).integers(0, 50, (30, 900)).astype(np.float32)
    columns, values = top_k(scores, 10)
    for row in range(len(scores)):
        alone = top_k(scores[row : row + 1], 10)
        assert (alone[0][0].tolist(), alone[1][0].tolist()) == (columns[row].tolist(), values[row].tolist())


@settings(deadline=None)
@given(
    npst.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(1, 12)),
        elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0]),
    ),
    st.integers(1, 14),
)
def test_agrees_with_a_full_stable_sort(scores: np.ndarray, k: int) -> None:
    columns, values = top_k(scores, k)
    for row, order in enumerate(expected(scores, k)):
        assert columns[row][columns[row] != NO_CANDIDATE].tolist() == order
        assert values[row, : len(order)].tolist() == scores[row, order].tolist()

"""The k best, exactly."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ml.topk import NO_CANDIDATE, top_k


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
    for row, (found, points) in enumerate(zip(columns, values, strict=True)):
        order = [c for c in np.argsort(-scores[row], kind="stable") if scores[row, c] > -np.inf][:k]
        assert found[found != NO_CANDIDATE].tolist() == order
        assert points[: len(order)].tolist() == scores[row, order].tolist()

"""Who watched what as a matrix: repeats, strength, order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ml.dataset import Encoded
from ml.watch_matrix import places_from_the_end, watch_matrix
from tests.ml.planted import catalogue, interactions


def encoded(rows: list[tuple[str, str, float, float]]) -> Encoded:
    return Encoded.of(interactions(rows), catalogue(["a", "b", "c"]))


def test_a_pair_counts_once_by_its_largest_strength() -> None:
    data = encoded([("ann", "a", 0, 0.2), ("bob", "c", 1, 1.0), ("ann", "a", 2, 0.75), ("ann", "a", 3, 0.5)])
    matrix = watch_matrix(data, data.interactions.weights)
    assert matrix.toarray().tolist() == [[0.75, 0, 0], [0, 0, 1]]
    assert matrix.dtype == np.float32


def test_rows_without_strength_make_no_entry() -> None:
    data = encoded([("ann", "a", 0, 0.5), ("ann", "b", 1, 0.5)])
    assert watch_matrix(data, np.asarray([0, 2], dtype=np.float32)).nnz == 1
    assert watch_matrix(data, np.zeros(2, dtype=np.float32)).toarray().tolist() == [[0, 0, 0]]


def test_the_newest_row_of_each_user_has_none_after_it() -> None:
    users = np.asarray([0, 1, 0, 0, 1])
    ends = np.asarray([30, 10, 10, 20, 10])
    assert places_from_the_end(users, ends).tolist() == [0, 1, 2, 1, 0]
    assert places_from_the_end(np.zeros(0, np.int64), np.zeros(0, np.int64)).tolist() == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=30))
def test_places_count_the_users_later_rows(rows: list[tuple[int, int]]) -> None:
    users, ends = np.asarray(rows).T
    for row, place in enumerate(places_from_the_end(users, ends).tolist()):
        later = [(ends[i], i) > (ends[row], row) for i in range(len(rows)) if users[i] == users[row]]
        assert place == sum(later)

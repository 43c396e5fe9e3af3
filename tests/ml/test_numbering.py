"""Numbers of ids, against numpy's sort."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.numbering import numbered

# Not surrogates, which no UTF-8 file can hold, nor NUL, which numpy drops at the end and training sets refuse.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=4)


@settings(deadline=None)
@given(st.lists(TEXT, max_size=30))
def test_equals_numpy_s_unique_and_inverse(ids: list[str]) -> None:
    array = np.asarray(ids, dtype=np.str_) if ids else np.empty(0, dtype="<U1")
    distinct, rows = numbered(array)
    expected, inverse = np.unique(array, return_inverse=True)
    assert distinct.tolist() == expected.tolist()
    assert rows.tolist() == inverse.tolist()
    assert (rows.dtype, distinct.dtype.kind) == (np.int64, "U")


def test_order_is_that_of_code_points() -> None:
    distinct, rows = numbered(np.asarray(["é", "z", "10", "Z", "9", "z", "🎬", "動"]))
    assert distinct.tolist() == ["10", "9", "Z", "z", "é", "動", "🎬"]
    assert rows.tolist() == [4, 3, 0, 2, 1, 3, 6, 5]

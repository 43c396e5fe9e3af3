"""One id or many: the same rows."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ml.ids import MISSING, as_ids, find, lookup, vocabulary

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=[]), min_size=1, max_size=6)


@settings(max_examples=300, deadline=None)
@given(st.lists(texts, max_size=12), st.lists(texts | st.just("x" * 500), max_size=6))
def test_one_is_found_where_many_are(known, asked):
    ids = vocabulary(known)
    for wanted in [*asked, *known]:
        assert find(ids, wanted) == lookup(ids, [wanted])[0]
        assert (find(ids, wanted) != MISSING) == (wanted in set(known))


@given(st.lists(texts, max_size=12))
def test_a_vocabulary_is_found_in_itself(known):
    ids = vocabulary(known)
    assert lookup(ids, ids.copy()).tolist() == list(range(len(ids)))


def test_nothing_is_found_in_nothing():
    assert find(as_ids([]), "a") == MISSING
    assert find(as_ids(["a"]), "") == MISSING


def test_an_id_that_goes_on_behind_a_nul_is_another():
    ids = as_ids(["a", "bbb"])
    assert find(ids, "a\0") == MISSING
    assert find(ids, "a") == 0

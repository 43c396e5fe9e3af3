"""MMR by hand, and what holds for any page."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.pipeline.diversity import diversified


def page(scores, categories, creators, places, strength):
    order = diversified(
        np.array(scores, np.float32),
        np.array(categories, np.int32),
        np.array(creators, np.int32),
        places,
        strength,
    )
    return order.tolist()


def worth_of(i, placed, scores, categories, creators, strength):
    """The formula, slowly: likeness to what was placed, 0.7 of it left a place later."""
    likeness = sum(
        0.7 ** (len(placed) - 1 - at)
        * (0.5 * (categories[i] == categories[j] >= 0) + 0.5 * (creators[i] == creators[j] >= 0))
        for at, j in enumerate(placed)
    )
    return (1 - strength) * scores[i] - strength * likeness


def by_hand(scores, categories, creators, places, strength):
    placed: list[int] = []
    while len(placed) < min(places, len(scores)):
        left = [i for i in range(len(scores)) if i not in placed]
        placed.append(
            max(left, key=lambda i: (worth_of(i, placed, scores, categories, creators, strength), -i))
        )
    return placed


def test_a_page_of_one_kind_is_broken_up():
    # At strength .5 after 0: 1 is worth .45 - .5 (same category and creator), 2 is worth .4 - .25, 3 is worth .3.
    assert page([1, 0.9, 0.8, 0.6], [0, 0, 0, 1], [0, 0, 1, 2], 2, 0.5) == [0, 3]
    # Third place: 1 is worth .45 - .7 * .5 = .1, 2 is worth .4 - .7 * .25 = .225.
    assert page([1, 0.9, 0.8, 0.6], [0, 0, 0, 1], [0, 0, 1, 2], 4, 0.5) == [0, 3, 2, 1]


def test_strength_0_is_by_score_alone_equal_ones_in_their_order():
    assert page([1, 3, 3, 2], [0] * 4, [0] * 4, 4, 0) == [1, 2, 3, 0]


def test_strength_1_is_by_novelty_alone():
    assert page([1, 9, 5, 2], [0, 0, 1, 2], [-1] * 4, 4, 1) == [0, 2, 3, 1]


def test_what_is_not_known_is_like_nothing():
    assert page([3, 2, 1], [-1] * 3, [-1] * 3, 3, 0.9) == [0, 1, 2]


@pytest.mark.parametrize("places", [0, 1, 3, 10])
def test_there_are_as_many_places_as_candidates_allow(places):
    assert len(page([3, 2, 1], [0, 0, 0], [0, 1, 2], places, 0.3)) == min(places, 3)
    assert page([], [], [], places, 0.3) == []


candidates = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 20).map(lambda x: x / 20), min_size=n, max_size=n),
        st.lists(st.integers(-1, 3), min_size=n, max_size=n),
        st.lists(st.integers(-1, 4), min_size=n, max_size=n),
    )
)


@settings(max_examples=200, deadline=None)
@given(candidates, st.integers(0, 14), st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]))
def test_a_longer_page_begins_with_the_shorter_ones_places(three, places, strength):
    whole = page(*three, len(three[0]), strength)
    assert sorted(whole) == list(range(len(three[0])))
    assert page(*three, places, strength) == whole[:places]


@settings(max_examples=200, deadline=None)
@given(candidates, st.sampled_from([0.13, 0.37, 0.71]))
def test_any_page_is_the_formulas(three, strength):
    # Distinct scores: ties are decided by rounding, here and there differently.
    scores = [score + 0.0007 * (i * i % 97) for i, score in enumerate(three[0])]
    found, expected = page(scores, *three[1:], 12, strength), by_hand(scores, *three[1:], 12, strength)
    if found != expected:  # only where two were worth the same
        at = next(i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b)
        mine, theirs = (
            worth_of(order[at], found[:at], scores, *three[1:], strength) for order in (found, expected)
        )
        assert mine == pytest.approx(theirs, abs=1e-5)

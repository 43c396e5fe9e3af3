"""What lists are like apart from being right: worked out by hand, and against a plain count of pairs."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml import lists as beyond
from ml.catalogue import Catalogue
from ml.lists import Traits, gini, list_metrics
from tests.ml.planted import interactions

VIDEOS = np.asarray(["a", "b", "c", "d"])
CATALOGUE = Catalogue.of(
    ["d", "c", "b", "a"],
    creator_ids=["x", "y", "x", "x"],
    categories=["", "news", "fun", "fun"],
    tags=[[], ["p"], ["p", "q"], ["p", "q", "p"]],
)
# a has two watchers, b and c one each, d none; ann's second watch of a is the same pair
TRAIN = interactions(
    [
        ("ann", "a", 1, 1.0),
        ("ann", "a", 2, 1.0),
        ("ann", "b", 3, 0.3),
        ("bob", "a", 4, 1.0),
        ("eve", "c", 5, 1.0),
    ]
)


def traits() -> Traits:
    return Traits.of(VIDEOS, CATALOGUE, TRAIN, np.asarray(["ann", "eve", "new"]))


def test_information_is_what_few_have_watched() -> None:
    # (watchers + 1) / (3 users + 1)
    assert traits().information.tolist() == pytest.approx([-math.log2(3 / 4), 1, 1, 2])


def test_the_percentile_orders_videos_by_watchers_with_ties_in_the_middle() -> None:
    assert traits().percentile.tolist() == pytest.approx([1, 0.5, 0.5, 0])


def test_what_a_user_usually_watches_counts_each_video_once() -> None:
    usual = traits().usual_percentile
    assert usual[:2].tolist() == pytest.approx([0.75, 0.5])
    assert np.isnan(usual[2])


def test_metrics_of_a_list_by_hand() -> None:
    found = list_metrics(np.asarray([[0, 1, 2]] * 3), traits(), cutoffs=(2, 3))
    # a, b: the same in all; a, c: no category, no creator, tags 1/sqrt(2); b, c alike
    ab, ac = 1.0, (0 + 0 + 1 / math.sqrt(2)) / 3
    assert found["diversity_at_2"].tolist() == pytest.approx([1 - ab] * 3, abs=1e-12)
    assert found["diversity_at_3"].tolist() == pytest.approx([1 - (ab + 2 * ac) / 3] * 3)
    assert found["novelty_at_2"].tolist() == pytest.approx([(-math.log2(3 / 4) + 1) / 2] * 3)
    assert found["popularity_at_2"].tolist() == pytest.approx([0.75] * 3)
    assert found["popularity_lift_at_2"][:2].tolist() == pytest.approx([0, 0.25])
    assert np.isnan(found["popularity_lift_at_2"][2])


def test_unknown_is_not_alike() -> None:
    # a and d share the creator; d has no category and no tags
    found = list_metrics(np.asarray([[0, 3]]), _for_one(), cutoffs=(2,))
    assert found["diversity_at_2"].tolist() == pytest.approx([2 / 3])


def _for_one() -> Traits:
    return Traits.of(VIDEOS, CATALOGUE, TRAIN, np.asarray(["ann"]))


def test_places_without_a_video_are_passed_over() -> None:
    short = list_metrics(np.asarray([[0, -1, -1]]), _for_one(), cutoffs=(3,))
    assert short["diversity_at_3"].tolist() == [0]
    assert short["popularity_at_3"].tolist() == [1]
    empty = list_metrics(np.asarray([[-1, -1]]), _for_one(), cutoffs=(2,))
    assert (empty["novelty_at_2"].tolist(), empty["diversity_at_2"].tolist()) == ([0], [0])


def test_diversity_is_left_out_of_a_catalogue_that_says_nothing() -> None:
    bare = Traits.of(VIDEOS, Catalogue.of(VIDEOS), TRAIN, np.asarray(["ann"]))
    assert set(list_metrics(np.asarray([[0, 1]]), bare, cutoffs=(2,))) == {
        "novelty_at_2",
        "popularity_at_2",
        "popularity_lift_at_2",
    }


def test_an_attribute_that_nobody_filled_in_takes_no_share() -> None:
    categories = Catalogue.of(VIDEOS, categories=["fun", "fun", "news", ""])
    by_category = Traits.of(VIDEOS, categories, TRAIN, np.asarray(["ann"]))
    assert list_metrics(np.asarray([[0, 1, 2]]), by_category, cutoffs=(3,))["diversity_at_3"][
        0
    ] == pytest.approx(2 / 3)


def test_diversity_agrees_with_looking_at_every_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    names = np.asarray([f"v{i:02d}" for i in range(30)])
    categories = rng.choice(["", "x", "y"], 30)
    creators = rng.choice(["", "m", "n", "o"], 30)
    tags = [rng.choice(list("abcdef"), size, replace=False).tolist() for size in rng.integers(0, 4, 30)]
    catalogue = Catalogue.of(names, categories=categories, creator_ids=creators, tags=tags)
    shown = np.stack([rng.choice(30, 6, replace=False) for _ in range(9)])
    shown[2, 4:] = -1
    monkeypatch.setattr(beyond, "_BLOCK", 4)
    made = Traits.of(names, catalogue, interactions([("u", "v00", 1, 1.0)]), np.asarray(["u"] * 9))
    found = list_metrics(shown, made, cutoffs=(6,))["diversity_at_6"]

    def alike(i: int, j: int) -> float:
        same = [float(column[i] != "" and column[i] == column[j]) for column in (categories, creators)]
        both, size = len({*tags[i]} & {*tags[j]}), math.sqrt(len(tags[i]) * len(tags[j]))
        return (sum(same) + (both / size if size else 0)) / 3

    for row, videos in enumerate(shown):
        pairs = list(combinations([int(video) for video in videos if video >= 0], 2))
        assert found[row] == pytest.approx(1 - sum(alike(i, j) for i, j in pairs) / len(pairs))


def test_gini_of_equal_single_and_uneven_exposure() -> None:
    assert gini(np.asarray([[0, 1], [2, 3]]), 4) == pytest.approx(0)
    assert gini(np.asarray([[0, -1], [0, -1]]), 4) == pytest.approx(3 / 4)  # 1 - 1/m when one has them all
    assert gini(np.asarray([[0, 0], [0, 1]]), 2) == pytest.approx(0.25)
    assert gini(np.asarray([[-1]]), 3) == 0


@given(st.lists(st.lists(st.integers(-1, 9), min_size=3, max_size=3), min_size=1, max_size=8))
def test_gini_lies_between_zero_and_one(rows: list[list[int]]) -> None:
    assert -1e-12 <= gini(np.asarray(rows), 10) <= 0.9 + 1e-12

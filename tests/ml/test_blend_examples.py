"""What the blend's weights are learned from: candidates, choices, what stands for what."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ml.blend_examples import BlendExamples, Terms, _best, _sampled, _Wanted
from ml.blend_weights import learned_weights
from ml.collaborative_config import HybridConfig
from ml.dataset import Known, Watched
from ml.hybrid import assemble
from ml.video_signals import names
from tests.ml.planted import catalogue, interactions, met
from tests.ml.test_blend import MODEL

HOUR = 3_600_000
CONFIG = HybridConfig(parts=("als", "content"), half_lives_days=(1.0,), candidates=3)


def known_of_ann() -> Known:
    """Ann watched `a`, bob scrolled past `b`."""
    rows = interactions([("ann", "a", 0, 1.0)])
    return Known.of(rows, catalogue(["a", "b", "c", "d"]), watched=met(rows, [("bob", "b", 0)]))


LATER = interactions(
    [
        ("ann", "a", 1, 1.0),
        ("ann", "c", 2, 1.0),
        ("ann", "d", 3, 0.2),
        ("bob", "b", 4, 1.0),
        ("zoe", "a", 5, 1.0),
    ]
)


def examples(*, sampled: bool, config: HybridConfig = CONFIG) -> BlendExamples:
    known = known_of_ann()
    terms = Terms(("als", "content"), "content", names(config.half_lives_days))
    zeros = dict.fromkeys(terms.names, 0.0)
    weights = {"weights": {**zeros, "als": 1.0}, "stranger_weights": zeros}
    model = assemble(MODEL.parts, weights, known, config)
    return BlendExamples.of(model, terms, known, LATER, known.watched, config, 0, sampled=sampled)


def test_who_liked_something_new_to_them_is_asked_about_what_they_had_not_met() -> None:
    """Bob had met what he liked, ann one of two: ann and zoe are asked, one of them as a stranger too."""
    known = known_of_ann()
    wanted = _Wanted.of(MODEL.video_ids, known, LATER, known.watched)
    assert wanted.user_ids.tolist() == ["ann", "zoe"]
    rows = np.asarray([0, 1])
    assert wanted.marked(rows, "liked", 4).tolist() == [
        [False, False, True, False],
        [True, False, False, False],
    ]
    assert wanted.marked(rows, "met", 4).tolist() == [[True, False, False, False], [False] * 4]


def test_the_best_candidates_are_those_of_the_blend_that_were_not_met() -> None:
    """Ann's ALS scores are 3, 1, 0, 0: without `a`, the best three are b, c, d; the choice is c."""
    of_ann = examples(sampled=False)
    assert of_ann.users == 2
    assert of_ann.chosen[0].tolist() == [False, True, False]
    assert of_ann.values.shape == (3, 3, 6)
    assert of_ann.log_counts.tolist() == [[0, 0, 0]] * 3
    np.testing.assert_allclose(of_ann.t, [1 / 3, 0, 0], rtol=1e-6)


def test_places_without_a_candidate_count_nothing() -> None:
    config = CONFIG.model_copy(update={"candidates": 6})
    for sampled in (False, True):
        of_ann = examples(sampled=sampled, config=config)
        assert np.isfinite(of_ann.log_counts[0]).sum() == 3  # all but `a`
        assert not of_ann.chosen[~np.isfinite(of_ann.log_counts)].any()
        for weights in learned_weights(of_ann, np.zeros(6), 1.0):
            assert np.isfinite(weights).all()


def test_nobody_who_liked_anything_makes_no_examples() -> None:
    known = known_of_ann()
    terms = Terms(("als", "content"), "content", names((1.0,)))
    made = BlendExamples.of(MODEL, terms, known, interactions([]), Watched.nothing(), CONFIG, 0, sampled=True)
    assert (made.users, made.values.shape) == (0, (0, 3, 6))


MARKS = arrays(np.bool_, (3, 12))


@given(MARKS, MARKS, st.integers(1, 15), st.integers(0, 99))
def test_a_sample_holds_what_was_liked_nothing_met_and_stands_for_all(
    liked: np.ndarray, met_: np.ndarray, k: int, seed: int
) -> None:
    liked = liked & ~met_
    columns, log_counts = _sampled(liked, met_, k, np.random.default_rng(seed))
    for row in range(3):
        there = np.isfinite(log_counts[row])
        taken = columns[row, there]
        assert len(set(taken.tolist())) == len(taken) == min(k, int((~met_[row]).sum()))
        assert not met_[row, taken].any()
        assert liked[row, taken].sum() == min(k, int(liked[row].sum()))
        others = int((~liked[row] & ~met_[row]).sum())
        stands_for = np.exp(log_counts[row, there][~liked[row, taken]]).sum()
        assert np.isclose(stands_for, others, rtol=1e-4) or k <= liked[row].sum()


@given(arrays(np.float32, (2, 8), elements=st.integers(-9, 9)), arrays(np.bool_, (2, 8)), st.integers(1, 10))
def test_the_best_are_the_highest_that_were_not_met(scores: np.ndarray, met_: np.ndarray, k: int) -> None:
    columns, log_counts = _best(scores.copy(), met_, k)
    for row in range(2):
        taken = columns[row, np.isfinite(log_counts[row])]
        allowed = np.sort(scores[row, ~met_[row]])[::-1]
        assert scores[row, taken].tolist() == allowed[:k].tolist()
        assert not met_[row, taken].any()

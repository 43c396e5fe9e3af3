"""What every kind of model must say of somebody it never saw, by their past alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from ml.recommender import KINDS, Past, Recommender
from tests.ml.planted import HIT
from tests.ml.test_contract import TASTE, all_known, fans, fitted

WITHOUT_FOLD_IN = ("svd", "popularity")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(kind: str) -> Recommender:
    return fitted(kind).model


def past_of(user: str) -> Past:
    """What the model was told of this user in training, as a client would tell it."""
    everything = all_known()
    rows = everything.interactions.take(everything.interactions.user_ids == user)
    ages = (everything.as_of_ms - rows.started_at_ms) / 86_400_000
    return Past(rows.video_ids.tolist(), rows.weights.tolist(), ages.tolist())


def test_pasts_in_a_batch_score_as_one_by_one(model: Recommender) -> None:
    pasts = [past_of("A-fan-1"), Past([]), past_of("B-fan-2"), Past([HIT])]
    alone = np.concatenate([model.scores_for([past]) for past in pasts])
    np.testing.assert_allclose(model.scores_for(pasts), alone, atol=1e-5)


def test_an_empty_past_is_that_of_a_stranger(model: Recommender) -> None:
    stranger = model.scores(["nobody"])
    assert np.isfinite(stranger).all()
    np.testing.assert_allclose(model.scores_for([Past([])]), stranger, rtol=1e-6)


def test_videos_that_the_model_does_not_know_do_not_count(model: Recommender) -> None:
    stranger = model.scores_for([Past([])])
    np.testing.assert_allclose(model.scores_for([Past(["unknown", "also"], [3, 1])]), stranger, rtol=1e-6)
    one, more = Past([HIT], [1], [2]), Past(["unknown", HIT, "x" * 1000], [1, 1, 1], [3, 2, 0])
    np.testing.assert_allclose(model.scores_for([more]), model.scores_for([one]), atol=1e-6)


def test_a_past_without_weight_is_that_of_a_stranger(model: Recommender) -> None:
    np.testing.assert_allclose(
        model.scores_for([Past([HIT, "A-01"], [0, 0])]), model.scores_for([Past([])]), rtol=1e-6
    )


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*TASTE, "unknown", "", "y" * 300]),
            st.sampled_from([0.0, 1e-6, 0.3, 1.0, 50.0]),
            st.sampled_from([0.0, 0.5, 30.0, 1e6]),
        ),
        max_size=30,
    )
)
@pytest.mark.parametrize("kind", KINDS)
def test_any_past_has_finite_scores(kind: str, past: list[tuple[str, float, float]]) -> None:
    videos, weights, ages = zip(*past, strict=True) if past else ((), (), ())
    scores = fitted(kind).model.scores_for([Past(videos, weights, ages)])
    assert (scores.shape, scores.dtype) == ((1, len(TASTE)), np.float32)
    assert np.isfinite(scores).all()


def test_a_trained_user_s_own_past_ranks_like_the_trained_user(kind: str, model: Recommender) -> None:
    if kind in WITHOUT_FOLD_IN:
        np.testing.assert_array_equal(model.scores_for([past_of("A-fan-1")]), model.scores(["nobody"]))
        return
    by_past = model.scores_for([past_of(user) for user in fans()])
    agreement = [spearmanr(a, b).statistic for a, b in zip(by_past, model.scores(fans()), strict=True)]
    assert np.mean(agreement) >= 0.8


def test_a_stranger_with_a_past_gets_more_of_it(kind: str, model: Recommender) -> None:
    if kind in WITHOUT_FOLD_IN:
        return
    for letter in "AB":
        watched = [f"{letter}-{n:02d}" for n in range(1, 6)]
        scores = model.scores_for([Past(watched)])[0]
        rest = [video for video in TASTE if video not in (*watched, HIT)]
        best = max(rest, key=lambda video: scores[model.video_ids.searchsorted(video)])
        assert best[0] == letter

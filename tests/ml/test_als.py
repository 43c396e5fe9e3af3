"""Implicit ALS: its users against the normal equations, its seed, the tastes it finds."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.als import fit
from ml.collaborative_config import ALSConfig
from ml.errors import EmptyTrainingSetError
from ml.factors import FactorModel
from ml.recommender import Past
from ml.saved import load
from tests.ml.planted import interactions, known, tastes

CONFIG = ALSConfig(n_factors=8, n_epochs=8)


def fitted(config: ALSConfig = CONFIG, seed: int = 0) -> FactorModel:
    model = fit(known(tastes()), config, seed=seed).model
    assert isinstance(model, FactorModel)
    return model


def test_a_user_is_the_exact_solution_for_the_videos_at_hand() -> None:
    rows = tastes()
    model = fitted()
    Y = model.video_factors.astype(np.float64)
    user = str(rows.user_ids[0])
    mine = rows.user_ids == user
    confidence = np.ones(len(model.video_ids))
    watched = np.searchsorted(model.video_ids, rows.video_ids[mine])
    confidence[watched] += CONFIG.alpha * rows.weights[mine]
    wanted = np.zeros(len(confidence))
    wanted[watched] = 1
    left = (Y.T * confidence) @ Y + CONFIG.regularisation * np.eye(CONFIG.n_factors)
    expected = np.linalg.solve(left, Y.T @ (confidence * wanted))
    vector = model.user_factors[np.searchsorted(model.user_ids, user)]
    np.testing.assert_allclose(vector, expected, rtol=1e-3, atol=1e-4)


def test_a_stranger_with_the_same_past_gets_the_same_scores() -> None:
    rows = tastes()
    model = fitted()
    user = str(rows.user_ids[0])
    mine = rows.take(rows.user_ids == user)
    past = Past(mine.video_ids.tolist(), mine.weights.tolist())
    np.testing.assert_allclose(model.scores_for([past]), model.scores([user]), rtol=1e-3, atol=1e-4)


def test_the_same_seed_gives_the_same_model_and_another_one_another() -> None:
    once, again, other = fitted(), fitted(), fitted(seed=1)
    np.testing.assert_array_equal(once.user_factors, again.user_factors)
    np.testing.assert_array_equal(once.video_factors, again.video_factors)
    assert not np.array_equal(once.video_factors, other.video_factors)


def test_tastes_are_found_and_saved(tmp_path: Path) -> None:
    """Watches that were broken off count too, by their weight: most of the confidence must not come from them."""
    rows = tastes()
    model = fitted(ALSConfig(n_factors=4, regularisation=10.0, alpha=20.0))
    fans = [user for user in model.user_ids.tolist() if "fan" in user]
    met = {user: set(rows.video_ids[rows.user_ids == user].tolist()) for user in fans}
    lists = model.recommend(fans, 5, met)
    right = [video[0] == user[0] for user, ranked in zip(fans, lists, strict=True) for video, _ in ranked]
    assert np.mean(right) > 0.9
    model.save(tmp_path / "model")
    assert load(tmp_path / "model").recommend(fans, 5, met) == lists


def test_progress_is_told_after_each_sweep() -> None:
    told: list[tuple[int, int, float]] = []
    fit(known(tastes()), CONFIG, progress=lambda *sweep: told.append(sweep))
    assert told == [(sweep, 8, 0.0) for sweep in range(1, 9)]


def test_nothing_watched_is_an_error_that_says_so() -> None:
    with pytest.raises(EmptyTrainingSetError, match="als: no interaction has a weight"):
        fit(known(interactions([]), ["a"]), CONFIG)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ann", "bob", "cat"]),
            st.sampled_from(["a", "b", "c"]),
            st.floats(0, 9),
            st.floats(0.1, 2),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_whatever_was_watched_everybody_has_finite_scores(rows: list[tuple[str, str, float, float]]) -> None:
    rows = sorted(rows, key=lambda row: row[2])
    model = fit(known(rows, ["a", "b", "c", "unseen"]), ALSConfig(n_factors=4, n_epochs=3)).model
    scores = model.scores([*model.user_ids.tolist(), "zoe"])
    assert np.isfinite(scores).all()
    assert scores[-1].tolist() == [0, 0, 0, 0]

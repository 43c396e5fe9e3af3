"""SVD against the one-by-one loop it stands for."""

from itertools import pairwise

import numpy as np
import pytest

from ml.config import SVDConfig
from ml.dataset import Encoded
from ml.factors import FactorModel
from ml.svd import conflict_free, fit, predict_ratings
from tests.ml.planted import catalogue, interactions, taste_videos, tastes


def one_by_one(config: SVDConfig, seed: int) -> dict[str, np.ndarray]:
    """Surprise's SVD.sgd, written as its documentation has it, on the planted data."""
    rows = tastes()
    data = Encoded.of(rows, catalogue(taste_videos()))
    n, m, d = len(data.user_ids), len(data.video_ids), config.n_factors
    rng = np.random.default_rng(seed)
    rated = np.unique(data.videos)
    p, q = rng.normal(0, 0.1, (n, d)), np.zeros((m, d))
    q[rated] = rng.normal(0, 0.1, (len(rated), d))
    bu, bi, mean = np.zeros(n), np.zeros(m), rows.ratings.mean(dtype=np.float64)
    rate, reg = config.learning_rate, config.regularisation
    for _ in range(config.n_epochs):
        for u, v, rating in zip(data.users, data.videos, rows.ratings, strict=True):
            error = rating - (mean + bu[u] + bi[v] + q[v] @ p[u])
            bu[u] += rate * (error - reg * bu[u])
            bi[v] += rate * (error - reg * bi[v])
            p[u], q[v] = p[u] + rate * (error * q[v] - reg * p[u]), q[v] + rate * (error * p[u] - reg * q[v])
    return {"user_factors": p, "video_factors": q, "user_bias": bu, "video_bias": bi}


def test_equals_the_sequential_loop() -> None:
    config = SVDConfig(n_factors=5, n_epochs=10, learning_rate=0.02, regularisation=0.1)
    model = fit(tastes(), catalogue(taste_videos()), config, seed=4).model
    for name, expected in one_by_one(config, seed=4).items():
        np.testing.assert_allclose(getattr(model, name), expected, atol=2e-5)


def test_groups_touch_nothing_twice_and_keep_each_one_s_order() -> None:
    rng = np.random.default_rng(0)
    users, videos = rng.integers(0, 20, 500), rng.integers(0, 9, 500)
    order, bounds = conflict_free(users, videos)
    assert sorted(order.tolist()) == list(range(500))
    assert (bounds[0], bounds[-1]) == (0, 500)
    for start, end in pairwise(bounds):
        group = order[start:end]
        assert len(set(users[group])) == len(set(videos[group])) == len(group) > 0
    for column in (users, videos):
        for value in np.unique(column):
            assert (np.diff(order[column[order] == value]) > 0).all()


def test_the_loss_falls_every_epoch_and_starts_near_the_spread_of_the_ratings() -> None:
    rows = tastes()
    curve = fit(rows, catalogue(taste_videos()), SVDConfig()).curve
    assert len(curve) == 20
    assert (np.diff(curve) < 0).all()
    assert curve[0] == pytest.approx(float(rows.ratings.std()), abs=0.25)


def test_the_defaults_are_the_contract_s() -> None:
    config = SVDConfig()
    assert (config.n_factors, config.n_epochs, config.learning_rate, config.regularisation) == (
        100,
        20,
        0.005,
        0.02,
    )


def test_a_video_nobody_rated_scores_the_mean() -> None:
    model = fit(tastes(), catalogue(taste_videos()), SVDConfig()).model
    column = model.video_ids.tolist().index("never-played")
    assert model.scores(["stranger"])[0, column] == np.float32(model.offset)
    assert model.similar("never-played", 5) == []


def test_predictions_fall_back_to_what_is_known_and_stay_on_the_scale() -> None:
    model = FactorModel(
        kind="svd",
        user_ids=np.asarray(["u"]),
        video_ids=np.asarray(["v", "w"]),
        user_factors=np.asarray([[2]], dtype=np.float32),
        video_factors=np.asarray([[0.5], [9]], dtype=np.float32),
        user_bias=np.asarray([0.25], dtype=np.float32),
        video_bias=np.asarray([-0.5, 0], dtype=np.float32),
        offset=2.0,
    )
    pairs = [("u", "v"), ("u", "new"), ("new", "v"), ("new", "new"), ("u", "w")]
    rows = interactions([(user, video, 0, 1) for user, video in pairs])
    assert predict_ratings(model, rows).tolist() == [2.75, 2.25, 1.5, 2.0, 5.0]

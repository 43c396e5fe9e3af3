"""Biased matrix factorisation by stochastic gradient descent, as R5 and Surprise's `SVD` define it."""

import math

import numpy as np
from numpy.typing import NDArray

from ml.config import SVDConfig
from ml.dataset import Encoded, Interactions, Known
from ml.errors import EmptyTrainingSetError
from ml.factors import FactorModel
from ml.fitting import Fitted, Progress, finite
from ml.ids import MISSING, lookup

RATING_SCALE = (0.0, 5.0)

CACHE_LINE = 16  # float32s
DRAWN_AT_ONCE = 50_000  # rows; the draws are float64, all at once would be thrice the model


def fit(
    known: Known,
    config: SVDConfig,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Fitted:
    """Minimise (r - mu - b_u - b_v - p_u.q_v)^2 + reg*(b_u^2 + b_v^2 + |p_u|^2 + |q_v|^2) over the ratings.

    Funk's update, each rating in order of time (Koren, Bell and Volinsky 2009, "Matrix factorization techniques
    for recommender systems"), one by one in `ml.svd_kernel`. Videos nobody rated keep zero factors. The curve is
    the training RMSE of each epoch, measured before each update. Same data, config and seed: the same model to the
    last bit, on one kind of processor (SIMD widths differ, and sums with them). Raises `EmptyTrainingSetError` and
    `DivergedError`.
    """
    from ml.svd_kernel import epoch as visit_all  # numba: not for those who only ask a model

    interactions = known.interactions
    if not len(interactions):
        raise EmptyTrainingSetError("svd: there are no interactions")
    data = Encoded.of(interactions, known.catalogue)
    d = config.n_factors
    mean = float(interactions.ratings.mean(dtype=np.float64))
    targets = interactions.ratings - np.float32(mean)
    P, Q = starting_rows(data, config, seed)
    rate, regularisation = np.float32(config.learning_rate), np.float32(config.regularisation)

    curve: list[float] = []
    for epoch in range(1, config.n_epochs + 1):
        squares = visit_all(P, Q, data.users, data.videos, targets, rate, regularisation, d)
        curve.append(finite("svd", epoch, math.sqrt(squares / len(interactions))))
        if progress:
            progress(epoch, config.n_epochs, curve[-1])

    model = FactorModel(
        kind="svd",
        user_ids=data.user_ids,
        video_ids=data.video_ids,
        user_factors=P[:, :d].copy(),
        video_factors=Q[:, :d].copy(),
        user_bias=P[:, d].copy(),
        video_bias=Q[:, d + 1].copy(),
        offset=mean,
    )
    return Fitted(model, curve)


def starting_rows(
    data: Encoded, config: SVDConfig, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """P (users, width) and Q (videos, width) as the kernel wants them: normal factors, no biases.

    The width is d + 2 filled up to whole cache lines of 16 floats, so that no row ends in the middle of a SIMD step.
    The factors are drawn as Surprise draws its own, users first, by the generator whose numbers numpy promises never
    to change: a row starts where Surprise's row of this number starts with the same seed, if all videos are rated.
    """
    d, rng = config.n_factors, np.random.RandomState(seed % 2**32)
    width = -(-(d + 2) // CACHE_LINE) * CACHE_LINE
    P = np.zeros((len(data.user_ids), width), dtype=np.float32)
    Q = np.zeros((len(data.video_ids), width), dtype=np.float32)
    for array, rows in ((P, np.arange(len(P))), (Q, np.unique(data.videos))):
        for start in range(0, len(rows), DRAWN_AT_ONCE):
            some = rows[start : start + DRAWN_AT_ONCE]
            array[some, :d] = rng.normal(0, config.init_std, (len(some), d))
    P[:, d + 1] = Q[:, d] = 1
    return P, Q


def predict_ratings(model: FactorModel, interactions: Interactions) -> NDArray[np.float32]:
    """The model's rating of each row's (user, video), clipped to 0-5; shape (n,).

    Unknown users or videos get the mean and whatever bias is known, as in Surprise.
    """
    users = lookup(model.user_ids, interactions.user_ids)
    videos = lookup(model.video_ids, interactions.video_ids)
    user_known, video_known = users != MISSING, videos != MISSING
    ratings = np.full(len(interactions), model.offset, dtype=np.float32)
    ratings[user_known] += model.user_bias[users[user_known]]
    ratings[video_known] += model.video_bias[videos[video_known]]
    both = user_known & video_known
    p, q = model.user_factors[users[both]], model.video_factors[videos[both]]
    ratings[both] += np.einsum("ij,ij->i", p, q)
    return np.clip(ratings, *RATING_SCALE)

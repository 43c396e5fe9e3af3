"""Biased matrix factorisation by stochastic gradient descent, as R5 and Surprise's `SVD` define it."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ml.config import SVDConfig
from ml.dataset import Catalogue, Encoded, Interactions
from ml.errors import EmptyTrainingSetError
from ml.factors import FactorModel
from ml.fitting import Fitted, Progress, finite
from ml.ids import MISSING, Rows, lookup

RATING_SCALE = (0.0, 5.0)


def fit(
    interactions: Interactions,
    catalogue: Catalogue,
    config: SVDConfig,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Fitted:
    """Minimise (r - mu - b_u - b_v - p_u.q_v)^2 + reg*(b_u^2 + b_v^2 + |p_u|^2 + |q_v|^2) over the ratings.

    Funk's update, each rating in order of time (Koren, Bell and Volinsky 2009, "Matrix factorization techniques
    for recommender systems"). The result is that of the one-by-one loop; `conflict_free` says how it is reached
    in few numpy steps. Videos nobody rated keep zero factors. The curve is the training RMSE of each epoch,
    measured before each update.
    """
    if not len(interactions):
        raise EmptyTrainingSetError("svd: there are no interactions")
    data = Encoded.of(interactions, catalogue)
    n, m, d = len(data.user_ids), len(data.video_ids), config.n_factors
    order, bounds = conflict_free(data.users, data.videos)
    users, videos = data.users[order], data.videos[order]
    ratings = interactions.ratings[order]
    mean = float(interactions.ratings.mean(dtype=np.float64))

    # P = [p_u, b_u, 1] and Q = [q_v, 1, b_v]: then P.Q holds the biases too, and one update serves all columns
    # but the constant ones, which learn at rate 0.
    rng = np.random.default_rng(seed)
    P, Q = np.zeros((n, d + 2), dtype=np.float32), np.zeros((m, d + 2), dtype=np.float32)
    P[:, :d] = rng.normal(0, config.init_std, (n, d))
    P[:, d + 1] = 1
    rated = np.unique(videos)
    Q[rated, :d] = rng.normal(0, config.init_std, (len(rated), d))
    Q[:, d] = 1
    rate_p = np.full(d + 2, config.learning_rate, dtype=np.float32)
    rate_q = rate_p.copy()
    rate_p[d + 1] = rate_q[d] = 0
    keep_p, keep_q = 1 - rate_p * config.regularisation, 1 - rate_q * config.regularisation
    targets = ratings - np.float32(mean)

    curve: list[float] = []
    for epoch in range(1, config.n_epochs + 1):
        squares = 0.0
        with np.errstate(over="ignore", invalid="ignore"):  # `finite` reports it, once, with its cause
            for start, end in pairwise(bounds):
                u, v = users[start:end], videos[start:end]
                p, q = P[u], Q[v]
                error = targets[start:end] - np.einsum("ij,ij->i", p, q)
                squares += float(error @ error)
                step = error[:, None]
                P[u] = p * keep_p + (q * rate_p) * step
                Q[v] = q * keep_q + (p * rate_q) * step
        curve.append(finite("svd", epoch, float(np.sqrt(squares / len(ratings)))))
        if progress:
            progress(epoch, config.n_epochs, curve[-1])

    model = FactorModel(
        kind="svd",
        user_ids=data.user_ids,
        video_ids=data.video_ids,
        user_factors=np.ascontiguousarray(P[:, :d]),
        video_factors=np.ascontiguousarray(Q[:, :d]),
        user_bias=P[:, d].copy(),
        video_bias=Q[:, d + 1].copy(),
        offset=mean,
    )
    return Fitted(model, curve)


def conflict_free(users: Rows, videos: Rows) -> tuple[Rows, list[int]]:
    """Regroup ratings so that a group touches no user and no video twice, without changing the result.

    A rating must only wait for the previous one of its user and the previous one of its video; its level is one
    more than theirs. Updating level by level therefore gives exactly what the one-by-one loop gives, and each
    level is one vectorised step. Returns the new order (n,) and the bounds of the levels in it (levels + 1,).
    """
    last_of_user = [0] * (int(users.max()) + 1)
    last_of_video = [0] * (int(videos.max()) + 1)
    levels = np.empty(len(users), dtype=np.int64)
    for row, (user, video) in enumerate(zip(users.tolist(), videos.tolist(), strict=True)):
        level = max(last_of_user[user], last_of_video[video]) + 1
        levels[row] = last_of_user[user] = last_of_video[video] = level
    order = np.argsort(levels, kind="stable")
    return order, [0, *np.cumsum(np.bincount(levels)[1:]).tolist()]


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

"""A made-up world's arrays: tastes in clusters, videos of unequal fame, people with a past."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

DIMENSIONS = 64
CLUSTERS = 300
# Length of noise against the cluster's centre of length 1: a video's cosine with its centre is about 0.78.
NOISE = 0.8
TASTES = 3  # clusters a user likes
USER_SCALE = 10.0  # as a trained tower's: the softmax temperature is in the user's vector
FAME_WEIGHT = 0.3


@dataclass(frozen=True)
class World:
    """m videos, n users, in rows. `videos` (m, 64) have length 1, `users` (n, 64) length `USER_SCALE`; `fame` (m,) is
    the logarithm of a Zipf share, standardised; `met` (pairs, 2): user and video."""

    videos: Floats
    users: Floats
    cluster: NDArray[np.int64]
    fame: Floats
    met: NDArray[np.int64]


def make_world(videos: int, users: int, *, history: int = 50, seed: int = 0) -> World:
    rng = np.random.default_rng(seed)
    centres = _unit(rng.standard_normal((CLUSTERS, DIMENSIONS), np.float32))
    # Few clusters hold most videos.
    share = 1 / np.arange(1, CLUSTERS + 1) ** 0.7
    cluster = np.sort(rng.choice(CLUSTERS, videos, p=share / share.sum()))
    vectors = _noisy(centres[cluster], rng)
    fame = -np.log(rng.permutation(videos) + 1.0)
    fame = ((fame - fame.mean()) / fame.std()).astype(np.float32)

    liked = rng.choice(CLUSTERS, (users, TASTES), p=share / share.sum())
    weights = rng.dirichlet(np.full(TASTES, 1.0), users).astype(np.float32)
    wishes = np.einsum("ut,utd->ud", weights, centres[liked])
    met = _met(cluster, fame, liked, weights, history, rng)
    order = rng.permutation(videos)  # a row's number says nothing of its cluster
    return World(
        videos=vectors[np.argsort(order)],
        users=USER_SCALE * _noisy(_unit(wishes), rng),
        cluster=cluster[np.argsort(order)],
        fame=fame[np.argsort(order)],
        met=np.column_stack([met[:, 0], order[met[:, 1]]]),
    )


def _unit(rows: Floats) -> Floats:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _noisy(rows: Floats, rng: np.random.Generator) -> Floats:
    noise = rng.standard_normal(rows.shape, np.float32)
    return _unit(rows + NOISE * noise / np.sqrt(np.float32(rows.shape[1])))


def _met(
    cluster: NDArray[np.int64],
    fame: Floats,
    liked: NDArray[np.int64],
    weights: Floats,
    history: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Pairs of user and video (by cluster order), `history` a user: of the clusters they like, famous ones first."""
    users = np.repeat(np.arange(len(liked)), history)
    taste = (rng.random((len(users), 1)) > np.cumsum(weights, axis=1)[users]).sum(axis=1)
    chosen = liked[users, np.minimum(taste, TASTES - 1)]
    starts = np.searchsorted(cluster, np.arange(CLUSTERS + 1))
    sizes = np.diff(starts)
    by_fame = np.lexsort((-fame, cluster))
    place = (sizes[chosen] * rng.random(len(users)) ** 2).astype(np.int64)
    kept = sizes[chosen] > 0
    return np.column_stack([users[kept], by_fame[(starts[chosen] + place)[kept]]])

"""A simulated platform whose users' tastes are known, for judging the judges of models."""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from ml.errors import ConfigurationError
from ml.metrics import CUTOFFS, PerUser, ranking_metrics

PRIMARY = "ndcg_at_10"
BLOCK = 1_000  # users scored at a time, which bounds the memory
CALIBRATION_SEEDS = 6
CALIBRATION_STEPS = 12  # halvings of the noise between the champion's and none
# what the random numbers of a model are for; never 0, because numpy's generators of [s, 0] and s are alike
MODEL_STREAM, CALIBRATION_STREAM = 1, 2

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Tastes:
    """How users choose and how models err.

    `dim`: taste dimensions. `taste`, `popularity`: standard deviations of the two parts of the true affinity, in
    log-odds. `met`, `positives`: how many videos a user met before the test and likes in it, on average (geometric,
    at least 1). `noise`: the champion's error about a user, in units of the true factors. `common_error`: share of
    its variance that models have in common however they are seeded, being made of the same data. `seed_drift`:
    error about a video, the same for all users, that comes with a model's seed, in log-odds. It makes one twin of
    an A/A pair better for everybody, which no resampling of users shows: pairs spread more than their paired errors
    say, by the default about 1.05 times, with a drift of 0.2 1.1 times, with 0.4 1.6 times. On KuaiRand-Pure it was
    1.0 times for 11 seeds of the SVD and 1.7 times for 10 of a two-tower (issue 3's, 6,703 test users).

    The defaults give the champion an NDCG@10 of 0.10 and A/A pairs a correlation of 0.84 between their users'
    results. On KuaiRand-late good models are near 0.09, and two-towers of three seeds were correlated by 0.82 to
    0.88 on KuaiRand-Pure. Users and positives are KuaiRand-late's.
    """

    dim: int = 16
    taste: float = 1.5
    popularity: float = 1.0
    met: float = 15.0
    positives: float = 2.6
    noise: float = 1.2
    common_error: float = 0.92
    seed_drift: float = 0.1

    def __post_init__(self) -> None:
        if self.dim < 1 or min(self.met, self.positives) < 1:
            raise ConfigurationError("dim, met and positives must be 1 or more")
        if min(self.taste, self.popularity, self.noise, self.seed_drift) < 0:
            raise ConfigurationError("taste, popularity, noise and seed_drift are strengths: 0 or more")
        if not 0 <= self.common_error <= 1:
            raise ConfigurationError(f"common_error is a share, from 0 to 1, not {self.common_error}")


@dataclass(frozen=True, eq=False)
class Platform:
    """Users, videos and what happened: `seen` (before the test) and `relevant` (liked in it), disjoint (n, m).

    `users` (n, dim + 1) and `videos` (m, dim + 1) are the true factors, the last of which is the popularity.
    `user_errors`, like `users`: the part of the errors that all models have in common, of unit variance.
    """

    tastes: Tastes
    seed: int
    users: Floats = field(repr=False)
    videos: Floats = field(repr=False)
    user_errors: Floats = field(repr=False)
    seen: Mask = field(repr=False)
    relevant: Mask = field(repr=False)

    @cached_property
    def affinity(self) -> Floats:
        """True log-odds of each user for each video, up to a constant of the user (n, m)."""
        return self.users @ self.videos.T

    @cached_property
    def n_relevant(self) -> NDArray[np.int64]:
        return self.relevant.sum(axis=1)


def simulate_platform(
    n_users: int = 15_600, n_videos: int = 500, seed: int = 0, tastes: Tastes | None = None
) -> Platform:
    """A platform of users who pick videos one after another, each with odds exp(affinity) among those left.

    The first picks are `seen`, the following ones `relevant`: Plackett-Luce sequences, drawn by sorting affinity
    plus Gumbel noise. Nobody has seen more than half of the videos. The metrics need 40 videos or more. Raises
    `ConfigurationError` if the catalogue is too small for the picks.
    """
    tastes = tastes or Tastes()
    if 4 * (tastes.met + tastes.positives) > n_videos:
        raise ConfigurationError(
            f"{n_videos} videos are too few for users who pick a quarter of them on average"
        )
    rng = np.random.default_rng(seed)
    videos = rng.standard_normal((n_videos, tastes.dim + 1), dtype=np.float32)
    videos[:, :-1] *= np.float32(tastes.taste / np.sqrt(tastes.dim))
    videos[:, -1] *= np.float32(tastes.popularity)
    users = rng.standard_normal((n_users, videos.shape[1]), dtype=np.float32)
    users[:, -1] = 1
    user_errors = _user_errors(users.shape, rng)
    n_seen = np.minimum(rng.geometric(1 / tastes.met, n_users), n_videos // 2)
    n_relevant = np.minimum(rng.geometric(1 / tastes.positives, n_users), n_videos // 4)
    longest = int((n_seen + n_relevant).max())
    seen, relevant = (np.zeros((n_users, len(videos)), dtype=np.bool_) for _ in range(2))
    for start in range(0, n_users, BLOCK):
        block = slice(start, start + BLOCK)
        keys = users[block] @ videos.T
        waits = rng.standard_exponential(keys.shape, dtype=np.float32)
        keys -= np.log(np.maximum(waits, np.float32(1e-30)))  # plus Gumbel noise
        picks = _best(keys, longest)
        rank, first, last = np.arange(longest), n_seen[block, None], (n_seen + n_relevant)[block, None]
        np.put_along_axis(seen[block], picks, rank < first, axis=1)
        np.put_along_axis(relevant[block], picks, (rank >= first) & (rank < last), axis=1)
    return Platform(tastes, seed, users, videos, user_errors, seen, relevant)


def _user_errors(shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    errors = rng.standard_normal(shape, dtype=np.float32)
    errors[:, -1] = 0  # a user's factor for popularity is the constant 1, which no model has to learn
    return errors


def _best(scores: Floats, k: int) -> NDArray[np.intp]:
    """The k highest columns of each row, best first, (n, k)."""
    top = np.argpartition(scores, -k, axis=1)[:, -k:]
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1)


def ranker(platform: Platform, noise: float, seed: int) -> Floats:
    """Scores (n, m) of a model fitted with `seed`: the true factors, each off by an error of strength `noise`.

    Two seeds of one noise are an A/A pair: the same expected quality, other results for each user.
    """
    return _scores(platform, noise, seed, MODEL_STREAM)


def _scores(platform: Platform, noise: float, seed: int, stream: int) -> Floats:
    tastes = platform.tastes
    rng = np.random.default_rng([platform.seed, seed, stream])
    common, own = np.sqrt([tastes.common_error, 1 - tastes.common_error], dtype=np.float32)
    own_users = _user_errors(platform.users.shape, rng)
    videos = platform.videos.copy()
    videos[:, -1] += np.float32(tastes.seed_drift) * rng.standard_normal(len(videos), dtype=np.float32)
    users = platform.users + np.float32(noise) * (common * platform.user_errors + own * own_users)
    return users @ videos.T


def per_user_metrics(platform: Platform, scores: Floats) -> PerUser:
    """The metrics of each user for `scores` (n, m), seen videos left out, as the evaluation of real models does."""
    top = np.empty((len(scores), max(CUTOFFS)), dtype=np.intp)
    for start in range(0, len(scores), BLOCK):
        block = slice(start, start + BLOCK)
        candidates = np.where(platform.seen[block], np.float32(-np.inf), scores[block])
        top[block] = _best(candidates, max(CUTOFFS))
    hits = np.take_along_axis(platform.relevant, top, axis=1)
    return ranking_metrics(hits, platform.n_relevant)


@lru_cache(maxsize=8)
def noise_for_gain(platform: Platform, gain: float) -> float:
    """Noise of the model whose expected NDCG@10 is (1 + gain) times the champion's on the platform's users.

    Expected over model seeds: the mean of `CALIBRATION_SEEDS`, none of which `ab_pair` uses, with the same draws at
    every noise tried, so that the quality falls smoothly with it. On the users at hand rather than on fresh ones,
    because on those the same two models may by luck be 10% further apart or closer. Raises `ConfigurationError`
    if no model is that much better, or worse.
    """
    if gain == 0:
        return platform.tastes.noise

    def quality(noise: float) -> float:
        means = [
            per_user_metrics(platform, _scores(platform, noise, seed, CALIBRATION_STREAM))[PRIMARY].mean()
            for seed in range(CALIBRATION_SEEDS)
        ]
        return float(np.mean(means))

    champion = platform.tastes.noise
    low, high = (0.0, champion) if gain > 0 else (champion, 4 * champion)
    best, worst = quality(low), quality(high)
    wanted = (1 + gain) * (worst if gain > 0 else best)
    if not worst <= wanted <= best:
        raise ConfigurationError(
            f"NDCG@10 goes from {worst:.4f} to {best:.4f}, a gain of {gain} needs {wanted:.4f}"
        )
    for _ in range(CALIBRATION_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if quality(middle) > wanted else (low, middle)
    return (low + high) / 2


def ab_pair(platform: Platform, gain: float, seed: int) -> tuple[PerUser, PerUser]:
    """Per-user metrics of a champion and of a challenger whose expected NDCG@10 is (1 + gain) times as high.

    Both are judged on the platform's users, row by row the same; a gain of 0 is an A/A pair.
    """
    champion = ranker(platform, platform.tastes.noise, 2 * seed)
    challenger = ranker(platform, noise_for_gain(platform, gain), 2 * seed + 1)
    return per_user_metrics(platform, champion), per_user_metrics(platform, challenger)

"""Ratings for comparing SVDs: KuaiRand's, and generated ones of the size of MovieLens 1M."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ml.dataset import Catalogue, Interactions, Known

USERS, VIDEOS, RATINGS, HELD_OUT = 6_040, 3_706, 1_000_000, 100_000
TASTES = 8
LAST_TRAINING_DAY = 20220430


@dataclass(frozen=True)
class Ratings:
    """Rows to learn from and rows to predict, both oldest first."""

    train: Interactions
    test: Interactions

    @property
    def known(self) -> Known:
        return Known.of(self.train, Catalogue.of([]))


def structured(seed: int = 0) -> Ratings:
    """1M distinct pairs: biases and 8 hidden tastes explain half of the variance, the other half is noise.

    Rating = 3 + b_u + b_v + p_u.q_v + e, clipped to 0-5, with standard deviations .3, .4, .8 and .95.
    """
    rng = np.random.default_rng(seed)
    users, videos = _pairs(rng)
    of_users = rng.normal(0, 1, (USERS, TASTES))
    of_videos = rng.normal(0, 0.8 / np.sqrt(TASTES), (VIDEOS, TASTES))
    ratings = 3 + rng.normal(0, 0.3, USERS)[users] + rng.normal(0, 0.4, VIDEOS)[videos]
    ratings += np.einsum("ij,ij->i", of_users[users], of_videos[videos]) + rng.normal(0, 0.95, len(users))
    return _split(users, videos, np.clip(ratings, 0, 5))


def random(seed: int = 0) -> Ratings:
    """1M distinct pairs with ratings of 1 to 5 that mean nothing: the best prediction is their mean, RMSE 1.414."""
    rng = np.random.default_rng(seed)
    users, videos = _pairs(rng)
    return _split(users, videos, rng.integers(1, 6, len(users)))


def kuairand(data: Path) -> Ratings:
    """5 * min(play / duration, 1) where that ratio is over .1, learned until 30 April 2022, predicted after.

    `data` holds `KuaiRand-Pure/data`. A repeated (user, video, time) counts once, with its longest play.
    """
    import pandas as pd

    log = pd.read_csv(data / "KuaiRand-Pure" / "data" / "log_standard_4_22_to_5_08_pure.csv")
    log = log.sort_values("play_time_ms", kind="stable")
    log = log.drop_duplicates(["user_id", "video_id", "time_ms"], keep="last")
    log = log[log["duration_ms"] > 0]
    log["ratio"] = log["play_time_ms"] / log["duration_ms"]
    log = log[log["ratio"] > 0.1].sort_values(["time_ms", "user_id", "video_id"])
    rows = _interactions(
        log["user_id"].to_numpy(),
        log["video_id"].to_numpy(),
        5 * np.minimum(log["ratio"].to_numpy(), 1),
        log["time_ms"].to_numpy(),
    )
    training = (log["date"] <= LAST_TRAINING_DAY).to_numpy()
    return Ratings(train=rows.take(training), test=rows.take(~training))


def _pairs(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Distinct (user, video) pairs in random order: a tenth more is drawn, of which few coincide."""
    wanted = RATINGS + HELD_OUT
    cells = np.unique(rng.integers(0, USERS * VIDEOS, int(wanted * 1.1)))
    cells = rng.permutation(cells)[:wanted]
    return cells // VIDEOS, cells % VIDEOS


def _split(users: np.ndarray, videos: np.ndarray, ratings: np.ndarray) -> Ratings:
    rows = _interactions(users, videos, ratings, np.arange(len(users)))
    return Ratings(train=rows.take(np.arange(RATINGS)), test=rows.take(np.arange(RATINGS, len(rows))))


def _interactions(
    users: np.ndarray, videos: np.ndarray, ratings: np.ndarray, times_ms: np.ndarray
) -> Interactions:
    return Interactions(
        user_ids=users.astype(np.str_),
        video_ids=videos.astype(np.str_),
        started_at_ms=times_ms.astype(np.int64),
        ended_at_ms=times_ms.astype(np.int64),
        ratings=ratings.astype(np.float32),
        weights=np.ones(len(ratings), dtype=np.float32),
        positives=np.ones(len(ratings), dtype=np.bool_),
    )

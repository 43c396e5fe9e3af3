"""Numpy features of the two-tower model: video codes, pooled histories, the popularity prior."""

import numpy as np
from numpy.typing import NDArray

from ml.config import TwoTowerConfig
from ml.dataset import Catalogue, Encoded
from ml.fitting import decayed
from ml.ids import MISSING, lookup

# Upper ends of the duration buckets, in seconds: short clips are split finely, long videos coarsely.
DURATION_EDGES_S = (5, 7, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600)


def video_codes(data: Encoded, catalogue: Catalogue) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """Feature codes of each of `data.video_ids`, shape (n_videos, 4), and the number of codes of each feature.

    Columns: the video's own id, creator, category, duration bucket; code 0 is "unknown" in each.
    """
    rows = _catalogue_rows(catalogue, data)
    known = rows != MISSING
    codes = np.zeros((len(data.video_ids), 4), dtype=np.int64)
    codes[:, 0] = np.arange(1, len(data.video_ids) + 1)
    sizes = [len(data.video_ids) + 1]
    for column, values in ((1, catalogue.creator_ids), (2, catalogue.categories)):
        names, of_row = np.unique(values, return_inverse=True)
        labels = np.where(values == "", 0, of_row + 1)
        codes[known, column] = labels[rows[known]]
        sizes.append(len(names) + 1)
    edges_ms = np.asarray(DURATION_EDGES_S) * 1000
    buckets = np.where(catalogue.durations_ms > 0, np.searchsorted(edges_ms, catalogue.durations_ms) + 1, 0)
    codes[known, 3] = buckets[rows[known]]
    sizes.append(len(edges_ms) + 2)
    return codes, tuple(sizes)


def histories(data: Encoded, config: TwoTowerConfig) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Each user's last videos as video-id codes (0 = none) and weights, both (n_users, history_length).

    A weight is the interaction's own times 0.5 ** (age / half life), so old interest fades and no user loses it
    all: the pooled mean uses shares, not sums. Half-watched videos count too, by their small weight: for users
    with few positives they are most of what is known.
    """
    length = config.history_length
    codes = np.zeros((len(data.user_ids), length), dtype=np.int64)
    weights = np.zeros((len(data.user_ids), length), dtype=np.float32)
    rows = np.flatnonzero(data.interactions.weights > 0)
    times = data.interactions.started_at_ms[rows]
    newest_first = np.lexsort((-np.arange(len(rows)), -times, data.users[rows]))
    rows, times = rows[newest_first], times[newest_first]
    users = data.users[rows]
    place = np.arange(len(users)) - np.searchsorted(users, users)
    kept = place < length
    rows, times, users, place = rows[kept], times[kept], users[kept], place[kept]
    fading = decayed(times, int(data.interactions.started_at_ms.max()), config.history_half_life_days)
    codes[users, place] = data.videos[rows] + 1
    weights[users, place] = data.interactions.weights[rows] * fading
    return codes, weights


def log_prior(data: Encoded, half_life_days: float) -> NDArray[np.float32]:
    """log(1 + recency-weighted positives) of each video, less the mean; shape (n_videos,).

    The "1 +" keeps videos nobody has watched yet at a finite distance from those somebody has.
    """
    rows = np.flatnonzero(data.interactions.positives)
    times = data.interactions.started_at_ms[rows]
    plays = decayed(times, int(data.interactions.started_at_ms.max()), half_life_days)
    logs = np.log1p(np.bincount(data.videos[rows], weights=plays, minlength=len(data.video_ids)))
    return (logs - logs.mean()).astype(np.float32)


def _catalogue_rows(catalogue: Catalogue, data: Encoded) -> NDArray[np.int64]:
    """Row in the catalogue of each of `data.video_ids`, or `MISSING`."""
    order = np.argsort(catalogue.video_ids)
    found = lookup(catalogue.video_ids[order], data.video_ids)
    return np.where(found == MISSING, MISSING, order[found] if len(order) else MISSING)

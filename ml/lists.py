"""What lists are like apart from being right: how varied, how new to people, how much of the popular."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import rankdata

from ml.catalogue import Catalogue
from ml.dataset import Interactions
from ml.ids import MISSING, Ids, lookup
from ml.metrics import CUTOFFS, PerUser

# Users at a time: some 10 MB of sparse rows for lists of 20.
_BLOCK = 20_000


@dataclass(frozen=True)
class Traits:
    """What is known of each video that the models rank, (m,) or (m, ...), and of the test users' past, (n,).

    `information`: bits, -log2 of the share of training users who watched it, (watchers + 1) / (users + 1);
    `percentile`: its place by watchers among all videos, 0 the least and 1 the most watched, ties in the middle;
    `attributes`: category, creator and tags as unit rows, those that the catalogue knows at all;
    `usual_percentile`: mean percentile of what the user watched before the cut, NaN for new users.
    """

    information: NDArray[np.float64]
    percentile: NDArray[np.float64]
    attributes: tuple[sparse.csr_matrix, ...]
    usual_percentile: NDArray[np.float64]

    @classmethod
    def of(cls, video_ids: Ids, catalogue: Catalogue, train: Interactions, user_ids: Ids) -> Self:
        """`video_ids` sorted, as the models rank them; `user_ids` those of the test users."""
        names, users = np.unique(train.user_ids, return_inverse=True)
        videos = lookup(video_ids, train.video_ids)
        pairs = np.unique(users[videos != MISSING] * len(video_ids) + videos[videos != MISSING])
        users, videos = np.divmod(pairs, len(video_ids))
        watchers = np.bincount(videos, minlength=len(video_ids))
        percentile = (rankdata(watchers) - 1) / max(len(video_ids) - 1, 1)
        seen = np.bincount(users, minlength=len(names))
        total = np.bincount(users, weights=percentile[videos], minlength=len(names))
        rows = lookup(names, user_ids)
        usual = np.full(len(user_ids), np.nan)
        known = np.flatnonzero(rows != MISSING)
        known = known[seen[rows[known]] > 0]
        usual[known] = total[rows[known]] / seen[rows[known]]
        return cls(
            information=-np.log2((watchers + 1) / (len(names) + 1)),
            percentile=percentile,
            attributes=_attributes(video_ids, catalogue),
            usual_percentile=usual,
        )


def list_metrics(lists: NDArray, traits: Traits, cutoffs: tuple[int, ...] = CUTOFFS) -> PerUser:
    """Of each user's list, (n,) each; `lists` (n, K) holds rows of the videos, negative = no video.

    diversity = 1 - mean similarity of all pairs of the list (Smyth and McClave 2001), the similarity of two videos
    being the mean over category, creator and tags of: 1 if the same, 0 if not or unknown; for tags
    |both| / sqrt(|one| |other|). 0 for a list of one video; left out if the catalogue knows none of the three.
    novelty = mean information of its videos in bits (Zhou et al. 2010). popularity = mean percentile of its videos;
    popularity_lift = popularity - the mean percentile of what the user had watched (NaN for new users): above 0 the
    model shows people more popular videos than they choose. An empty list has 0 of all.
    """
    found: PerUser = {}
    for k in cutoffs:
        top = lists[:, :k]
        shown = top >= 0
        length = np.maximum(shown.sum(axis=1), 1)
        if traits.attributes:
            found[f"diversity_at_{k}"] = _diversity(top, traits.attributes)
        found[f"novelty_at_{k}"] = np.where(shown, traits.information[top.clip(0)], 0).sum(axis=1) / length
        popularity = np.where(shown, traits.percentile[top.clip(0)], 0).sum(axis=1) / length
        found[f"popularity_at_{k}"] = popularity
        found[f"popularity_lift_at_{k}"] = popularity - traits.usual_percentile
    return found


def gini(lists: NDArray, n_videos: int) -> float:
    """How unevenly places in lists are shared out among all videos: 0 = every video alike, 1 = one has them all.

    G = sum_i (2 i - m - 1) e_i / (m sum e) with the m exposures e ascending; videos in no list count with 0.
    """
    shown = lists[lists >= 0]
    exposure = np.sort(np.bincount(shown, minlength=n_videos)).astype(np.float64)
    if not exposure.sum():
        return 0.0
    places = 2 * np.arange(1, n_videos + 1) - n_videos - 1
    return float(places @ exposure / (n_videos * exposure.sum()))


def _diversity(lists: NDArray, attributes: Sequence[sparse.csr_matrix]) -> NDArray[np.float64]:
    """With unit rows x the similarities of all pairs add up to (|sum x|^2 - sum |x|^2) / 2: no pair is looked at."""
    result = np.zeros(len(lists))
    for start in range(0, len(lists), _BLOCK):
        block = lists[start : start + _BLOCK]
        rows, places = np.nonzero(block >= 0)
        ones = np.ones(len(rows))
        shape = (len(block), attributes[0].shape[0])
        members = sparse.csr_matrix((ones, (rows, block[rows, places])), shape=shape)
        length = (block >= 0).sum(axis=1)
        alike = np.zeros(len(block))
        for unit_rows in attributes:
            total = members @ unit_rows
            own = np.asarray(unit_rows.multiply(unit_rows).sum(axis=1)).ravel()
            alike += np.asarray(total.multiply(total).sum(axis=1)).ravel() - members @ own
        pairs = length * (length - 1)
        similarity = np.divide(alike / len(attributes), pairs, out=np.ones(len(block)), where=pairs > 0)
        result[start : start + _BLOCK] = 1 - similarity
    return result


def _attributes(video_ids: Ids, catalogue: Catalogue) -> tuple[sparse.csr_matrix, ...]:
    columns = (
        [(value,) if value else () for value in catalogue.categories.tolist()],
        [(value,) if value else () for value in catalogue.creator_ids.tolist()],
        [tuple(dict.fromkeys(tags)) for tags in catalogue.tags],
    )
    rows = catalogue.rows_of(video_ids).tolist()
    made = (_unit_rows([column[row] if row != MISSING else () for row in rows]) for column in columns)
    return tuple(matrix for matrix in made if matrix.nnz)


def _unit_rows(values: list[tuple[str, ...]]) -> sparse.csr_matrix:
    """A row of length 1 for each video, with the same number at each of its values; zeros where there is none."""
    codes: dict[str, int] = {}
    columns = [codes.setdefault(value, len(codes)) for of_video in values for value in of_video]
    counts = np.asarray([len(of_video) for of_video in values], dtype=np.int64)
    data = np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts)
    starts = np.concatenate([[0], np.cumsum(counts)])
    return sparse.csr_matrix((data, columns, starts), shape=(len(values), max(len(codes), 1)))

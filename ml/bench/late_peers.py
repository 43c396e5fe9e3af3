"""Well-known methods on KuaiRand-late, written as their authors do, for figures from the same run as ours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ml.dataset import Encoded, Known
from ml.factors import FactorModel
from ml.ids import MISSING, Ids, lookup
from ml.recommender import Past, Recommender, Scores

DAY_MS = 86_400_000
RECENT_DAYS = 6
LAMBDA, EXPONENT = 500.0, 0.25


def popular(known: Known) -> Recommender:
    """Long views of the last six days, the same for everybody."""
    return _of_nobody(Encoded.of(known.interactions, known.catalogue), _recent(known, long=True))


def implicit_als(known: Known) -> Recommender:
    """`implicit`'s ALS as it is called: 64 factors, regularisation 1, alpha 5, every watched pair 1."""
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    data, watched = _watched(known)
    with threadpool_limits(1, "blas"):
        als = AlternatingLeastSquares(64, regularization=1.0, alpha=5.0, num_threads=1, random_state=0)
        als.fit(watched, show_progress=False)
    return FactorModel(
        kind="implicit-als",
        user_ids=data.user_ids,
        video_ids=data.video_ids,
        user_factors=als.user_factors.astype(np.float32),
        video_factors=als.item_factors.astype(np.float32),
        user_bias=np.zeros(len(data.user_ids), dtype=np.float32),
        video_bias=np.zeros(len(data.video_ids), dtype=np.float32),
    )


def ease(known: Known, *, times_recency: bool = False) -> Recommender:
    """Steck's EASE with lambda 500, every watched pair 1. `times_recency`: times the share of a video's views that are
    of the last six days, to the power of .25."""
    data, watched = _watched(known)
    gram = (watched.T @ watched).toarray().astype(np.float32)
    gram[np.diag_indices_from(gram)] += LAMBDA
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    if times_recency:
        share = (_recent(known, long=False) + 1) / (np.bincount(data.videos, minlength=len(gram)) + 1)
        weights *= share.astype(np.float32) ** EXPONENT
    return DenseNeighbours("ease", data.user_ids, data.video_ids, watched, weights.astype(np.float32))


PEERS: Mapping[str, Callable[[Known], Recommender]] = {
    "popular, last six days": popular,
    "implicit ALS": implicit_als,
    "EASE, lambda 500": ease,
    "EASE x recent share^.25": lambda known: ease(known, times_recency=True),
}


ONLY_JUDGED = "a peer is asked for the scores of known users, and never saved"


@dataclass(frozen=True)
class DenseNeighbours(Recommender):
    """history (n, m) times dense weights (m, m): only to be judged, never saved."""

    form: ClassVar[str] = "dense-neighbours"

    kind: str
    user_ids: Ids
    video_ids: Ids
    history: sparse.csr_matrix
    weights: NDArray[np.float32]
    info: dict[str, Any] = field(default_factory=dict)

    def scores(self, user_ids: Sequence[str] | Ids) -> Scores:
        rows = lookup(self.user_ids, user_ids)
        scores = np.zeros((len(rows), len(self.video_ids)), dtype=np.float32)
        known = rows != MISSING
        scores[known] = self.history[rows[known]] @ self.weights
        return scores

    def scores_for(self, pasts: Sequence[Past]) -> Scores:
        raise NotImplementedError(ONLY_JUDGED)

    def similarities(self, row: int) -> Scores:
        raise NotImplementedError(ONLY_JUDGED)

    def write(self, folder: Path) -> dict[str, Any]:
        raise NotImplementedError(ONLY_JUDGED)

    @classmethod
    def read(cls, folder: Path, about: Mapping[str, Any]) -> Self:
        raise NotImplementedError(ONLY_JUDGED)


def _watched(known: Known) -> tuple[Encoded, sparse.csr_matrix]:
    data = Encoded.of(known.interactions, known.catalogue)
    pairs = np.unique(data.users * len(data.video_ids) + data.videos)
    ones = np.ones(len(pairs), dtype=np.float32)
    shape = (len(data.user_ids), len(data.video_ids))
    where = (pairs // len(data.video_ids), pairs % len(data.video_ids))
    return data, sparse.csr_matrix((ones, where), shape=shape)


def _recent(known: Known, *, long: bool) -> NDArray[np.float64]:
    """Views of each video in the last six days, (m,)."""
    data = Encoded.of(known.interactions, known.catalogue)
    rows = known.interactions
    counted = rows.started_at_ms >= known.as_of_ms - RECENT_DAYS * DAY_MS
    if long:
        counted &= rows.positives
    views: NDArray[np.float64] = np.bincount(data.videos[counted], minlength=len(data.video_ids)).astype(
        float
    )
    return views


def _of_nobody(data: Encoded, scores: NDArray[np.float64]) -> FactorModel:
    m = len(data.video_ids)
    return FactorModel(
        kind="popularity",
        user_ids=np.empty(0, dtype="<U1"),
        video_ids=data.video_ids,
        user_factors=np.zeros((0, 1), dtype=np.float32),
        video_factors=np.zeros((m, 1), dtype=np.float32),
        user_bias=np.zeros(0, dtype=np.float32),
        video_bias=scores.astype(np.float32),
    )

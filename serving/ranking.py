"""Ranked lists from one bundle: the feed with its fall-backs, one model's list, similar videos."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.factors import FactorModel
from ml.ids import MISSING, lookup
from ml.recommender import Recommender
from ml.topk import top_k
from serving.bundle import TRENDING, Bundle
from serving.errors import UnknownVideoError

log = logging.getLogger(__name__)

Scores = NDArray[np.float32]

PERSONAL_KINDS = ("two-tower", "svd")

# R6: score = 10 * same category + 5 * shared tags + (10 - abs(duration difference in s) / 60).
SAME_CATEGORY = 10.0
SHARED_TAG = 5.0
SAME_DURATION = 10.0
SECONDS_PER_POINT = 60.0
# The blend: cosine of the two videos' embeddings, weighed like a shared category. A video the model learned nothing
# about has cosine 0, so its score is R6's alone.
EMBEDDING_WEIGHT = 10.0


@dataclass(frozen=True)
class Ranking:
    """A page of a ranked list: catalogue rows with their scores, best first, from place `offset` on.

    `kind` is the model that ranked; `source` is `personal`, `trending`, `mixed` (a personal list filled up with
    trending) or `similar`. `degraded` says why a better model was not used; empty when nothing was wrong.
    """

    rows: list[int]
    scores: list[float]
    kind: str
    source: str
    offset: int = 0
    degraded: tuple[str, ...] = ()


class Ranker:
    """Ranks the videos of one bundle. Holds what can be computed once; every call is read-only."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        catalogue = bundle.catalogue
        self._columns = {kind: lookup(catalogue.video_ids, m.video_ids) for kind, m in bundle.models.items()}
        self._trending = self._spread(TRENDING, bundle.models[TRENDING].scores([""])[0])
        # A video the popularity model never saw is still a candidate, after all others.
        unseen = ~np.isfinite(self._trending)
        self._trending[unseen] = np.min(self._trending[~unseen], initial=0.0) - 1.0
        self.embedding_kind = next(
            (
                k
                for k in (bundle.record.champion, *PERSONAL_KINDS)
                if k != TRENDING and self._has_embeddings(k)
            ),
            None,
        )
        self._embeddings = self._embedding_rows()

    # --- lists ----------------------------------------------------------------------------------------------

    def feed(self, user_id: str, limit: int, offset: int = 0, recent: Sequence[str] = ()) -> Ranking:
        """The champion's list for this user without what they met already; trending for a user no model knows.

        `recent`: ids of videos met since the bundle was made. If the champion cannot rank, another personal model
        does, then popularity, and the reasons are in `degraded`.
        """
        champion = self.bundle.record.champion
        if champion == TRENDING:
            return self._page((), user_id, limit, offset, recent)
        return self._page(
            (champion, *(k for k in PERSONAL_KINDS if k != champion)), user_id, limit, offset, recent
        )

    def by_kind(
        self, kind: str, user_id: str, limit: int, offset: int = 0, recent: Sequence[str] = ()
    ) -> Ranking:
        """The list of one kind of model, with the same filter and fall-backs as the feed."""
        return self._page((kind, *(k for k in PERSONAL_KINDS if k != kind)), user_id, limit, offset, recent)

    def similar(self, video_id: str, limit: int, offset: int = 0) -> Ranking:
        """Videos like this one, by R6's score blended with embeddings; raises `UnknownVideoError`."""
        row = self.bundle.catalogue.row(video_id)
        if row is None:
            raise UnknownVideoError(video_id)
        scores = self.metadata_scores(row) + np.float32(EMBEDDING_WEIGHT) * self.cosines(row)
        scores[row] = -np.inf
        rows, values = _best(scores, limit, offset)
        return Ranking(rows, values, self.embedding_kind or TRENDING, "similar", offset)

    # --- scores ---------------------------------------------------------------------------------------------

    def metadata_scores(self, row: int) -> Scores:
        """R6's similarity of every video to this one, shape (m,); two unknown categories are not the same."""
        catalogue = self.bundle.catalogue
        category = catalogue.categories[row]
        same = (catalogue.categories == category) & (category >= 0)
        apart = np.abs(catalogue.durations_s - catalogue.durations_s[row])
        scores = SAME_CATEGORY * same + SHARED_TAG * catalogue.shared_tags(row)
        return (scores + (SAME_DURATION - apart / SECONDS_PER_POINT)).astype(np.float32)

    def cosines(self, row: int) -> Scores:
        """Cosine of every video's embedding with this one's, shape (m,); 0 where either has none."""
        if self._embeddings is None:
            return np.zeros(len(self.bundle.catalogue), np.float32)
        return self._embeddings @ self._embeddings[row]

    def _page(
        self, kinds: Sequence[str], user_id: str, limit: int, offset: int, recent: Sequence[str]
    ) -> Ranking:
        met = self._met(user_id, recent)
        degraded: list[str] = []
        for kind in kinds:
            model = self.bundle.models.get(kind)
            if model is None:
                if kind == kinds[0]:
                    degraded.append(f"no {kind} model in the bundle")
                continue
            if not model.knows(user_id):
                continue
            scores = self._scores(kind, model, user_id)
            if scores is None:
                degraded.append(f"the {kind} model failed")
                continue
            return self._filled(kind, scores, met, limit, offset, tuple(degraded))
        trending = self._trending.copy()
        trending[met] = -np.inf
        rows, values = _best(trending, limit, offset)
        return Ranking(rows, values, TRENDING, "trending", offset, tuple(degraded))

    def _scores(self, kind: str, model: Recommender, user_id: str) -> Scores | None:
        try:
            scores = model.scores([user_id])[0]
        except Exception:  # a feed must not fail with one model: said in the answer, the log and the metrics
            log.exception("the %s model of bundle %s cannot rank", kind, self.bundle.record.bundle_id)
            return None
        if not np.isfinite(scores).all():
            log.error(
                "the %s model of bundle %s gives scores that are not finite",
                kind,
                self.bundle.record.bundle_id,
            )
            return None
        return self._spread(kind, scores)

    def _filled(
        self,
        kind: str,
        scores: Scores,
        met: NDArray[np.int64],
        limit: int,
        offset: int,
        degraded: tuple[str, ...],
    ) -> Ranking:
        """The model's own candidates, then the videos it does not know, by popularity."""
        ranked = np.isfinite(scores)
        scores[met] = -np.inf
        rows, values = _best(scores, limit, offset)
        if len(rows) == limit:
            return Ranking(rows, values, kind, "personal", offset, degraded)
        rest = np.where(ranked, -np.inf, self._trending).astype(np.float32)
        rest[met] = -np.inf
        own = int(np.isfinite(scores).sum())
        more_rows, more_values = _best(rest, limit - len(rows), max(0, offset - own))
        source = "mixed" if more_rows and rows else "trending" if more_rows else "personal"
        return Ranking(rows + more_rows, values + more_values, kind, source, offset, degraded)

    def _met(self, user_id: str, recent: Iterable[str]) -> NDArray[np.int64]:
        known = self.bundle.watched.of(user_id).astype(np.int64)
        return np.concatenate([known, self.bundle.catalogue.rows(recent)]) if recent else known

    def _spread(self, kind: str, scores: Scores) -> Scores:
        """Scores in a model's order to the catalogue's; -inf for videos the model does not know."""
        columns = self._columns[kind]
        spread = np.full(len(self.bundle.catalogue) + 1, -np.inf, np.float32)
        spread[columns] = scores  # videos outside the catalogue land in the last place (MISSING = -1)
        return spread[:MISSING]

    def _has_embeddings(self, kind: str) -> bool:
        """Only a model of factors places videos in one space; a hybrid's or a neighbours' model does not."""
        return isinstance(self.bundle.models.get(kind), FactorModel)

    def _embedding_rows(self) -> Scores | None:
        """Unit-length video factors in the catalogue's order, (m, d); zero rows for videos without any."""
        if self.embedding_kind is None:
            return None
        model = self.bundle.models[self.embedding_kind]
        assert isinstance(model, FactorModel)
        factors = model.video_factors
        lengths = np.linalg.norm(factors, axis=1, keepdims=True)
        rows = np.zeros((len(self.bundle.catalogue) + 1, factors.shape[1]), np.float32)
        rows[self._columns[self.embedding_kind]] = np.divide(
            factors, lengths, out=np.zeros_like(factors), where=lengths > 0
        )
        return rows[:MISSING]


def _best(scores: Scores, limit: int, offset: int) -> tuple[list[int], list[float]]:
    """Places `offset` to `offset + limit` of the list; equal scores by row, so that pages never overlap."""
    columns, values = top_k(scores[None, :], offset + limit)
    kept = columns[0][offset:] >= 0
    return columns[0][offset:][kept].tolist(), values[0][offset:][kept].tolist()

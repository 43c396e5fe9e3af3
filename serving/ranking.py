"""Plain lists of one bundle: similar videos, what comes after one, and the order behind a feed's head."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ml.factors import FactorModel
from ml.ids import MISSING, lookup
from ml.next_video import blended
from ml.recommender import Past, Recommender
from ml.topk import top_k
from serving.bundle import TRENDING, Bundle
from serving.errors import UnknownVideoError
from serving.pipeline.page import Page, certain

log = logging.getLogger(__name__)

Scores = NDArray[np.float32]
Rows = NDArray[np.int64]

PERSONAL_KINDS = ("two-tower", "svd")
EVERYTHING_WAS_MET = "everything was met: videos come again"

# R6: score = 10 * same category + 5 * shared tags + (10 - abs(duration difference in s) / 60).
SAME_CATEGORY = 10.0
SHARED_TAG = 5.0
SAME_DURATION = 10.0
SECONDS_PER_POINT = 60.0
# The blend: cosine of the two videos' embeddings, weighed like a shared category. A video the model learned nothing
# about has cosine 0, so its score is R6's alone.
EMBEDDING_WEIGHT = 10.0


class Ranker:
    """Ranks the videos of one bundle. Holds what can be computed once; every call is read-only."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        catalogue = bundle.catalogue
        self._columns = {kind: lookup(catalogue.video_ids, m.video_ids) for kind, m in bundle.models.items()}
        self.trending = self._spread(TRENDING, bundle.models[TRENDING].scores([""])[0])
        """How much each video is watched of late, (m,)."""
        # A video the popularity model never saw is still a candidate, after all others.
        unseen = ~np.isfinite(self.trending)
        self.trending[unseen] = np.min(self.trending[~unseen], initial=0.0) - 1.0
        self.blocked = np.empty(0, np.int64)
        """Catalogue rows that nobody may be shown; replaced whole when they change."""
        self.embedding_kind = next(
            (
                k
                for k in (bundle.record.champion, *PERSONAL_KINDS)
                if k != TRENDING and self._has_embeddings(k)
            ),
            None,
        )
        self.collaborative_kinds = tuple(
            k
            for k in dict.fromkeys((bundle.record.champion, *PERSONAL_KINDS))
            if k not in (TRENDING, "content")
        )
        self._embeddings = self._embedding_rows()

    # --- lists ----------------------------------------------------------------------------------------------

    def similar(self, video_id: str, limit: int, offset: int = 0, *, explain: bool = False) -> Page:
        """Videos like this one, by R6's score blended with embeddings; raises `UnknownVideoError`."""
        row = self.bundle.catalogue.row(video_id)
        if row is None:
            raise UnknownVideoError(video_id)
        said = {
            "metadata": self.metadata_scores(row),
            "embedding": np.float32(EMBEDDING_WEIGHT) * self.cosines(row),
        }
        scores = said["metadata"] + said["embedding"]
        scores[row] = -np.inf
        scores[self.blocked] = -np.inf
        rows, values = _best(scores, limit, offset)
        page = certain(rows, values, self.embedding_kind or TRENDING, "similar", offset)
        if not explain:
            return page
        return replace(page, parts=[{n: round(float(v[i]), 6) for n, v in said.items()} for i in rows])

    def next_after(
        self,
        video_id: str,
        user_id: str,
        recent: Sequence[str],
        met: Rows,
        limit: int,
        blocked: Sequence[int] = (),
    ) -> Page:
        """R5's next video: 0.6 * norm(collaborative) + 0.4 * norm(content), each by how alike a video is to this one;
        of one that the collaborative model does not know, by what it has for the user. Videos that were met come again
        when nothing else is left, the rows `blocked` never. Raises `UnknownVideoError`."""
        row = self.bundle.catalogue.row(video_id)
        if row is None:
            raise UnknownVideoError(video_id)
        degraded: list[str] = []
        kind, together = self._first_after(self.collaborative_kinds, row, user_id, recent, degraded)
        _, content = self._first_after(("content",), row, user_id, recent, degraded)
        if content is None:  # no model of content answers: what is said of a video stands for it
            content = self.metadata_scores(row)
        candidates = np.ones(len(self.bundle.catalogue), np.bool_)
        candidates[met] = False
        candidates[row] = False
        if not candidates.any():  # better again than nothing
            degraded.append(EVERYTHING_WAS_MET)
            candidates[:] = True
            candidates[self.blocked] = False
            candidates[list(blocked)] = False
            if candidates.sum() > 1:
                candidates[row] = False
        known = np.full(len(candidates), -np.inf, np.float32) if together is None else together
        rows, values = _best(blended(known, content, candidates), limit, 0)
        return replace(certain(rows, values, kind or TRENDING, "next", 0), degraded=tuple(degraded))

    def rest(self, kind: str, user_id: str, out: Rows, limit: int, offset: int) -> Page:
        """Places `offset` on of the model's plain order without the rows `out`; trending where it cannot say."""
        model = self.bundle.models[kind]
        if kind != TRENDING and model.knows(user_id):
            try:
                return self._filled(kind, self._scores(kind, model, user_id), out, limit, offset)
            except Exception:  # a feed must not fail with one model
                log.exception("the %s model of bundle %s cannot rank", kind, self.bundle.record.bundle_id)
        trending = self.trending.copy()
        trending[out] = -np.inf
        rows, values = _best(trending, limit, offset)
        return certain(rows, values, TRENDING, "trending", offset)

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

    def _scores(self, kind: str, model: Recommender, user_id: str) -> Scores:
        scores = model.scores([user_id])[0]
        if not np.isfinite(scores).all():
            raise ValueError(f"the {kind} model gives scores that are not finite")
        return self._spread(kind, scores)

    def _filled(self, kind: str, scores: Scores, out: Rows, limit: int, offset: int) -> Page:
        """The model's own candidates, then the videos it does not know, by popularity."""
        ranked = np.isfinite(scores)
        scores[out] = -np.inf
        rows, values = _best(scores, limit, offset)
        if len(rows) == limit:
            return certain(rows, values, kind, "personal", offset)
        rest = np.where(ranked, -np.inf, self.trending).astype(np.float32)
        rest[out] = -np.inf
        own = int(np.isfinite(scores).sum())
        more_rows, more_values = _best(rest, limit - len(rows), max(0, offset - own))
        source = "mixed" if more_rows and rows else "trending" if more_rows else "personal"
        return certain(rows + more_rows, values + more_values, kind, source, offset)

    def _first_after(
        self, kinds: Sequence[str], row: int, user_id: str, recent: Sequence[str], degraded: list[str]
    ) -> tuple[str | None, Scores | None]:
        """The first of these kinds that is in the bundle and does not fail, and what it says; None and None if none
        is."""
        for kind in kinds:
            if kind not in self.bundle.models:
                continue
            try:
                return kind, self._after(kind, row, user_id, recent)
            except Exception:  # an answer must not fail with one model
                log.exception("the %s model of bundle %s cannot rank", kind, self.bundle.record.bundle_id)
                degraded.append(f"the {kind} model failed")
        return None, None

    def _after(self, kind: str, row: int, user_id: str, recent: Sequence[str]) -> Scores:
        """What this model says comes after the video, (m,), -inf where it knows nothing."""
        model, columns = self.bundle.models[kind], self._columns[kind]
        column = np.flatnonzero(columns == row)
        if len(column):
            alike = model.similarities(int(column[0]))
            if np.isfinite(alike).any():
                return self._spread(kind, alike)
        said = model.scores([user_id]) if model.knows(user_id) else model.scores_for([Past(recent[::-1])])
        return self._spread(kind, said[0])

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

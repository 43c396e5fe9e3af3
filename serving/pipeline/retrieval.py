"""Candidates: a few hundred videos of the catalogue for one request, each with the score of the model that found it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.ids import MISSING, find
from ml.next_video import LONG_SHARE, SHORT_SHARE
from ml.topk import NO_CANDIDATE, top_k
from serving.pipeline.space import Rows, Space, Vector

log = logging.getLogger(__name__)

CANDIDATES = 300
"""How many are retrieved: enough for the longest page after filters, few enough for the later steps to be cheap."""
_SEARCH_AT_MOST = 4_000

PERSONAL, SESSION, TRENDING = "personal", "session", "trending"


@dataclass(frozen=True)
class Query:
    """What one request asks of one model. `met`: catalogue rows that must not come back. `known`: the model knows the
    user by name. `long` and `short` (d,) are the interests, for models with factors."""

    space: Space
    user_id: str
    met: Rows
    known: bool = True
    long: Vector | None = None
    short: Vector | None = None

    @property
    def vector(self) -> Vector:
        """R5's session vector, as long as the user's own: 0.7 * long + 0.3 * short; the one that is known alone."""
        long, short = self.long, self.short
        if short is None:
            assert long is not None
            return long
        if long is None:
            return short
        length = float(np.sqrt(long @ long))
        size = float(np.sqrt(short @ short))
        return (LONG_SHARE * long + (SHORT_SHARE * length / size) * short) if size else long


@dataclass(frozen=True)
class Candidates:
    """`rows` (c,) of the catalogue, best first for now, none of them met; `scores` (c,) by the model `kind` for the
    user's long-term interest. `source` says for whom they are: `personal`, `session` (somebody the model knows from
    this session alone), `trending`. `degraded`: why a better model did not answer."""

    kind: str
    rows: Rows
    scores: Vector
    source: str
    degraded: tuple[str, ...] = ()


class ScoringFailed(Exception):
    """A model could not score, or not with numbers."""


def query_of(space: Space, user_id: str, met: Rows, recent: Sequence[int]) -> Query | None:
    """None if this model knows nothing of this user, neither by name nor by what they met in this session."""
    known = find(space.model.user_ids, user_id) != MISSING
    if space.factors is None:
        return Query(space, user_id, met) if known else None
    long, short = space.long(user_id, recent), space.short(recent)
    if long is None and short is None:
        return None
    return Query(space, user_id, met, known, long, short)


def search(query: Query, k: int = CANDIDATES) -> Candidates:
    """The k best by one model. Raises `ScoringFailed`."""
    space = query.space
    found = _by_index(query, k) if space.index is not None and space.factors else None
    if found is None:
        scores = space.factors.video_factors @ query.vector if space.factors else _scores_of(query)
        found = _best(query, scores, k)
    return found


def search_together(queries: Sequence[Query], k: int = CANDIDATES) -> list[Candidates]:
    """The same for several requests to one model with factors, in one product of matrices."""
    model = queries[0].space.factors
    assert model is not None
    scores = np.stack([query.vector for query in queries]) @ model.video_factors.T
    return [_best(query, row, k) for query, row in zip(queries, scores, strict=True)]


def _scores_of(query: Query) -> Vector:
    return query.space.model.scores([query.user_id])[0]


def _best(query: Query, scores: Vector, k: int) -> Candidates:
    """The k best of a model's scores, (m,), which are written into."""
    space = query.space
    if space.factors is not None:
        scores += space.factors.video_bias
    if not np.isfinite(scores).all():
        raise ScoringFailed(f"the {space.kind} model gives scores that are not finite")
    scores[space.columns_of(query.met)] = -np.inf
    scores[space.gone] = -np.inf
    columns, values = top_k(scores[None, :], k)
    kept = columns[0] != NO_CANDIDATE
    return _candidates(query, columns[0][kept], values[0][kept])


def _by_index(query: Query, k: int) -> Candidates | None:
    """None where the lists that were searched hold too few that were not met: then all are scored."""
    space = query.space
    assert space.index is not None
    met = np.unique(space.columns_of(query.met))
    here = len(space.rows) - len(space.gone)
    wanted = min((k + len(met)) * len(space.rows) // max(1, here), _SEARCH_AT_MOST)
    columns, values = space.index.search(query.vector, wanted)
    kept = np.isin(columns, met, invert=True)
    if len(space.gone):
        kept &= space.rows[columns] != MISSING
    columns, values = columns[kept], values[kept]
    if len(columns) < min(k, here - len(met)):
        return None
    return _candidates(query, columns[:k], values[:k])


def _candidates(query: Query, columns: NDArray[np.int64], values: Vector) -> Candidates:
    space = query.space
    rows = columns if space.same else space.rows[columns]
    if query.long is not None and query.short is not None:
        # Found by what is wanted now; scored by the long-term interest alone, since the session's share is added once.
        values = space.scores(rows, query.long)
    return Candidates(space.kind, rows, values, PERSONAL if query.known else SESSION)

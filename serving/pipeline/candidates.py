"""The candidates of one list from all that propose: a model, the SVD, trending, content for the new."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from serving.pipeline import retrieval
from serving.pipeline.retrieval import CANDIDATES, Candidates, Query
from serving.pipeline.space import Rows, Vector

log = logging.getLogger(__name__)

# How many each other source may add.
FROM_TRENDING = 100
FROM_OTHERS = 100
TRENDING = "trending"


@dataclass(frozen=True)
class Asked:
    """What is to be retrieved: `queries` are tried in their order until one answers; `others` (source -> query) add
    theirs. `trending` says that what is watched most of late takes part, whatever else is found."""

    queries: Sequence[Query]
    met: Rows
    others: Mapping[str, Query] = field(default_factory=dict)
    trending: bool = False
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trending:
    """`order` (m,): all catalogue rows, what is watched most of late first; `scores` (m,): by row."""

    order: Rows
    scores: Vector

    def best(self, met: Rows, k: int) -> Rows:
        """The k first rows that were not met."""
        enough = self.order[: k + len(met)]
        return enough[np.isin(enough, met, invert=True)][:k] if len(met) else enough[:k]


@dataclass(frozen=True)
class Gathered:
    """`rows` (c,), each once, with the model's `scores`; `origins[i]` (into `sources`) says who proposed it first.
    `kind` is `popularity` where no model knew the user."""

    kind: str
    rows: Rows
    scores: Vector
    origins: NDArray[np.int8]
    sources: tuple[str, ...]
    source: str
    degraded: tuple[str, ...]


def gather(asked: Asked, trending: Trending) -> Gathered:
    """Everything that is slow about a list; touches nothing but what it is given, so any thread may run it."""
    first, degraded = _first_answer(asked)
    return merged(asked, first, degraded, trending)


def merged(asked: Asked, first: Candidates | None, degraded: tuple[str, ...], trending: Trending) -> Gathered:
    """The first answer with what the others add; trending fills up what is short, and stands in where none answered."""
    if first is None:
        rows = trending.best(asked.met, CANDIDATES)
        zeros = np.zeros(len(rows), np.int8)
        return Gathered("popularity", rows, trending.scores[rows], zeros, (TRENDING,), TRENDING, degraded)
    groups: list[tuple[str, Rows]] = []
    for source, query in asked.others.items():
        try:
            groups.append((source, retrieval.search(query, FROM_OTHERS).rows))
        except Exception:  # one that only adds may not spoil the list
            log.exception("%s proposes nothing", source)
            degraded = (*degraded, f"{source} failed")
    short = len(first.rows) < CANDIDATES
    if asked.trending or short:
        groups.append((TRENDING, trending.best(asked.met, CANDIDATES if short else FROM_TRENDING)))
    if not groups:
        origins = np.zeros(len(first.rows), np.int8)
        return Gathered(first.kind, first.rows, first.scores, origins, (first.kind,), first.source, degraded)
    return _joined(first, groups, degraded)


def _first_answer(asked: Asked) -> tuple[Candidates | None, tuple[str, ...]]:
    degraded = asked.degraded
    for query in asked.queries:
        try:
            return retrieval.search(query), degraded
        except Exception:  # a feed must not fail with one model: said in the answer, the log and the metrics
            log.exception("the %s model cannot rank", query.space.kind)
            degraded = (*degraded, f"the {query.space.kind} model failed")
    return None, degraded


def _joined(first: Candidates, groups: Sequence[tuple[str, Rows]], degraded: tuple[str, ...]) -> Gathered:
    rows, origins = [first.rows], [np.zeros(len(first.rows), np.int8)]
    for number, (_, found) in enumerate(groups, start=1):
        fresh = found[np.isin(found, np.concatenate(rows), invert=True)]
        rows.append(fresh)
        origins.append(np.full(len(fresh), number, np.int8))
    together = np.concatenate(rows)
    # What others propose counts for what they say of it: the model did not choose it.
    lowest = first.scores.min() if len(first.scores) else np.float32(0)
    scores = np.full(len(together), lowest, np.float32)
    scores[: len(first.scores)] = first.scores
    sources = (first.kind, *(name for name, _ in groups))
    return Gathered(first.kind, together, scores, np.concatenate(origins), sources, first.source, degraded)

"""The feed of one bundle: every step in its order, from a user to a page.

plan (what to ask of which model) -> gather (candidates without what was met; slow, so in the scorer's thread) -> blend
-> session -> diversity -> exploration -> page. A page is the head of a list of about 300; what lies beyond is the
model's plain order.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b

import numpy as np

from serving.bundle import TRENDING, Bundle
from serving.pipeline.ann import VectorIndex
from serving.pipeline.blend import blend, with_session
from serving.pipeline.candidates import Gathered, Trending, gather
from serving.pipeline.config import PipelineConfig
from serving.pipeline.diversity import diversified
from serving.pipeline.exploration import explore
from serving.pipeline.newcomers import Newcomers
from serving.pipeline.page import Page
from serving.pipeline.planning import Plan, Planner
from serving.pipeline.retrieval import CANDIDATES, SESSION
from serving.pipeline.session import EMPTY, Session, intent_boost, repeat_penalty
from serving.pipeline.space import Rows, Space, Vector
from serving.ranking import Ranker

# Of somebody known from this session alone: what everybody watches counts this much beside it.
STRANGERS_TRENDING = 0.5

Observe = Callable[[str, float], None]


class FeedPipeline:
    """Makes lists from one bundle. Holds what can be computed once; every call is read-only."""

    def __init__(self, bundle: Bundle, ranker: Ranker) -> None:
        self.bundle = bundle
        self.ranker = ranker
        catalogue = bundle.catalogue
        indexes: Mapping[str, VectorIndex] = bundle.indexes
        self.spaces = {
            kind: Space.of(kind, model, catalogue, indexes.get(kind))
            for kind, model in bundle.models.items()
            if kind != TRENDING
        }
        order = np.argsort(-ranker.trending, kind="stable")
        self.trending = Trending(order, ranker.trending)
        self.newcomers = Newcomers.of(bundle, self.spaces.get("content"))
        self.planner = Planner(bundle, self.spaces, lambda: ranker.blocked)
        self.blocked_tag = ""
        """Names what is blocked: lists made before and after a change are not the same."""

    @property
    def blocked(self) -> Rows:
        """Catalogue rows that nobody may be shown."""
        return self.ranker.blocked

    def block(self, video_ids: Collection[str]) -> None:
        """From now on nobody is shown these; the only thing of a pipeline that can change."""
        rows = self.bundle.catalogue.rows(sorted(video_ids))
        self.ranker.blocked = rows
        # After the rows: what is made in between is stricter than its name says.
        self.blocked_tag = blake2b(rows.tobytes(), digest_size=8).hexdigest() if len(rows) else ""

    # --- steps ----------------------------------------------------------------------------------------------

    def plan(
        self,
        user_id: str,
        session: Session = EMPTY,
        config: PipelineConfig | None = None,
        *,
        again: bool = False,
    ) -> Plan:
        """What to ask for this user now (`Planner.plan`)."""
        return self.planner.plan(user_id, session, config or PipelineConfig(), again=again)

    def excluded(self, user_id: str, session: Session) -> Rows:
        """Catalogue rows that must not be listed (`Planner.excluded`)."""
        return self.planner.excluded(user_id, session)

    def gather(self, plan: Plan) -> Gathered:
        """The candidates of a plan: what is slow about a list, for the scorer's thread."""
        return gather(plan.asked, self.trending)

    def page(
        self,
        plan: Plan,
        gathered: Gathered,
        limit: int,
        offset: int,
        request_id: str,
        *,
        explain: bool = False,
        observe: Observe | None = None,
    ) -> Page:
        """The places `offset` to `offset + limit` of the list; fewer at its end."""
        clock = _Clock(observe)
        config, catalogue, rows = plan.config, self.bundle.catalogue, gathered.rows
        categories, creators = catalogue.categories[rows], catalogue.creators[rows]
        parts = blend(gathered.scores, self._weighed(plan, gathered))
        clock.passed("blend")
        if plan.short is not None and config.session_share and len(rows):
            space, vector = plan.short
            parts = with_session(parts, space.cosines(rows, vector), config.session_share)
        boost = intent_boost(plan.session, categories, config.intent_boost)
        if boost is not None:
            parts["intent"] = boost
        penalty = repeat_penalty(plan.session, creators, config.repeat_penalty)
        if penalty is not None:
            parts["repeat"] = penalty
        scores = _sum(parts, len(rows))
        clock.passed("session")
        order = diversified(scores, categories, creators, offset + limit, config.diversity)[offset:]
        clock.passed("diversity")
        page = self._placed(plan, gathered, scores, order, limit, offset, request_id)
        if explain:
            page = replace(page, parts=_parts_of(page, rows, parts))
        clock.passed("exploration")
        return page

    def beyond(self, plan: Plan, gathered: Gathered, limit: int, offset: int) -> Page:
        """Places behind the head: the model's plain order without the head's videos, nor those that exploration may
        have put there. Slow: for the scorer's thread."""
        out = np.concatenate([plan.asked.met, gathered.rows, self._pool(plan, gathered)])
        return self.ranker.rest(gathered.kind, plan.user_id, out, limit, offset - len(gathered.rows))

    # --- one after the other, for tests and for trying a bundle ------------------------------------------------

    def feed(
        self,
        user_id: str,
        limit: int,
        offset: int = 0,
        session: Session = EMPTY,
        config: PipelineConfig | None = None,
        request_id: str = "",
        *,
        explain: bool = False,
    ) -> Page:
        """All steps in this thread."""
        plan = self.plan(user_id, session, config)
        gathered = self.gather(plan)
        if not len(gathered.rows):
            plan = self.plan(user_id, session, config, again=True)
            gathered = self.gather(plan)
        page = self.page(plan, gathered, limit, offset, request_id, explain=explain)
        if offset + limit > len(gathered.rows):
            page = joined(page, self.beyond(plan, gathered, limit - len(page.rows), offset + len(page.rows)))
        return page

    # --- inside -----------------------------------------------------------------------------------------------

    def _weighed(self, plan: Plan, gathered: Gathered) -> dict[str, tuple[float, Vector]]:
        config, rows, found = plan.config, gathered.rows, {}
        if not len(rows):
            return {}
        for kind, weight in (("svd", config.svd_weight), ("content", config.content_weight)):
            query = plan.long_of.get(kind)
            if query is not None and query.long is not None and kind != gathered.kind:
                found[kind] = (weight, query.space.scores(rows, query.long))
        trending = STRANGERS_TRENDING if gathered.source == SESSION else config.trending_weight
        if trending and gathered.kind != TRENDING:
            found["trending"] = (trending, self.trending.scores[rows])
        return found

    def _placed(
        self,
        plan: Plan,
        gathered: Gathered,
        scores: Vector,
        order: Rows,
        limit: int,
        offset: int,
        request_id: str,
    ) -> Page:
        config = plan.config
        rows = gathered.rows[order].tolist()
        values = scores[order].tolist()
        origins = [gathered.sources[i] for i in gathered.origins[order].tolist()]
        propensities = [1.0] * len(rows)
        source = _source(gathered, origins)
        pool = self._pool(plan, gathered)
        if len(pool):
            placed = explore(
                pool, offset, len(rows), share=config.exploration, every=config.explore_every,
                places_in_all=CANDIDATES, request_id=request_id,
            )  # fmt: skip
            for place, found in enumerate(placed):
                propensities[place] = found.propensity
                if found.row is not None:
                    rows[place], values[place], origins[place] = found.row, 0.0, "new"
        return Page(
            rows, values, gathered.kind, source, offset, gathered.degraded,
            origins, propensities,
        )  # fmt: skip

    def _pool(self, plan: Plan, gathered: Gathered) -> Rows:
        """What exploration may draw."""
        if not plan.config.exploration or not self.newcomers:
            return np.empty(0, np.int64)
        return self.newcomers.pool(plan.user_id, plan.asked.met, gathered.rows)


def joined(page: Page, rest: Page) -> Page:
    """A page that goes on behind the head of the list."""
    n = len(rest.rows)
    return replace(
        page,
        rows=[*page.rows, *rest.rows],
        scores=[*page.scores, *rest.scores],
        origins=[*page.origins, *[rest.source] * n],
        propensities=[*page.propensities, *[1.0] * n],
        parts=None if page.parts is None else [*page.parts, *[{}] * n],
        source=page.source if page.rows or not n else rest.source,
    )


def _source(gathered: Gathered, origins: Sequence[str]) -> str:
    if gathered.source != "personal":
        return gathered.source
    from_trending = sum(origin == "trending" for origin in origins)
    return "personal" if not from_trending else "mixed" if from_trending < len(origins) else "trending"


def _sum(parts: Mapping[str, Vector], n: int) -> Vector:
    total = np.zeros(n, np.float32)
    for values in parts.values():
        total += values
    return total


def _parts_of(page: Page, rows: Rows, parts: Mapping[str, Vector]) -> list[dict[str, float]]:
    place_of = {row: place for place, row in enumerate(rows.tolist())}
    found = []
    for row in page.rows:
        place = place_of.get(row)
        found.append({} if place is None else {name: round(float(v[place]), 6) for name, v in parts.items()})
    return found


class _Clock:
    """Tells how long each step took."""

    def __init__(self, observe: Observe | None) -> None:
        self._observe = observe
        self._at = time.perf_counter() if observe else 0.0

    def passed(self, step: str) -> None:
        if self._observe:
            now = time.perf_counter()
            self._observe(step, now - self._at)
            self._at = now

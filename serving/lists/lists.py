"""A list for a user, with everything that takes part: session, experiments, cache, scorer, decision log.

Nothing that is down or slow costs a list more than its budget; what it was made without is said in the answer.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from serving.budget import Budget
from serving.bundle import TRENDING
from serving.context.session import NOTHING, SessionContext
from serving.decisions.decision import Decision
from serving.experiments.assignment import NO_EXPERIMENT, Assignment
from serving.lists.answers import items_of, lineage_of, list_answer
from serving.lists.cached_list import CachedList
from serving.live import Serving
from serving.opt_out import NOBODY
from serving.pipeline.candidates import Gathered
from serving.pipeline.config import PipelineConfig
from serving.pipeline.feed import joined
from serving.pipeline.page import Page
from serving.pipeline.planning import Plan
from serving.pipeline.session import Session, session_of
from serving.telemetry.tracing import span
from serving.trial import Recorded

if TYPE_CHECKING:
    from serving.api.state import State

log = logging.getLogger(__name__)

SCORING_BUDGET_S = 0.15
SESSION_UNAVAILABLE = "recent items are unavailable"
SLOW = "scoring took too long"


@dataclass(frozen=True)
class Ask:
    """What a client asked for. `model`: whose list, None for what serves the feed; `route` is what the log calls it."""

    user_id: str
    limit: int
    offset: int
    request_id: str
    route: str
    model: str | None = None
    explain: bool = False
    experiment: str | None = None
    session: bool = True


async def list_for(state: "State", serving: Serving, ask: Ask) -> bytes:
    """The body of the answer; the decision is logged. Raises `UnknownExperimentError` for an override nobody
    declared."""
    started = time.perf_counter()
    user_id = state.known_as(ask.user_id)
    assignment = NO_EXPERIMENT
    if state.experiments is not None and (ask.model is None or ask.experiment):
        assignment = state.experiments.assign(user_id, ask.experiment)
    made, cached = await _made(state, serving, ask, user_id, assignment)
    page = made.page
    count(state, page, cached)
    variants = {} if assignment.forced else assignment.variants
    state.metrics.outcomes.shown(ask.request_id, variants, len(page.rows))
    about: dict[str, Any] = {"user_id": ask.user_id}
    if ask.explain:
        about["lineage"] = lineage_of(serving, page.kind)
    body = list_answer(
        serving, page, made.items, request_id=ask.request_id, limit=ask.limit, variants=assignment.variants,
        cached=cached, **about,
    )  # fmt: skip
    if state.decisions is not None and user_id != NOBODY:
        state.decisions.record(decision_of(serving, ask, page, assignment, cached, started))
    return body


async def _made(
    state: "State", serving: Serving, ask: Ask, user_id: str, assignment: Assignment
) -> tuple[CachedList, bool]:
    config = _configured(ask.model, assignment.parameters)

    async def make() -> tuple[CachedList, bool]:
        context = await context_of(state, user_id)
        session = session_for(serving, ask, context)
        page = await _page(state, serving, ask, user_id, session, config)
        if context.missing:
            page = replace(page, degraded=(*page.degraded, *context.missing))
        if state.live is not None and ask.session and config.model == "champion":
            state.live.recorded.add(Recorded(user_id, ask.limit, ask.offset, context))
        return CachedList.of(page, items_of(serving, page)), not page.degraded

    if state.cache is None or not state.cache.on or ask.explain or user_id == NOBODY:
        return (await make())[0], False
    made_of = f"{serving.record.bundle_id}|{serving.pipeline.blocked_tag}"
    key = f"{made_of}|{ask.model}|{ask.limit}|{ask.offset}|{ask.session}"
    if assignment.parameters:
        key += "|" + repr(sorted(assignment.parameters.items()))
    return await state.cache.get(user_id, key, make)


async def context_of(state: "State", user_id: str) -> SessionContext:
    """What the user did just now. Without a store of it the feed goes on and says so."""
    if user_id == NOBODY:
        return NOTHING
    if state.context is None:
        return SessionContext(missing=(SESSION_UNAVAILABLE,))
    started = time.perf_counter()
    context: SessionContext = await state.context.of(user_id)
    state.metrics.observe_step("context", time.perf_counter() - started)
    return context


def session_for(serving: Serving, ask: Ask, context: SessionContext) -> Session:
    """The context in the bundle's rows, as far as it counts for this list."""
    session = session_of(context, serving.bundle.catalogue)
    if not ask.session:  # what was met and reported still holds; what was liked does not count
        return Session(met=session.met, seen=session.seen, blocked=session.blocked)
    return session


async def _page(
    state: "State", serving: Serving, ask: Ask, user_id: str, session: Session, config: PipelineConfig
) -> Page:
    pipeline = serving.pipeline
    plan = pipeline.plan(user_id, session, config)
    gathered = await _gathered(state, serving, plan)
    if not len(gathered.rows):
        plan = pipeline.plan(user_id, session, config, again=True)
        gathered = await _gathered(state, serving, plan)
    with span("ranking", candidates=len(gathered.rows)):
        page = pipeline.page(
            plan, gathered, ask.limit, ask.offset, ask.request_id, explain=ask.explain,
            observe=state.metrics.observe_step,
        )  # fmt: skip
    missing = ask.limit - len(page.rows)
    if missing and len(gathered.rows) < len(serving.bundle.catalogue):
        page = await _goes_on(state, serving, plan, gathered, page, missing)
    return page


async def _gathered(state: "State", serving: Serving, plan: Plan) -> Gathered:
    started = time.perf_counter()
    pipeline = serving.pipeline
    with span("candidates"):
        if state.scorer is None:
            found = pipeline.gather(plan)
        else:
            try:
                async with Budget(SCORING_BUDGET_S):
                    found = await state.scorer.gather(pipeline, plan)
            except TimeoutError:
                log.warning("%s: trending answers, %d requests wait", SLOW, state.scorer.waiting)
                why = (*plan.asked.degraded, SLOW)
                found = pipeline.gather(replace(plan, asked=replace(plan.asked, queries=(), degraded=why)))
    state.metrics.observe_step("candidates", time.perf_counter() - started)
    return found


async def _goes_on(
    state: "State", serving: Serving, plan: Plan, gathered: Gathered, page: Page, missing: int
) -> Page:
    """The page with what lies behind the list's head; in trending order if the model's takes too long."""
    pipeline, at = serving.pipeline, page.offset + len(page.rows)
    try:
        async with Budget(SCORING_BUDGET_S):
            rest = await state.arithmetic(
                lambda: pipeline.beyond(plan, gathered, missing, at), len(serving.bundle.catalogue)
            )
    except TimeoutError:
        page = replace(page, degraded=(*page.degraded, SLOW))
        rest = pipeline.beyond(plan, replace(gathered, kind=TRENDING), missing, at)
    return joined(page, rest)


def _configured(model: str | None, parameters: Mapping[str, Any]) -> PipelineConfig:
    """The pipeline's settings for a list; the same parameters give the same object."""
    if not parameters:
        return _BY_MODEL.get(model) or _BY_MODEL.setdefault(model, _with_model(PipelineConfig(), model))
    key = (model, repr(sorted(parameters.items())))
    if (found := _BY_PARAMETERS.get(key)) is None:
        if len(_BY_PARAMETERS) > 1000:
            _BY_PARAMETERS.clear()
        found = _BY_PARAMETERS[key] = _with_model(PipelineConfig().changed(parameters), model)
    return found


_BY_MODEL: dict[str | None, PipelineConfig] = {}
_BY_PARAMETERS: dict[tuple[str | None, str], PipelineConfig] = {}


def _with_model(config: PipelineConfig, model: str | None) -> PipelineConfig:
    """Who asks for what everybody watches gets that, in that order: nothing for variety, nothing to learn from."""
    plain = {"diversity": 0.0, "exploration": 0.0} if model == TRENDING else {}
    return config if model is None else config.changed({"model": model, **plain})


def count(state: "State", page: Page, cached: bool) -> None:
    """Count a list by where it came from, and what it was made without."""
    state.metrics.lists.labels(page.source, page.kind).inc()
    if page.degraded:
        what = "recent_items" if all("unavailable" in why for why in page.degraded) else "model"
        state.metrics.degraded.labels(what).inc()


def decision_of(
    serving: Serving, ask: Ask, page: Page, assignment: Assignment, cached: bool, started: float
) -> Decision:
    """What the decision log keeps of a list."""
    ids = serving.bundle.catalogue.video_ids
    n = len(page.rows)
    return Decision(
        request_id=ask.request_id,
        user_id=ask.user_id,
        at_ms=int(time.time() * 1000),
        route=ask.route,
        bundle=serving.record.bundle_id,
        kind=page.kind,
        version=serving.record.models[page.kind].version,
        source=page.source,
        ranks=range(page.offset + 1, page.offset + n + 1),
        video_ids=ids.take(page.rows).tolist() if n else [],
        scores=page.scores,
        propensities=page.propensities,
        sources=page.origins,
        latency_ms=(time.perf_counter() - started) * 1000,
        cached=cached,
        degraded=page.degraded,
        variants=assignment.variants,
        forced=assignment.forced,
    )

"""Lists that start from a video: what is like it, and what to play after it."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.bundle import TRENDING
from serving.errors import UnknownVideoError
from serving.experiments.assignment import NO_EXPERIMENT
from serving.lists.answers import items_of, lineage_of, list_answer
from serving.lists.lists import SLOW, Ask, context_of, count, decision_of, session_for
from serving.live import Serving
from serving.opt_out import NOBODY
from serving.pipeline.page import Page, certain
from serving.pipeline.space import Rows

if TYPE_CHECKING:
    from serving.api.state import State


async def next_for(
    state: "State", serving: Serving, user_id: str, video_id: str, limit: int, request_id: str
) -> bytes:
    """The body of what to play after a video. Raises `UnknownVideoError`."""
    started = time.perf_counter()
    ask = Ask(user_id, limit, 0, request_id, "next")
    known_as = state.known_as(user_id)
    context = await context_of(state, known_as)
    session = session_for(serving, ask, context)
    met = serving.pipeline.excluded(known_as, session)
    recent = serving.bundle.catalogue.video_ids[list(session.met)].tolist() if session.met else []
    page = await _page_or_trending(
        state, serving, lambda: serving.ranker.next_after(video_id, known_as, recent, met, limit, session.blocked),
        met, ask, video_id, "next",
    )  # fmt: skip
    page = replace(page, degraded=(*page.degraded, *context.missing))
    count(state, page, cached=False)
    state.metrics.outcomes.shown(request_id, {}, len(page.rows))
    if state.decisions is not None and known_as != NOBODY:
        state.decisions.record(decision_of(serving, ask, page, NO_EXPERIMENT, False, started))
    return list_answer(
        serving, page, items_of(serving, page), request_id=request_id, limit=limit, user_id=user_id,
        video_id=video_id,
    )  # fmt: skip


async def similar_for(state: "State", serving: Serving, video_id: str, ask: Ask) -> bytes:
    """The body of videos like one; of nobody in particular, so its decision names no user. Raises
    `UnknownVideoError`."""
    started = time.perf_counter()
    page = await _page_or_trending(
        state, serving, lambda: serving.ranker.similar(video_id, ask.limit, ask.offset, explain=ask.explain),
        serving.pipeline.blocked, ask, video_id, "similar",
    )  # fmt: skip
    count(state, page, cached=False)
    state.metrics.outcomes.shown(ask.request_id, {}, len(page.rows))
    if state.decisions is not None:
        state.decisions.record(decision_of(serving, ask, page, NO_EXPERIMENT, False, started))
    about: dict[str, Any] = {"video_id": video_id}
    if ask.explain:
        about["lineage"] = lineage_of(serving, page.kind)
    return list_answer(
        serving, page, items_of(serving, page), request_id=ask.request_id, limit=ask.limit, **about
    )


async def _page_or_trending(
    state: "State",
    serving: Serving,
    work: Callable[[], Page],
    out: Rows,
    ask: Ask,
    video_id: str,
    source: str,
) -> Page:
    """The page, or what is watched most of late without the rows `out` and the video asked about, said so, if there is
    no time for it. Raises what `work` raises."""
    try:
        return await state.arithmetic(work, len(serving.bundle.catalogue))
    except TimeoutError:
        trending = serving.pipeline.trending
        row = serving.bundle.catalogue.row(video_id)
        if row is None:
            raise UnknownVideoError(video_id) from None
        rows = trending.best(np.append(out, row), ask.offset + ask.limit)[ask.offset :]
        page = certain(rows.tolist(), trending.scores[rows].tolist(), TRENDING, source, ask.offset)
        return replace(page, degraded=(SLOW,))

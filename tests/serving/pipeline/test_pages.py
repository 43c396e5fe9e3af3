"""Pages of any size put together are one list: nothing twice, nothing left out, never empty while a video is left."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.pipeline import retrieval
from serving.pipeline.config import PipelineConfig
from serving.pipeline.planning import EVERYTHING_WAS_MET
from serving.pipeline.session import Session

from .made import pipeline_of, world

PLAIN = PipelineConfig(exploration=0)
LARGE = pipeline_of(world(1000, seed=1))
SMALL = pipeline_of(world(40, n_users=3, seed=2))
USERS = st.sampled_from(["u0000", "u0007", "stranger"])


def session_of_rows(met, blocked=()):
    return Session(met=tuple(met), liked=tuple(met), blocked=tuple(blocked))


def paged(pipeline, user, limits, session, config):
    """Pages with these limits in turn, until one is empty."""
    rows, turn = [], 0
    while True:
        limit = limits[turn % len(limits)]
        page = pipeline.feed(user, limit, len(rows), session, config, request_id=f"page {turn}")
        assert len(page.rows) == len(page.scores) == len(page.origins) == len(page.propensities) <= limit
        if not page.rows:
            return rows
        rows += page.rows
        turn += 1


@settings(max_examples=12, deadline=None)
@given(
    user=USERS,
    limits=st.lists(st.integers(37, 100), min_size=1, max_size=3),
    met=st.lists(st.integers(0, 999), max_size=20, unique=True),
    blocked=st.sets(st.integers(0, 999), max_size=5),
    diversity=st.sampled_from([0.0, 0.2, 1.0]),
    model=st.sampled_from(["champion", "svd", "popularity", "als"]),
)
def test_a_list_behind_its_head_is_the_whole_list(user, limits, met, blocked, diversity, model):
    config = PLAIN.changed({"diversity": diversity, "model": model})
    session = session_of_rows(met, blocked)
    rows = paged(LARGE, user, limits, session, config)
    out = {*LARGE.bundle.watched.of(user).tolist(), *met, *blocked}
    assert len(rows) == len(set(rows))
    assert set(rows) == set(range(1000)) - out


@settings(max_examples=60, deadline=None)
@given(
    user=st.sampled_from(["u0000", "u0002", "stranger", ""]),
    limits=st.lists(st.integers(1, 45), min_size=1, max_size=3),
    met=st.lists(st.integers(0, 39), max_size=20, unique=True),
    blocked=st.sets(st.integers(0, 39), max_size=39),
    share=st.sampled_from([0.0, 0.5]),
)
def test_any_feed_pages_through_exactly_what_was_not_met(user, limits, met, blocked, share):
    config = PipelineConfig(exploration=share)  # the head holds all, so that nothing is left to explore
    rows = paged(SMALL, user, limits, session_of_rows(met, blocked), config)
    left = set(range(40)) - blocked - set(met) - set(SMALL.bundle.watched.of(user).tolist())
    assert sorted(rows) == sorted(left or set(range(40)) - blocked)
    assert rows


@settings(max_examples=40, deadline=None)
@given(offset=st.integers(0, 1100), limit=st.integers(1, 100), user=USERS)
def test_a_page_is_the_same_piece_of_the_list_wherever_it_is_cut(offset, limit, user):
    whole = _WHOLE.get(user) or _WHOLE.setdefault(user, paged(LARGE, user, [100], session_of_rows([]), PLAIN))
    page = LARGE.feed(user, limit, offset, config=PLAIN)
    assert list(page.rows) == whole[offset : offset + limit]
    assert page.offset == offset


_WHOLE: dict[str, list[int]] = {}


@settings(max_examples=15, deadline=None)
@given(
    user=USERS,
    share=st.sampled_from([0.3, 1.0]),
    limits=st.lists(st.integers(30, 100), min_size=1, max_size=3),
)
def test_with_exploration_nothing_comes_twice_and_nothing_that_was_met(user, share, limits):
    rows = paged(LARGE, user, limits, session_of_rows([5, 6]), PipelineConfig(exploration=share))
    assert len(rows) == len(set(rows))
    assert not set(rows) & {5, 6, *LARGE.bundle.watched.of(user).tolist()}
    assert len(rows) >= 1000 - 32 - 100  # all but what stands aside for exploration


@pytest.mark.parametrize("user", ["u0001", "stranger"])
def test_everything_met_comes_again_and_is_said_on_every_page(user):
    everything = session_of_rows(range(40), blocked=[3])
    pages = [SMALL.feed(user, 15, offset, everything, PLAIN) for offset in (0, 15, 30, 45)]
    assert [len(page.rows) for page in pages] == [15, 15, 9, 0]
    assert all(EVERYTHING_WAS_MET in page.degraded for page in pages)
    assert sorted(row for page in pages for row in page.rows) == [row for row in range(40) if row != 3]


def test_videos_blocked_for_all_are_in_no_list():
    pipeline = pipeline_of(world(400, seed=6))
    shown = pipeline.feed("u0001", 5, config=PLAIN).rows
    pipeline.block([*pipeline.bundle.catalogue.video_ids[shown].tolist(), "gone"])
    assert sorted(pipeline.blocked.tolist()) == sorted(shown)
    for user in ("u0001", "stranger"):
        for config in (PLAIN, PipelineConfig(exploration=1.0)):
            rows = paged(pipeline, user, [100], session_of_rows([]), config)
            assert not set(shown) & set(rows)
    everything = session_of_rows(range(400))
    assert not set(shown) & set(paged(pipeline, "u0001", [100], everything, PLAIN))
    pipeline.block([])
    assert pipeline.feed("u0001", 5, config=PLAIN).rows == shown


def test_what_the_variants_weigh_takes_part():
    plan = LARGE.plan("u0003", config=PLAIN.changed({"svd_weight": 0.4, "trending_weight": 0.2}))
    gathered = LARGE.gather(plan)
    assert gathered.sources == ("two-tower", "svd", "trending")
    assert len(gathered.rows) == len(set(gathered.rows.tolist())) > 300
    page = LARGE.page(plan, gathered, len(gathered.rows), 0, "r", explain=True)
    assert set(page.parts[0]) == {"model", "svd", "trending"}
    assert {*page.origins} == {"two-tower", "svd", "trending"}
    together = {name: max(parts[name] for parts in page.parts) for name in page.parts[0]}
    assert together == pytest.approx({"model": 0.4, "svd": 0.4, "trending": 0.2}, abs=1e-5)


def test_one_that_only_adds_may_fail_without_spoiling_the_list(monkeypatch):
    search = retrieval.search

    def failing(query, k=retrieval.CANDIDATES):
        if query.space.kind == "svd":
            raise RuntimeError("out of order")
        return search(query, k)

    monkeypatch.setattr(retrieval, "search", failing)
    page = LARGE.feed("u0003", 10, config=PLAIN.changed({"svd_weight": 0.4}))
    assert (page.kind, page.degraded, len(page.rows)) == ("two-tower", ("svd failed",), 10)


def test_a_model_that_breaks_before_it_is_asked_is_replaced_too(monkeypatch):
    """Of a stranger the vector is made first: that may fail as well as the search."""

    def fail(self, user_id, recent):
        if self.kind == "two-tower":
            raise np.linalg.LinAlgError("singular")
        return

    pipeline = pipeline_of(world(40, seed=8))
    monkeypatch.setattr("serving.pipeline.space.Space.long", fail)
    page = pipeline.feed("stranger", 5, session=Session(met=(1,), liked=(1,)), config=PLAIN)
    assert len(page.rows) == 5
    assert "the two-tower model failed" in page.degraded


def test_steps_are_timed_by_name():
    steps = {}
    plan = LARGE.plan("u0003")
    LARGE.page(plan, LARGE.gather(plan), 20, 0, "r", observe=lambda step, took: steps.setdefault(step, took))
    assert list(steps) == ["blend", "session", "diversity", "exploration"]
    assert all(0 <= took < 1 for took in steps.values())


def test_a_plan_can_be_made_again_and_again():
    plan = LARGE.plan("u0003")
    first, second = LARGE.gather(plan), LARGE.gather(plan)
    assert first.rows.tolist() == second.rows.tolist()
    assert LARGE.page(plan, first, 20, 0, "r") == LARGE.page(plan, second, 20, 0, "r")


def test_an_explained_page_says_something_of_every_item_wherever_it_is_cut():
    for offset in (0, 250, 300):
        page = LARGE.feed("u0001", 100, offset, explain=True)
        assert page.parts is not None
        assert len(page.parts) == len(page.rows) == 100
    assert LARGE.feed("u0001", 100, 250).parts is None

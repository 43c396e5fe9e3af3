"""The written propensities are the true ones, place by place, and estimates from such a log find a known value."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.off_policy import ips, snips
from ml.off_policy_log import LoggedDecisions
from serving.pipeline.config import PipelineConfig
from serving.pipeline.exploration import explore
from serving.pipeline.retrieval import CANDIDATES

from .made import bundle_of, catalogue_of, model_of, names, pipeline_of, world

POOL = np.arange(1000, 1017)


def draw(request_id, pool=POOL, first=0, places=20, share=0.3, every=5, in_all=40):
    return explore(pool, first, places, share=share, every=every, places_in_all=in_all, request_id=request_id)


def test_only_every_nth_place_explores_and_says_how_likely_it_was():
    placed = draw("r1")
    for place, found in enumerate(placed):
        mine = POOL[place // 5 :: 8].tolist()  # 8 exploring places of 40 share 17 out
        if place % 5 != 4:
            assert (found.row, found.propensity, found.explored) == (None, 1.0, False)
        elif found.explored:
            assert (found.row in mine, found.propensity) == (True, pytest.approx(0.3 / len(mine)))
        else:
            assert found.propensity == pytest.approx(0.7)


def test_the_same_request_draws_the_same_on_any_page():
    whole = draw("r2", places=40)
    assert list(draw("r2", places=40)) == list(whole)
    for first, places in [(0, 7), (7, 1), (8, 12), (24, 16)]:
        assert list(draw("r2", first=first, places=places)) == list(whole[first : first + places])


def test_other_requests_draw_otherwise():
    assert len({tuple(p.row for p in draw(f"r{i}", places=40)) for i in range(50)}) > 40


@pytest.mark.parametrize("nothing", [{"share": 0}, {"pool": POOL[:0]}])
def test_without_a_share_or_a_pool_everything_is_certain(nothing):
    assert [(p.row, p.propensity) for p in draw("r", **nothing)] == [(None, 1.0)] * 20


def test_a_share_of_1_always_explores():
    assert all(p.explored == (place % 5 == 4) for place, p in enumerate(draw("r", share=1.0, places=40)))


def test_a_place_without_a_part_of_the_pool_is_certain():
    placed = draw("r", pool=POOL[:2], share=1.0, places=40)
    assert [place for place, p in enumerate(placed) if p.explored] == [4, 9]
    assert {p.propensity for place, p in enumerate(placed) if place > 9} == {1.0}


def test_places_behind_the_list_are_certain():
    assert {p.propensity for p in draw("r", first=40, places=60, share=1.0)} == {1.0}


def test_how_often_each_item_stands_at_each_place_is_what_was_written_down():
    n, seen, said = 20_000, Counter(), {}
    for i in range(n):
        for place, found in enumerate(draw(f"request-{i}")):
            seen[place, found.row] += 1
            assert said.setdefault((place, found.row), found.propensity) == found.propensity
    for key, propensity in said.items():
        spread = np.sqrt(n * propensity * (1 - propensity))
        assert abs(seen[key] - n * propensity) <= 4.5 * spread, key  # of about 30 numbers
    for place in range(20):
        outcomes = [p for (at, _), p in said.items() if at == place]
        assert sum(outcomes) == pytest.approx(1)
        assert len(outcomes) == (1 if place % 5 != 4 else 1 + len(POOL[place // 5 :: 8]))


def test_draws_of_different_places_are_independent():
    both = np.array([[draw(f"x{i}")[place].explored for place in (4, 9, 14)] for i in range(4000)])
    correlations = np.corrcoef(both.T)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 4.5 / np.sqrt(4000)


@settings(max_examples=200, deadline=None)
@given(
    size=st.integers(0, 60),
    share=st.floats(0, 1),
    every=st.integers(2, 100),
    in_all=st.integers(1, 300),
    cuts=st.lists(st.integers(1, 60), max_size=8),
)
def test_pages_of_different_requests_never_explore_the_same_video(size, share, every, in_all, cuts):
    pool, first, found = np.arange(size), 0, []
    for page, places in enumerate(cuts):
        placed = draw(f"page {page}", pool, first, places, share, every, in_all)
        assert len(placed) == places
        assert all(0 < p.propensity <= 1 for p in placed)
        found += [p.row for p in placed if p.explored]
        first += places
    assert len(found) == len(set(found))


# --- in the feed ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pipeline():
    return pipeline_of(world(1000, seed=1))


def test_a_feeds_propensities_are_true(pipeline):
    config = PipelineConfig(exploration=0.5)
    plan = pipeline.plan("u0003", config=config)
    gathered = pipeline.gather(plan)
    pool = pipeline.newcomers.pool("u0003", plan.asked.met, gathered.rows)
    met = {*plan.asked.met.tolist(), *gathered.rows.tolist()}
    assert not met & set(pool.tolist())
    n, seen, said = 3000, Counter(), {}
    for i in range(n):
        page = pipeline.page(plan, gathered, 10, 0, f"request {i}")
        for place, (row, propensity) in enumerate(zip(page.rows, page.propensities, strict=True)):
            seen[place, row] += 1
            assert said.setdefault((place, row), propensity) == propensity
    assert {place for place, _ in said} == set(range(10))
    for (place, row), propensity in said.items():
        assert propensity == (1.0 if place not in (4, 9) else 0.5 if row in met else pytest.approx(0.25))
        spread = np.sqrt(n * propensity * (1 - propensity))
        assert abs(seen[place, row] - n * propensity) <= 4.5 * spread
    assert len(said) == 8 + 2 * (1 + 2)  # of a pool of 100 for 60 places


def test_an_explored_item_says_so_and_has_no_score(pipeline):
    page = pipeline.feed("u0003", 100, config=PipelineConfig(exploration=1.0), request_id="r", explain=True)
    new = [place for place, origin in enumerate(page.origins) if origin == "new"]
    assert new == list(range(4, 100, 5))
    assert {page.scores[place] for place in new} == {0.0}
    assert all(not page.parts[place] for place in new)
    assert page.source == "personal"


def test_no_video_comes_twice_across_pages_however_the_requests_are_called(pipeline):
    for user in ("u0003", "stranger"):
        rows = []
        for offset in range(0, 1000, 50):
            page = pipeline.feed(
                user, 50, offset, config=PipelineConfig(exploration=0.9), request_id=f"{offset}"
            )
            rows += page.rows
        assert len(rows) == len(set(rows))
        assert not set(rows) & set(pipeline.bundle.watched.of(user).tolist())


def test_the_value_of_another_policy_is_found_in_the_log():
    """Clicks at an exploring place: what would be earned if it always explored, and if it never did."""
    videos = names(400)
    svd = model_of("svd", {"u": (1.0,)}, {v: (1 - i / 400,) for i, v in enumerate(videos)})
    pipeline = pipeline_of(bundle_of(svd, champion="svd", catalogue=catalogue_of(videos)))
    plan = pipeline.plan("u", config=PipelineConfig(exploration=0.3, diversity=0))
    gathered = pipeline.gather(plan)
    rng = np.random.default_rng(7)
    chance = rng.uniform(0.05, 0.6, 400)
    rows, propensities, explored = [], [], []
    for i in range(6000):
        page = pipeline.page(plan, gathered, 5, 0, f"decision {i}")
        rows.append(page.rows[4])
        propensities.append(page.propensities[4])
        explored.append(page.origins[4] == "new")
    rows, explored = np.array(rows), np.array(explored)
    rewards = (rng.random(len(rows)) < chance[rows]).astype(float)
    pool = pipeline.newcomers.pool("u", plan.asked.met, gathered.rows)[0 :: CANDIDATES // 5]
    assert set(rows[explored].tolist()) == set(pool.tolist())
    users = np.arange(len(rows)) % 1500
    for target, truth in [
        (np.where(explored, 1 / len(pool), 0.0), chance[pool].mean()),
        (np.where(explored, 0.0, 1.0), chance[4]),
        (np.where(explored, 0.3 / len(pool), 0.7), 0.3 * chance[pool].mean() + 0.7 * chance[4]),
    ]:
        log = LoggedDecisions(users, propensities, target, rewards)
        for estimator in (ips, snips):
            found = estimator(log).value
            assert found.low <= truth <= found.high, (estimator.__name__, found, truth)

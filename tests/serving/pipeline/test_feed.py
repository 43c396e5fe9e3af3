"""Whole lists with hand-made models: ann's scores fall with the video number, bob's rise."""

import dataclasses

import numpy as np
import pytest
from scipy import sparse

from ml.blend import BlendModel, Mixture
from ml.factors import FactorModel
from ml.neighbours import NeighbourModel
from serving.context.session import SessionContext
from serving.pipeline import retrieval
from serving.pipeline.config import PipelineConfig
from serving.pipeline.planning import EVERYTHING_WAS_MET
from serving.pipeline.session import Session, session_of
from serving.ranking import Ranker

from .made import PLAIN, bundle_of, catalogue_of, model_of, pipeline_of, popularity_of

VIDEOS = [f"v{i}" for i in range(6)]
ALL = [0, 1, 2, 3, 4, 5]
MET = {"ann": [0, 2], "zoe": [0], "max": ALL}


def taste(kind, videos=VIDEOS, keep=None, fold_in=None):
    """ann likes low numbers, bob high ones: positions 1, .6, .2, -.2, -.6, -1."""
    positions = np.linspace(1, -1, len(videos))
    kept = range(len(videos)) if keep is None else keep
    users = {"ann": (1.0,), "bob": (-1.0,)}
    return model_of(kind, users, {videos[i]: (positions[i],) for i in kept}, fold_in=fold_in)


def pipeline_with(*models, champion="svd", watched=MET):
    models = models or (taste("svd"), taste("two-tower"))
    return pipeline_of(bundle_of(*models, champion=champion, catalogue=catalogue_of(VIDEOS), watched=watched))


@pytest.fixture
def pipeline():
    return pipeline_with()


def session(*recent, blocked=(), signals=(), pipeline):
    context = SessionContext(recent=recent, blocked=frozenset(blocked), signals=signals)
    return session_of(context, pipeline.bundle.catalogue)


def test_the_feed_is_the_champions_list_without_watched_videos(pipeline):
    page = pipeline.feed("ann", 3, config=PLAIN)
    assert (page.rows, page.kind, page.source, page.degraded) == ([1, 3, 4], "svd", "personal", ())
    np.testing.assert_allclose(page.scores, [1, 0.5, 0.25], atol=1e-6)  # of .6, -.2, -.6 and v5's -1
    assert (page.origins, page.propensities) == (["svd"] * 3, [1.0] * 3)
    assert pipeline.feed("bob", 2, config=PLAIN).rows == [5, 4]


def test_recent_videos_are_left_out_too(pipeline):
    met = session("v1", "v4", "unheard-of", pipeline=pipeline)
    assert pipeline.feed("ann", 10, session=met, config=PLAIN).rows == [3, 5]


def test_a_user_no_model_knows_gets_trending_without_what_they_met(pipeline):
    page = pipeline.feed("stranger", 3)
    assert (page.rows, page.kind, page.source, page.degraded) == ([0, 1, 2], "popularity", "trending", ())
    assert pipeline.feed("zoe", 3).rows == [1, 2, 3]


def test_a_stranger_is_known_by_what_they_just_met(pipeline):
    page = pipeline.feed("stranger", 5, session=session("v4", pipeline=pipeline), config=PLAIN)
    assert (page.kind, page.source, page.degraded) == ("svd", "session", ())
    # v3 and v5 lie v4's way, the others opposite. Model (0, .2, .4, .6, 1) and trending (1, .8, .6, .4, 0) weigh a
    # half each and say the opposite of each other, so what is left is the session: 0.7 * 0.5 + 0.3.
    assert (set(page.rows[:2]), set(page.rows[2:])) == ({3, 5}, {0, 1, 2})
    np.testing.assert_allclose(page.scores, [0.65, 0.65, 0.35, 0.35, 0.35], atol=1e-6)


def test_who_any_model_knows_by_name_is_no_stranger():
    """A model that knows the user answers before one that knows only what they just did."""
    positions = {video: (place,) for video, place in zip(VIDEOS, np.linspace(1, -1, 6), strict=True)}
    only_bob = model_of("two-tower", {"bob": (-1.0,)}, positions)
    pipeline = pipeline_with(only_bob, taste("svd"), champion="two-tower", watched={})
    met = session("v5", pipeline=pipeline)
    page = pipeline.feed("ann", 3, session=met, config=PLAIN.changed({"session_share": 0}))
    assert (page.kind, page.source, page.rows, page.degraded) == ("svd", "personal", [0, 1, 2], ())
    assert pipeline.feed("bob", 1, session=met, config=PLAIN).kind == "two-tower"
    assert pipeline.feed("stranger", 1, session=met, config=PLAIN).kind == "two-tower"


def test_who_has_met_everything_meets_it_again_and_is_told(pipeline):
    page = pipeline.feed("max", 5, config=PLAIN)
    assert (page.rows, page.degraded) == ([0, 1, 2, 3, 4], (EVERYTHING_WAS_MET,))
    again = pipeline.feed("max", 5, 5, config=PLAIN)
    assert (again.rows, again.degraded) == ([5], (EVERYTHING_WAS_MET,))
    everything = session(*VIDEOS, pipeline=pipeline)
    assert pipeline.feed("ann", 6, session=everything, config=PLAIN).rows[0] == 0


def test_what_was_reported_never_comes_back_even_when_everything_else_was_met(pipeline):
    reported = session(*VIDEOS[1:], blocked=["v0", "v3"], pipeline=pipeline)
    for user in ("ann", "max", "stranger", ""):
        page = pipeline.feed(user, 10, session=reported)
        assert sorted(page.rows) == [1, 2, 4, 5]
        assert EVERYTHING_WAS_MET in page.degraded
    assert pipeline.feed("max", 10, session=session(blocked=VIDEOS, pipeline=pipeline)).rows == []


def test_pages_put_together_are_the_whole_list(pipeline):
    whole = pipeline.feed("bob", 100, config=PLAIN).rows
    assert whole == [5, 4, 3, 2, 1, 0]
    assert [
        r for offset in range(0, 8, 2) for r in pipeline.feed("bob", 2, offset, config=PLAIN).rows
    ] == whole
    assert pipeline.feed("bob", 5, 50).rows == []


def test_one_kinds_list_comes_from_that_model(pipeline):
    for kind in ("two-tower", "svd"):
        assert pipeline.feed("ann", 2, config=PLAIN.changed({"model": kind})).kind == kind
    page = pipeline.feed("ann", 2, config=PLAIN.changed({"model": "popularity"}))
    assert (page.kind, page.source, page.rows, page.degraded) == ("popularity", "trending", [1, 3], ())


def test_a_missing_model_is_replaced_and_said():
    page = pipeline_with(taste("svd")).feed("bob", 2, config=PLAIN.changed({"model": "two-tower"}))
    assert (page.kind, page.rows, page.degraded) == ("svd", [5, 4], ("no two-tower model in the bundle",))


@pytest.mark.parametrize("champion", ["two-tower", "svd"])
@pytest.mark.parametrize("failure", ["raises", "not finite"])
def test_a_failing_champion_falls_back_to_the_other_model_then_to_trending(champion, failure, monkeypatch):
    pipeline = pipeline_with(taste("svd"), taste("two-tower"), champion=champion, watched={"ann": [0]})
    other = {"svd": "two-tower", "two-tower": "svd"}[champion]
    broken, search = {champion}, retrieval.search

    def failing(query, k=retrieval.CANDIDATES):
        if query.space.kind not in broken:
            return search(query, k)
        if failure == "raises":
            raise MemoryError("out of order")
        return search(dataclasses.replace(query, long=np.full(1, np.nan, np.float32)), k)

    monkeypatch.setattr(retrieval, "search", failing)
    page = pipeline.feed("ann", 2, config=PLAIN)
    assert (page.kind, page.source, page.degraded) == (other, "personal", (f"the {champion} model failed",))
    assert page.rows == [1, 2]

    broken.add(other)
    page = pipeline.feed("ann", 2, config=PLAIN)
    assert (page.kind, page.source, page.rows) == ("popularity", "trending", [1, 2])
    assert page.degraded == (f"the {champion} model failed", f"the {other} model failed")


class Failing(FactorModel):
    def scores(self, user_ids):
        raise RuntimeError("out of order")


def test_popularity_may_be_champion():
    page = pipeline_with(champion="popularity").feed("bob", 2)
    assert (page.rows, page.source, page.kind, page.degraded) == ([0, 1], "trending", "popularity", ())


@pytest.mark.parametrize("kind", ["hybrid", "item-item", "content", "als"])
def test_any_kind_may_be_champion(kind):
    page = pipeline_with(taste(kind), taste("svd"), champion=kind).feed("bob", 2, config=PLAIN)
    assert (page.rows, page.source, page.kind, page.degraded) == ([5, 4], "personal", kind, ())


def neighbours():
    """Who watched v0 likes v1 most, then v2; who watched v5 likes v4, then v3."""
    weights = np.zeros((6, 6), np.float32)
    weights[0, 1:3], weights[5, 3:5] = (0.9, 0.5), (0.5, 0.9)
    history = np.array([[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]], np.float32)
    return NeighbourModel(
        kind="item-item",
        user_ids=np.array(["ann", "bob"]),
        video_ids=np.array(VIDEOS),
        history=sparse.csr_matrix(history),
        weights=sparse.csr_matrix(weights),
        video_bias=np.zeros(6, np.float32),
    )


def hybrid():
    mixture = Mixture({"svd": 0.5, "content": 0.5}, np.zeros(6, np.float32))
    return BlendModel(
        kind="hybrid",
        parts={"svd": taste("svd"), "content": taste("content")},
        user_ids=np.array(["ann", "bob"]),
        watches=np.array([1, 1], np.float32),
        of_known=mixture,
        of_strangers=mixture,
        history_scale=1.0,
        newness=np.zeros(6, np.float32),
    )


@pytest.mark.parametrize("champion", [neighbours, hybrid])
def test_a_champion_without_vectors_of_its_own_ranks_who_it_knows(champion):
    model = champion()
    pipeline = pipeline_with(model, taste("svd"), champion=model.kind, watched={"ann": [0], "bob": [5]})
    assert pipeline.feed("ann", 2, config=PLAIN).rows == [1, 2]
    page = pipeline.feed("bob", 2, config=PLAIN)
    assert (page.rows, page.kind, page.source, page.degraded) == ([4, 3], model.kind, "personal", ())
    # Sessions are placed by another model's vectors, and so are strangers.
    met = session("v2", pipeline=pipeline)
    assert "session" in pipeline.feed("ann", 2, session=met, config=PLAIN, explain=True).parts[0]
    assert pipeline.feed("stranger", 2, session=met, config=PLAIN).kind == "svd"
    whole = [row for offset in range(0, 8, 2) for row in pipeline.feed("bob", 2, offset, config=PLAIN).rows]
    assert sorted(whole) == [0, 1, 2, 3, 4]


def test_videos_the_model_does_not_know_come_last_by_popularity():
    pipeline = pipeline_with(taste("svd", keep=[1, 4]), taste("two-tower"), watched={"ann": [3]})
    page = pipeline.feed("ann", 4, config=PLAIN)
    assert (page.rows, page.source) == ([1, 4, 0, 2], "mixed")
    assert page.origins == ["svd", "svd", "trending", "trending"]
    assert [r for offset in range(7) for r in pipeline.feed("ann", 1, offset, config=PLAIN).rows] == [
        1,
        4,
        0,
        2,
        5,
    ]
    assert pipeline.feed("ann", 2, config=PLAIN).source == "personal"
    assert pipeline.feed("ann", 2, 2, config=PLAIN).source == "trending"


def test_a_video_outside_the_catalogue_is_never_recommended():
    model = taste("svd", videos=[f"v{i}" for i in range(8)])  # knows v6, v7 as well
    assert pipeline_with(model).feed("bob", 10, config=PLAIN).rows == [5, 4, 3, 2, 1, 0]


def test_a_video_popularity_never_saw_still_comes_last():
    popularity = popularity_of(VIDEOS[1:])
    pipeline = pipeline_with(taste("svd"), popularity)
    assert pipeline.feed("stranger", 10, config=PLAIN).rows == [1, 2, 3, 4, 5, 0]


def test_explained_parts_add_up_to_the_score(pipeline):
    met = session("v2", signals=(("like", "v2"),), pipeline=pipeline)
    page = pipeline.feed("bob", 5, session=met, config=PipelineConfig(exploration=0), explain=True)
    assert len(page.parts) == 5
    for parts, score in zip(page.parts, page.scores, strict=True):
        assert set(parts) == {"model", "session"}
        assert sum(parts.values()) == pytest.approx(score, abs=1e-5)


def test_one_video_and_one_user():
    one = catalogue_of(["only"])
    svd = model_of("svd", {"ann": (1.0,)}, {"only": (1.0,)})
    pipeline = pipeline_of(bundle_of(svd, champion="svd", catalogue=one, watched={"ann": [0]}))
    assert pipeline.feed("ann", 20).rows == [0]
    assert pipeline.feed("ann", 20).degraded == (EVERYTHING_WAS_MET,)
    assert pipeline.feed("new", 20).rows == [0]
    assert pipeline.feed("new", 20, session=Session(met=(0,), liked=(0,))).rows == [0]
    assert pipeline.feed("ann", 20, 1).rows == []


@pytest.mark.parametrize("user", ["", "a\0b", "\ud800", "x" * 10_000, "😀", "ünï", "ann "])
def test_any_id_is_just_an_unknown_user(pipeline, user):
    page = pipeline.feed(user, 3, config=PLAIN)
    assert (page.rows, page.source) == ([0, 1, 2], "trending")


def test_ids_of_any_script_are_known_by_name():
    videos = sorted(["видео", "動画", "v😀", "x\u0301"])
    svd = model_of("svd", {"Ж": (1.0,)}, {v: (float(i),) for i, v in enumerate(videos)})
    pipeline = pipeline_of(bundle_of(svd, champion="svd", catalogue=catalogue_of(videos), watched={"Ж": [3]}))
    page = pipeline.feed("Ж", 5, config=PLAIN)
    assert (page.rows, page.source) == ([2, 1, 0], "personal")


def test_the_list_goes_on_in_trending_order_if_the_model_fails_behind_the_head():
    ranker = Ranker(bundle_of(Failing(**vars(taste("svd"))), champion="svd", catalogue=catalogue_of(VIDEOS)))
    page = ranker.rest("svd", "ann", np.array([0, 1]), 3, 1)
    assert (page.rows, page.source, page.kind) == ([3, 4, 5], "trending", "popularity")

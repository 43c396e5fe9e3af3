"""Ranked lists with hand-made models: ann's scores fall with the video number, bob's rise."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.factors import FactorModel
from serving import bundle
from serving.errors import UnknownVideoError
from serving.ranking import EMBEDDING_WEIGHT, Ranker

ALL = [0, 1, 2, 3, 4, 5]


@pytest.fixture
def ranker_of(packed):
    def make(**options):
        models = options.pop("models", {})
        loaded = bundle.load(packed(f"bundle-{len(options)}-{len(models)}", **options))
        return Ranker(dataclasses.replace(loaded, models={**loaded.models, **models}))

    return make


@pytest.fixture
def ranker(ranker_of):
    return ranker_of(watched={"ann": ["v0", "v2"], "zoe": ["v0"], "max": [f"v{i}" for i in ALL]})


def test_the_feed_is_the_champions_list_without_watched_videos(ranker):
    page = ranker.feed("ann", 3)
    assert (page.rows, page.kind, page.source, page.degraded) == ([1, 3, 4], "svd", "personal", ())
    np.testing.assert_allclose(page.scores, [0.6, -0.2, -0.6], atol=1e-6)
    assert ranker.feed("bob", 2).rows == [5, 4]


def test_recent_videos_are_left_out_too(ranker):
    assert ranker.feed("ann", 10, recent=["v1", "v4", "unheard-of"]).rows == [3, 5]


def test_a_user_no_model_knows_gets_trending_without_what_they_met(ranker):
    page = ranker.feed("stranger", 3)
    assert (page.rows, page.kind, page.source, page.degraded) == ([0, 1, 2], "popularity", "trending", ())
    assert ranker.feed("zoe", 3).rows == [1, 2, 3]
    assert ranker.feed("stranger", 3, recent=["v1"]).rows == [0, 2, 3]


def test_who_has_met_everything_gets_an_empty_list_rather_than_a_repeat(ranker):
    assert ranker.feed("max", 5).rows == []


def test_pages_put_together_are_the_whole_list(ranker):
    whole = ranker.feed("bob", 100).rows
    assert whole == [5, 4, 3, 2, 1, 0]
    assert [row for offset in range(0, 8, 2) for row in ranker.feed("bob", 2, offset).rows] == whole
    assert ranker.feed("bob", 5, 50).rows == []


def test_one_kinds_list_comes_from_that_model(ranker):
    assert ranker.by_kind("two-tower", "ann", 2).kind == "two-tower"
    assert ranker.by_kind("svd", "ann", 2).kind == "svd"


def test_a_missing_model_is_replaced_and_said(ranker_of):
    ranker = ranker_of(kinds=("svd", "popularity"))
    page = ranker.by_kind("two-tower", "ann", 2)
    assert (page.kind, page.rows, page.degraded) == ("svd", [1, 2], ("no two-tower model in the bundle",))


class Failing(FactorModel):
    def scores(self, user_ids):
        raise RuntimeError("out of order")


class Nonsense(FactorModel):
    def scores(self, user_ids):
        return np.full((len(user_ids), len(self.video_ids)), np.nan, np.float32)


def twist(model: FactorModel, kind: type[FactorModel]) -> FactorModel:
    return kind(**{f.name: getattr(model, f.name) for f in dataclasses.fields(model)})


@pytest.mark.parametrize("broken", [Failing, Nonsense])
def test_a_failing_champion_falls_back_to_the_other_model_then_to_trending(ranker_of, packed, broken):
    models = bundle.load(packed("plain")).models
    one = ranker_of(models={"svd": twist(models["svd"], broken)})
    page = one.feed("ann", 2)
    assert (page.kind, page.source, page.degraded) == ("two-tower", "personal", ("the svd model failed",))
    assert page.rows == [1, 2]

    both = ranker_of(models={kind: twist(models[kind], broken) for kind in ("svd", "two-tower")})
    page = both.feed("ann", 2)
    assert (page.kind, page.source) == ("popularity", "trending")
    assert page.degraded == ("the svd model failed", "the two-tower model failed")
    assert page.rows == [1, 2]


def test_popularity_may_be_champion(ranker_of):
    page = ranker_of(champion="popularity").feed("bob", 2)
    assert (page.rows, page.source, page.kind, page.degraded) == ([0, 1], "trending", "popularity", ())


def shorter(model: FactorModel, keep: list[int]) -> FactorModel:
    return dataclasses.replace(
        model,
        video_ids=model.video_ids[keep],
        video_factors=model.video_factors[keep],
        video_bias=model.video_bias[keep],
    )


def test_videos_the_model_does_not_know_come_last_by_popularity(ranker_of, packed):
    models = bundle.load(packed("plain")).models
    ranker = ranker_of(models={"svd": shorter(models["svd"], [1, 4])}, watched={"ann": ["v3"]})
    page = ranker.feed("ann", 4)
    assert (page.rows, page.source) == ([1, 4, 0, 2], "mixed")
    assert [r for offset in range(7) for r in ranker.feed("ann", 1, offset).rows] == [1, 4, 0, 2, 5]
    assert ranker.feed("ann", 2).source == "personal"
    assert ranker.feed("ann", 2, 2).source == "trending"


def test_a_video_outside_the_catalogue_is_never_recommended(ranker_of, packed):
    model = bundle.load(packed("plain", videos=8)).models["svd"]  # knows v6, v7 as well
    assert ranker_of(models={"svd": model}).feed("bob", 10).rows == [5, 4, 3, 2, 1, 0]


def test_a_video_popularity_never_saw_still_comes_last(ranker_of, packed):
    popularity = bundle.load(packed("plain")).models["popularity"]
    ranker = ranker_of(models={"popularity": shorter(popularity, [1, 2, 3, 4, 5])})
    assert ranker.feed("stranger", 10).rows == [1, 2, 3, 4, 5, 0]


def test_metadata_similarity_is_the_contracts_formula(ranker):
    # v0: dogs, tags fun + pets, 1 min. Minutes apart: 1, 2, 3, 4; v5's unknown length counts as 1 min.
    np.testing.assert_allclose(
        ranker.metadata_scores(0)[1:],
        [10 + 0 + (10 - 1), 0 + 5 + (10 - 2), 0 + 10 + (10 - 3), 0 + 0 + (10 - 4), 0 + 0 + 10],
    )
    # v4 and v5 both lack a category: that is nothing in common.
    assert ranker.metadata_scores(4)[5] == 10 - 4


def test_similar_videos_blend_the_formula_with_the_embeddings(ranker):
    # Positions on the taste axis: v0..v2 positive, v3..v5 negative: cosine 1 or -1.
    np.testing.assert_allclose(ranker.cosines(0), [1, 1, 1, -1, -1, -1], atol=1e-6)
    page = ranker.similar("v0", 10)
    assert page.rows == [1, 2, 3, 5, 4]
    np.testing.assert_allclose(page.scores, [29, 23, 7, 0, -4], atol=1e-5)
    assert page.source == "similar"
    assert page.kind == "svd"
    assert ranker.similar("v0", 2, 1).rows == [2, 3]
    assert EMBEDDING_WEIGHT == 10


def test_a_video_without_embedding_is_scored_by_the_formula_alone(ranker_of, packed):
    svd = bundle.load(packed("plain")).models["svd"]
    factors = svd.video_factors.copy()
    factors[3] = 0
    ranker = ranker_of(models={"svd": dataclasses.replace(svd, video_factors=factors)})
    assert ranker.cosines(3).tolist() == [0] * 6
    assert ranker.cosines(0)[3] == 0


def test_without_a_personal_model_similar_works_on_metadata(ranker_of):
    page = ranker_of(kinds=("popularity",), champion="popularity").similar("v0", 2)
    assert (page.rows, page.scores, page.kind) == ([1, 3], [19, 17], "popularity")


def test_an_unknown_video_is_an_error(ranker):
    with pytest.raises(UnknownVideoError):
        ranker.similar("nope", 5)


@settings(max_examples=30, deadline=None)
@given(
    limit=st.integers(1, 10),
    seen=st.sets(st.integers(0, 5)),
    recent=st.sets(st.integers(0, 5)),
    user=st.sampled_from(["ann", "bob", "stranger"]),
)
def test_any_feed_pages_through_exactly_what_was_not_met(tmp_path_factory, limit, seen, recent, user):
    from .conftest import tiny_pack

    folder = tmp_path_factory.mktemp("bundle") / "b"
    tiny_pack(folder, watched={user: [f"v{i}" for i in seen]})
    ranker = Ranker(bundle.load(folder))
    rows, offset = [], 0
    while page := ranker.feed(user, limit, offset, [f"v{i}" for i in recent]).rows:
        assert len(page) <= limit
        rows += page
        offset += limit
    assert sorted(rows) == sorted(set(ALL) - seen - recent)
    assert len(rows) == len(set(rows))

"""Plain lists with hand-made models: what is similar, and what comes after a video."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.factors import FactorModel
from ml.next_video import next_videos
from serving import bundle
from serving.errors import UnknownVideoError
from serving.ranking import EMBEDDING_WEIGHT, Ranker

from .conftest import tiny_model, tiny_pack

ALL = [0, 1, 2, 3, 4, 5]


def shorter(model: FactorModel, keep: list[int]) -> FactorModel:
    return dataclasses.replace(
        model,
        video_ids=model.video_ids[keep],
        video_factors=model.video_factors[keep],
        video_bias=model.video_bias[keep],
    )


@pytest.fixture
def ranker_of(packed):
    def make(**options):
        models = options.pop("models", {})
        loaded = bundle.load(packed(f"bundle-{len(options)}-{len(models)}", **options))
        return Ranker(dataclasses.replace(loaded, models={**loaded.models, **models}))

    return make


@pytest.fixture(scope="module")
def one_ranker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "b"
    tiny_pack(folder)
    return Ranker(bundle.load(folder))


@pytest.fixture
def ranker(ranker_of):
    return ranker_of(watched={"ann": ["v0", "v2"], "zoe": ["v0"], "max": [f"v{i}" for i in ALL]})


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


def test_what_comes_next_is_the_contracts_blend(ranker_of):
    """The same as `ml.next_video.next_videos` of the same models, whatever was met."""
    ranker = ranker_of(models={"content": tiny_model("content")})
    rng = np.random.default_rng(5)
    content = dataclasses.replace(
        ranker.bundle.models["content"],
        video_factors=rng.normal(size=(6, 3)).astype(np.float32),
        user_factors=np.zeros((2, 3), np.float32),
    )
    svd = dataclasses.replace(
        ranker.bundle.models["svd"],
        video_factors=rng.normal(size=(6, 3)).astype(np.float32),
        user_factors=rng.normal(size=(2, 3)).astype(np.float32),
    )
    ranker = ranker_of(models={"content": content, "svd": svd})
    for current in range(6):
        for met in ([], [0], [1, 4], [2, 3, 5]):
            page = ranker.next_after(f"v{current}", "ann", [], np.array(met, np.int64), 10)
            expected = next_videos(svd, content, f"v{current}", 10, exclude=[f"v{row}" for row in met])
            assert [f"v{row}" for row in page.rows] == [video for video, _ in expected]
            np.testing.assert_allclose(page.scores, [score for _, score in expected], atol=1e-6)
            assert (page.kind, page.source) == ("svd", "next")


def test_next_without_a_content_model_goes_by_what_is_said_of_the_video(ranker):
    page = ranker.next_after("v0", "ann", [], np.empty(0, np.int64), 2)
    # Cosines 1, 1, -1, -1, -1 (0.6) and R6's 19, 13, 17, 6, 10 (0.4).
    assert page.rows == [1, 2]
    np.testing.assert_allclose(page.scores, [1.0, 0.6 + 0.4 * 7 / 13], atol=1e-6)


def test_next_knows_a_new_video_only_by_the_user_and_an_old_session(ranker_of, packed):
    svd = bundle.load(packed("plain")).models["svd"]
    ranker = ranker_of(models={"svd": shorter(svd, [0, 1, 2, 3, 4])})
    nobody, nothing = np.empty(0, np.int64), []
    assert ranker.next_after("v5", "ann", nothing, nobody, 1).rows == [0]
    assert ranker.next_after("v5", "stranger", nothing, nobody, 5).source == "next"


def test_next_with_everything_met_comes_again_but_never_what_was_blocked(ranker):
    everything = np.arange(6)
    page = ranker.next_after("v0", "ann", [], everything, 10, np.array([1, 4]))
    assert sorted(page.rows) == [2, 3, 5]
    assert ranker.next_after("v0", "ann", [], everything, 10, everything).rows == []
    assert ranker.next_after("v0", "ann", [], everything, 10, everything[1:]).rows == [
        0
    ]  # nothing else may play
    ranker.blocked = np.array([2, 3])
    assert sorted(ranker.next_after("v0", "ann", [], everything, 10, [1, 4]).rows) == [5]
    assert sorted(ranker.next_after("v3", "ann", [], everything, 10, [0, 1, 4, 5]).rows) == []


def test_next_of_an_unknown_video_is_an_error(ranker):
    with pytest.raises(UnknownVideoError):
        ranker.next_after("nope", "ann", [], np.empty(0, np.int64), 5)


@settings(max_examples=50, deadline=None)
@given(
    out=st.sets(st.integers(0, 5)), limit=st.integers(1, 4), user=st.sampled_from(["ann", "bob", "stranger"])
)
def test_the_rest_pages_through_exactly_what_is_left(one_ranker, out, limit, user):
    rows, offset = [], 0
    while page := one_ranker.rest("svd", user, np.array(sorted(out), np.int64), limit, offset).rows:
        assert len(page) <= limit
        rows += page
        offset += limit
    assert sorted(rows) == sorted(set(ALL) - out)

"""Candidates: exactly the best that were not met, from a model of any vocabulary, one by one, together or by index."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.fold_in import MeanFoldIn
from serving.pipeline import ann, retrieval
from serving.pipeline.retrieval import Query, ScoringFailed, query_of, search, search_together
from serving.pipeline.space import Space

from .made import catalogue_of, clustered, model_of, names

NONE = np.empty(0, np.int64)


def space_of(model_videos, catalogue_videos, seed=0, users=6, d=4, bias=0.5):
    rng = np.random.default_rng(seed)
    model = model_of(
        "two-tower",
        {f"u{i}": rng.normal(size=d) for i in range(users)},
        {video: rng.normal(size=d) for video in model_videos},
        bias * rng.normal(size=len(model_videos)),
        MeanFoldIn(7.0),
    )
    return Space.of("two-tower", model, catalogue_of(catalogue_videos))


def brute(space, query, k):
    """Rows by score, by looking at each catalogue row on its own."""
    model, scored = space.model, []
    for row, column in enumerate(space.columns.tolist()):
        if column >= 0 and row not in set(query.met.tolist()):
            score = float(model.video_factors[column] @ query.vector + model.video_bias[column])
            scored.append((-score, row))
    return [row for _, row in sorted(scored)[:k]], [-score for score, _ in sorted(scored)[:k]]


worlds = st.tuples(
    st.sets(st.integers(0, 30), min_size=1),
    st.sets(st.integers(0, 30), min_size=1),
    st.sets(st.integers(0, 30)),
    st.integers(1, 12),
    st.integers(0, 5),
)


@settings(max_examples=150, deadline=None)
@given(worlds)
def test_the_best_are_exactly_the_best_whatever_the_model_knows(given_world):
    in_model, in_catalogue, met, k, seed = given_world
    videos = [f"v{i:02d}" for i in sorted(in_catalogue)]
    space = space_of([f"v{i:02d}" for i in sorted(in_model)], videos, seed)
    met_rows = np.array(
        [row for row in range(len(videos)) if row in met] * 2, np.int64
    )  # repeats are possible
    query = query_of(space, "u1", met_rows, [])
    found = search(query, k)
    rows, scores = brute(space, query, k)
    assert found.rows.tolist() == rows
    np.testing.assert_allclose(found.scores, scores, atol=1e-5)
    assert (found.kind, found.source) == ("two-tower", "personal")
    (together,) = search_together([query], k)
    assert together.rows.tolist() == rows


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.sets(st.integers(0, 39))), min_size=1, max_size=12))
def test_together_is_one_by_one(asked):
    space = space_of(names(40), names(40), seed=3)
    queries = [query_of(space, f"u{user}", np.array(sorted(met), np.int64), []) for user, met in asked]
    for query, found in zip(queries, search_together(queries, 10), strict=True):
        alone = search(query, 10)
        assert found.rows.tolist() == alone.rows.tolist()
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-5)
        assert not set(found.rows.tolist()) & set(query.met.tolist())


def test_videos_that_left_the_catalogue_take_nobodys_place():
    space = space_of(names(50), names(50)[45:], seed=1)
    query = query_of(space, "u0", NONE, [])
    assert sorted(search(query, 3).rows.tolist()) == sorted(brute(space, query, 3)[0])
    assert len(search(query, 5).rows) == 5
    assert len(search_together([query], 5)[0].rows) == 5


def test_a_model_gives_its_own_scores_for_the_rest_the_same():
    space = space_of(names(20), names(20))
    whole = search(query_of(space, "u0", NONE, []), 20)
    expected = space.model.scores(["u0"])[0]
    np.testing.assert_allclose(whole.scores, np.sort(expected)[::-1], atol=1e-5)


def test_who_the_model_does_not_know_is_asked_for_by_their_session_or_not_at_all():
    space = space_of(names(20), names(20))
    assert query_of(space, "stranger", NONE, []) is None
    query = query_of(space, "stranger", np.array([3]), [3])
    assert (query.known, search(query, 5).source) == (False, "session")
    assert (
        query_of(space_of(names(5), names(20)), "stranger", NONE, [7]) is None
    )  # the model knows no such video


def test_a_session_vector_is_the_contracts_as_long_as_the_users_own():
    query = Query(None, "u", NONE, long=np.array([3, 0], np.float32), short=np.array([0, 0.5], np.float32))
    np.testing.assert_allclose(query.vector, [0.7 * 3, 0.3 * 3], atol=1e-6)
    assert dataclasses.replace(query, short=None).vector.tolist() == [3, 0]
    assert dataclasses.replace(query, long=None).vector.tolist() == [0, 0.5]
    assert dataclasses.replace(query, short=np.zeros(2, np.float32)).vector.tolist() == [3, 0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_a_failure(bad):
    space = space_of(names(5), names(5))
    query = dataclasses.replace(query_of(space, "u0", NONE, []), long=np.full(4, bad, np.float32))
    with np.errstate(all="ignore"), pytest.raises(ScoringFailed, match="two-tower"):
        search(query)


class Other:
    """A model without factors, such as neighbours."""

    user_ids, video_ids = np.array(["u"]), np.array(names(5))

    def scores(self, user_ids):
        return np.array([[1, 5, 3, 2, 4]], np.float32)


def test_a_model_without_factors_ranks_who_it_knows():
    space = Space.of("item-item", Other(), catalogue_of(names(5)))
    assert query_of(space, "stranger", NONE, [1]) is None
    assert search(query_of(space, "u", np.array([1, 1]), [1]), 3).rows.tolist() == [4, 2, 3]


# --- by index ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large():
    """10,000 videos in clusters, 300 users, and the index that `build` makes of them."""
    rng = np.random.default_rng(11)
    videos, users = clustered(rng, 10_000, 16, 60), clustered(rng, 300, 16, 20)
    model = model_of(
        "two-tower",
        dict(zip(names(300, "u"), users, strict=True)),
        dict(zip(names(10_000), videos, strict=True)),
        rng.normal(size=10_000) / 3,
    )
    index = ann.build(model)
    assert index is not None
    return model, index, catalogue_of(names(10_000))


def test_an_index_finds_what_it_promises(large):
    model, index, catalogue = large
    assert index.record.recall >= ann.TARGET_RECALL
    assert index.record.users == 200
    exact, quick = Space.of("two-tower", model, catalogue), Space.of("two-tower", model, catalogue, index)
    recalls = []
    for user in names(300, "u"):
        best = search(query_of(exact, user, NONE, []), 100).rows
        found = search(query_of(quick, user, NONE, []), 100)
        assert len(found.rows) == 100
        assert (np.diff(found.scores) <= 1e-6).all()
        recalls.append(len(np.intersect1d(best, found.rows)) / 100)
    assert np.mean(recalls) >= 0.95


def test_an_index_gives_the_models_scores_and_nothing_that_was_met(large):
    model, index, catalogue = large
    space = Space.of("two-tower", model, catalogue, index)
    met = search(query_of(space, "u0007", NONE, []), 150).rows
    query = query_of(space, "u0007", np.concatenate([met, met]), [])
    found = search(query, 100)
    assert len(found.rows) == 100
    assert not set(found.rows.tolist()) & set(met.tolist())
    expected = model.scores(["u0007"])[0][found.rows]
    np.testing.assert_allclose(found.scores, expected, atol=1e-4)


def test_an_index_passes_over_what_left_the_catalogue(large):
    model, index, _ = large
    kept = names(10_000)[::7]
    space = Space.of("two-tower", model, catalogue_of(kept), index)
    found = search(query_of(space, "u0007", NONE, []), 100)
    assert len(found.rows) == 100
    assert found.rows.max() < len(kept)
    columns = np.arange(10_000)[::7]
    best = np.argsort(-model.scores(["u0007"])[0][columns])[:100]
    assert len(np.intersect1d(best, found.rows)) >= 90


def test_where_the_lists_hold_too_few_all_are_scored(large, monkeypatch):
    model, index, catalogue = large
    exact, quick = Space.of("two-tower", model, catalogue), Space.of("two-tower", model, catalogue, index)
    met = search(query_of(exact, "u0007", NONE, []), 9_000).rows  # more than a search may bring
    whole, short = (search(query_of(space, "u0007", met, []), 200) for space in (exact, quick))
    assert short.rows.tolist() == whole.rows.tolist()
    assert len(short.rows) == 200


def test_a_saved_index_is_the_same_index(large, tmp_path):
    model, index, _ = large
    index.save(tmp_path / "i")
    loaded = ann.VectorIndex.load(tmp_path / "i")
    assert loaded.record == index.record
    for user in (0, 17, 299):
        for mine, theirs in zip(
            index.search(model.user_factors[user], 50),
            loaded.search(model.user_factors[user], 50),
            strict=True,
        ):
            assert mine.tolist() == theirs.tolist()
    assert ann.VectorIndex.load(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "index.faiss").write_bytes(b"IwFlnothing"),
        lambda folder: (folder / "index.faiss").write_bytes(b""),
        lambda folder: (folder / "index.faiss").unlink(),
        lambda folder: (folder / "index.json").write_text("{"),
        lambda folder: (folder / "index.json").write_text("{}"),
        lambda folder: (folder / "index.json").write_text(
            json.dumps({"lists": 1, "probes": 1, "recall": 1, "men": 0})
        ),
        lambda folder: (folder / "index.json").write_text("[]"),
    ],
)
def test_a_broken_index_is_an_error_of_its_files(large, tmp_path, damage):
    large[1].save(tmp_path / "i")
    damage(tmp_path / "i")
    with pytest.raises((ValueError, OSError)):
        ann.VectorIndex.load(tmp_path / "i")


def test_no_index_is_better_than_one_that_misses_too_much(large, monkeypatch):
    rng = np.random.default_rng(2)  # no clusters at all, many dimensions: lists say little of who is near
    model = model_of(
        "svd",
        dict(zip(names(50, "u"), rng.normal(size=(50, 64)), strict=True)),
        dict(zip(names(3000), rng.normal(size=(3000, 64)), strict=True)),
    )
    monkeypatch.setattr(ann, "_PROBES", (1, 2))
    assert ann.build(model) is None


def test_no_index_without_users_to_measure_it_with():
    assert ann.build(model_of("svd", {}, dict.fromkeys(names(100), (1.0,)))) is None


def test_a_model_of_a_few_videos_has_no_use_for_an_index():
    assert ann.build(model_of("svd", {"u": (1.0,)}, dict.fromkeys(names(3), (1.0,)))) is None


def test_enough_candidates_for_the_longest_page():
    assert retrieval.CANDIDATES >= 100 + 100

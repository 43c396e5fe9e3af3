"""The content model: users by what they watched, videos by what is known of them, new ones without fitting again."""

from pathlib import Path

import numpy as np
import pytest

from ml.content import embeddings, fit, with_new_videos
from ml.content_config import ContentConfig, FieldWeights
from ml.content_encoder import ContentEncoder
from ml.dataset import Catalogue
from ml.errors import ConfigurationError
from ml.factors import FactorModel
from ml.recommender import Past
from ml.saved import load
from tests.ml.planted import HOUR_MS, interactions, known, taste_videos, tastes

DAY = 24  # hours

ACTS = ["sleeps", "jumps", "eats"]
FACTS = Catalogue.of(
    ["cat-1", "cat-2", "cat-3", "dog-1", "dog-2", "dog-3", "blank"],
    titles=[*(f"furry cat {does}" for does in ACTS), *(f"loud dog {does}" for does in ACTS), ""],
)


def model_of(rows: list, facts: Catalogue = FACTS, **settings: object) -> FactorModel:
    model = fit(known(rows, facts), ContentConfig.model_validate({"dim": 4, **settings})).model
    assert isinstance(model, FactorModel)
    return model


def test_a_score_is_the_cosine_of_the_video_and_of_what_was_watched() -> None:
    model = model_of([("u", "cat-1", 0, 1.0)])
    watched = model.video_factors[model.video_ids == "cat-1"][0]
    np.testing.assert_allclose(model.scores(["u"])[0], model.video_factors @ watched, atol=1e-6)
    assert model.scores(["u"])[0].max() == pytest.approx(1.0)
    first, *others = [video for video, _ in model.recommend(["u"], 3)[0]]
    assert (first, set(others)) == ("cat-1", {"cat-2", "cat-3"})


def test_a_video_that_nobody_played_is_found_by_its_words() -> None:
    model = model_of([("u", "cat-1", 0, 1.0), ("u", "cat-2", 1, 1.0)])
    (ranked,) = model.recommend(["u"], 1, {"u": {"cat-1", "cat-2"}})
    assert ranked[0][0] == "cat-3"


def test_a_video_of_which_nothing_is_known_is_a_candidate_with_score_zero() -> None:
    model = model_of([("u", "cat-1", 0, 1.0), ("u", "not in the catalogue", 0, 1.0)])
    scores = dict(model.recommend(["u"], 100)[0])
    assert (scores["blank"], scores["not in the catalogue"]) == (0, 0)
    assert model.similar("blank", 5) == []


def test_who_watched_only_what_is_not_known_scores_like_a_stranger() -> None:
    model = model_of([("u", "blank", 0, 1.0), ("v", "cat-1", 0, 1.0)])
    assert model.knows("u")
    assert not model.scores(["u"]).any()
    assert not model.scores(["nobody"]).any()


def test_a_watch_of_a_half_life_ago_counts_half() -> None:
    rows = [("u", "cat-1", 0, 1.0), ("u", "dog-1", 2 * DAY, 1.0)]
    model = model_of(rows, half_life_days=2.0)
    old, new = (model.video_factors[model.video_ids == video][0] for video in ("cat-1", "dog-1"))
    expected = 0.5 * old + new
    np.testing.assert_allclose(model.user_factors[0], expected / np.linalg.norm(expected), atol=1e-5)


def test_a_user_s_past_gives_the_vector_that_training_gives() -> None:
    everything = known(tastes())
    model = fit(everything, ContentConfig()).model
    rows = everything.interactions.take(everything.interactions.user_ids == "A-fan-1")
    ages = (everything.as_of_ms - rows.started_at_ms) / (24 * HOUR_MS)
    past = Past(rows.video_ids.tolist(), rows.weights.tolist(), ages.tolist())
    np.testing.assert_allclose(model.scores_for([past]), model.scores(["A-fan-1"]), atol=1e-5)


def test_nothing_depends_on_the_seed() -> None:
    first, second = (fit(known(tastes()), ContentConfig(), seed=seed).model for seed in (0, 1))
    np.testing.assert_array_equal(first.scores(["A-fan-1"]), second.scores(["A-fan-1"]))


def test_a_data_set_without_words_is_told_apart_by_its_facts() -> None:
    facts = Catalogue.of(
        [f"v{n}" for n in range(8)],
        tags=[("39", "2"), ("39",), ("39",), ("2",), ("7",), ("7",), ("7",), ()],
        creator_ids=["c1", "c1", "c2", "c2", "c3", "c3", "c4", "c4"],
        durations_ms=[7_000] * 4 + [60_000] * 4,
    )
    model = model_of([("u", "v0", 0, 1.0)], facts)
    assert {video for video, _ in model.recommend(["u"], 4)[0]} == {"v0", "v1", "v2", "v3"}


def test_the_weight_of_a_fact_decides_what_is_alike() -> None:
    facts = Catalogue.of(
        ["a", "b", "c", "d"], creator_ids=["x", "x", "y", "y"], tags=[("1",), ("2",), ("1",), ("2",)]
    )
    by_creator = model_of([("u", "a", 0, 1)], facts, weights=FieldWeights(creator=2, tag=1))
    by_tag = model_of([("u", "a", 0, 1)], facts, weights=FieldWeights(creator=1, tag=2))
    assert by_creator.similar("a", 1)[0][0] == "b"
    assert by_tag.similar("a", 1)[0][0] == "c"


def test_a_new_video_is_recommended_without_fitting_again(tmp_path: Path) -> None:
    fitted = fit(known([("u", "cat-1", 0, 1.0), ("u", "cat-2", 0, 1.0)], FACTS), ContentConfig(dim=4))
    fitted.model.save(tmp_path / "model")
    np.savez(tmp_path / "weights.npz", allow_pickle=False, **fitted.weights)  # as `ml.pipeline` keeps them
    model, encoder = load(tmp_path / "model"), ContentEncoder.load(tmp_path / "weights.npz")
    assert isinstance(model, FactorModel)
    later = Catalogue.of(
        ["dog-9", "a cat", "cat-1"], titles=["loud dog sleeps", "cat sleeps, furry", "dog dog dog"]
    )
    more = with_new_videos(model, encoder, later)
    assert more.video_ids.tolist() == sorted([*FACTS.video_ids.tolist(), "dog-9", "a cat"])
    scores = dict(more.recommend(["u"], 100)[0])
    assert scores["a cat"] == pytest.approx(scores["cat-1"], abs=1e-5)  # the same words
    assert scores["a cat"] > 0.5 > scores["dog-9"]
    old = dict(model.recommend(["u"], 100)[0])
    assert {video: scores[video] for video in old} == pytest.approx(old, abs=1e-6)


def test_embeddings_are_in_the_order_of_the_catalogue_and_of_length_one_or_zero() -> None:
    vectors = embeddings(FACTS, ContentConfig(dim=4))
    assert (vectors.shape, vectors.dtype) == ((7, 4), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1] * 6 + [0], atol=1e-6)
    backwards = Catalogue.of(FACTS.video_ids[::-1], titles=FACTS.titles[::-1])
    again = embeddings(backwards, ContentConfig(dim=4))[::-1]
    np.testing.assert_allclose(again @ again.T, vectors @ vectors.T, atol=1e-4)


def test_embeddings_of_the_planted_tastes_are_two_groups() -> None:
    facts = known(interactions([]), taste_videos()).catalogue
    vectors = embeddings(facts, ContentConfig())
    of_a = np.asarray([video.startswith("A") for video in facts.video_ids])
    of_b = np.asarray([video.startswith("B") for video in facts.video_ids])
    alike = vectors @ vectors.T
    assert alike[of_a][:, of_a].min() > alike[of_a][:, of_b].max()


def test_a_sentence_encoder_that_is_not_there_is_an_error_before_anything_is_fitted() -> None:
    with pytest.raises(ConfigurationError, match=r"content.encoder_path: no folder at .*never downloaded"):
        embeddings(FACTS, ContentConfig(encoder_path="all-MiniLM-L6-v2"))

"""Features, towers and the fit of the two-tower model."""

import math

import numpy as np
import pytest
import torch

from ml.config import TrainConfig
from ml.dataset import Catalogue, Encoded, Known, People
from ml.errors import ConfigurationError, EmptyTrainingSetError, TrainingSetError
from ml.factors import FactorModel
from ml.features import MAX_TAGS, ProfileSchema, VideoSchema
from ml.fit import fit as fit_kind
from ml.histories import Histories
from ml.recommender import Recommender
from ml.tower_priors import DAY_MS, log_prior, video_ages
from ml.tower_training import rate_at
from ml.towers import Past, Sizes, TwoTower, choose_device
from ml.two_tower import GAINS, fit, reproducible
from ml.two_tower_config import TwoTowerConfig
from tests.ml.planted import (
    HOUR_MS,
    START_MS,
    catalogue,
    everybody,
    interactions,
    known,
    taste_videos,
    tastes,
)

QUICK = TwoTowerConfig(epochs=2, batch_size=64)
SIZES = Sizes(users=3, videos=4, video_columns=(2, 2, 2, 2, 2), profile_columns=(2, 2, 2, 2, 2))


def past(users: list[int], codes: list[list[int]], weights: list[list[float]]) -> Past:
    return Past(
        users=torch.tensor(users),
        profiles=torch.zeros((len(users), 5), dtype=torch.long),
        codes=torch.tensor(codes),
        weights=torch.tensor(weights),
        ages_days=torch.zeros((len(users), len(codes[0]))),
    )


def test_videos_are_encoded_with_zero_for_what_is_unknown_or_was_not_known_in_training() -> None:
    videos = Catalogue.of(
        ["b", "a", "d"],
        creator_ids=["zed", "", "amy"],
        categories=["x", "x", ""],
        languages=["", "de", "en"],
        durations_ms=[5_000, 5_001, -1],
        tags=[("cat", "dog"), (), tuple(f"t{n}" for n in range(MAX_TAGS + 1))],
    )
    schema = VideoSchema.of(videos, content_dim=2)
    vectors = np.asarray([[1, 2], [3, 4], [5, 6]], dtype=np.float32)
    found = schema.encode(videos, np.asarray(["a", "b", "c", "d"]), vectors)
    # columns creator, category, language, duration bucket; c is not in the catalogue
    assert found.codes.tolist() == [[0, 1, 1, 2], [2, 1, 0, 1], [0, 0, 0, 0], [1, 0, 2, 0]]
    assert found.content.tolist() == [[3, 4], [1, 2], [0, 0], [5, 6]]
    assert found.tags[:3].tolist() == [[0] * 8, [1, 2, *[0] * 6], [0] * 8]
    assert found.tags[3].tolist() == [3, 4, 5, 6, 7, 8, 9, 10]  # the ninth is left out
    assert schema.sizes == (3, 2, 3, 15, 11)
    later = Catalogue.of(["e"], creator_ids=["new"], categories=["x"], tags=[("dog", "unheard")])
    again = schema.encode(later, np.asarray(["e"]))
    assert again.codes.tolist() == [[0, 1, 0, 0]]
    assert again.tags[0, :3].tolist() == [2, 0, 0]
    assert again.content.tolist() == [[0, 0]]


def test_profiles_are_encoded_with_zero_for_what_is_unknown() -> None:
    people = People(
        user_ids=np.asarray(["v", "u"]),
        ages=np.asarray([-1, 25]),
        genders=np.asarray(["", "female"]),
        languages=np.asarray(["de", "en"]),
        regions=np.asarray(["", ""]),
        device_types=np.asarray(["ios", "web"]),
    )
    schema = ProfileSchema.of(people)
    codes = schema.encode(people, np.asarray(["nobody", "u", "v"]))
    assert codes.tolist() == [[0, 0, 0, 0, 0], [4, 1, 2, 0, 2], [0, 0, 1, 0, 1]]
    assert schema.sizes == (9, 2, 3, 1, 3)


def test_histories_hold_the_newest_videos_first_with_weights_and_ages() -> None:
    rows = interactions([("u", "a", 0, 1.0), ("u", "b", 24, 0.5), ("v", "c", 36, 0.2), ("u", "c", 48, 1.0)])
    histories = Histories.of(Encoded.of(rows, catalogue([])), length=2)
    asked_ms = np.asarray([0, 24, 48, 72, 72]) * HOUR_MS + START_MS
    found = histories.before(np.asarray([0, 0, 0, 0, 1]), asked_ms)
    assert found.codes.tolist() == [[0, 0], [1, 0], [2, 1], [3, 2], [3, 0]]  # a = 1, b = 2, c = 3
    np.testing.assert_allclose(found.weights, [[0, 0], [1, 0], [0.5, 1], [1, 0.5], [0.2, 0]], rtol=1e-6)
    np.testing.assert_allclose(found.ages_days, [[0, 0], [1, 0], [1, 2], [1, 2], [1.5, 0]], rtol=1e-6)


def test_an_interaction_is_known_from_the_millisecond_after_its_end() -> None:
    rows = interactions([("u", "a", 0, 1.0)])
    histories = Histories.of(Encoded.of(rows, catalogue([])), length=1)
    ended_ms = int(rows.ended_at_ms[0])
    assert histories.before(np.asarray([0, 0]), np.asarray([ended_ms, ended_ms + 1])).codes.tolist() == [
        [0],
        [1],
    ]


def test_the_prior_is_the_log_of_fading_positives_that_had_ended() -> None:
    rows = interactions([("u", "a", 0, 1.0), ("v", "a", 24, 1.0), ("w", "b", 24, 0.3)])
    data = Encoded.of(rows, catalogue([]))
    for hour, expected in ((0, 0), (24, math.log1p(0.5)), (48, math.log1p(0.25 + 0.5))):
        found = log_prior(data, START_MS + hour * HOUR_MS, half_life_days=1)
        np.testing.assert_allclose(found, [expected, 0], rtol=1e-6)


def test_a_video_is_of_unknown_age_or_not_there_yet_or_so_many_days_old() -> None:
    ages = video_ages(np.asarray([-1, 10 * DAY_MS, 0]), np.asarray([9 * DAY_MS, 400 * DAY_MS]))
    assert ages.tolist() == [[0, 1, 7], [0, 11, 11]]


def test_the_score_of_a_video_has_its_bias_its_age_and_its_recent_popularity() -> None:
    planted = known(tastes())
    fitted = fit(planted, QUICK.model_copy(update={"popularity_gain": 2.0, "popularity_half_life_days": 1.0}))
    assert isinstance(fitted.model, FactorModel)
    prior = log_prior(Encoded.of(planted.interactions, planted.catalogue), planted.as_of_ms, 1.0)
    age = fitted.weights["age"][5]  # uploaded a day before the first of two days
    np.testing.assert_allclose(fitted.model.video_bias, fitted.weights["bias"] + age + 2 * prior, rtol=1e-5)


def test_vectors_have_length_one_before_the_scale() -> None:
    fitted = fit(known(tastes()), QUICK)
    assert isinstance(fitted.model, FactorModel)
    scale = float(np.exp(fitted.weights["log_scale"]))
    np.testing.assert_allclose(np.linalg.norm(fitted.model.video_factors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(fitted.model.user_factors, axis=1), scale, rtol=1e-5)


def test_the_towers_have_the_shape_of_the_contract() -> None:
    towers = TwoTower(SIZES, TwoTowerConfig())
    for tower in (towers.user_tower, towers.video_tower):
        widths = [layer.out_features for layer in tower if isinstance(layer, torch.nn.Linear)]
        assert widths == [128, 64, 64]


def test_every_user_with_history_has_a_vector_even_without_positives() -> None:
    rows = interactions([("liker", "a", 0, 1.0), ("liker", "b", 1, 1.0), ("skimmer", "a", 2, 0.3)])
    model = fit(known(rows, []), QUICK).model
    assert isinstance(model, FactorModel)
    assert model.knows("skimmer")
    assert np.linalg.norm(model.user_factors[1]) > 0


def test_a_user_without_history_has_the_learned_vector_for_it_and_others_do_not() -> None:
    towers = TwoTower(SIZES, TwoTowerConfig()).eval()
    nothing, something = past([1], [[0, 0]], [[0.0, 0.0]]), past([1], [[2, 0]], [[1e-20, 0.0]])
    with torch.inference_mode():
        before = towers.user_vectors(nothing), towers.user_vectors(something)
        towers.no_history += 1.0
        after = towers.user_vectors(nothing), towers.user_vectors(something)
    assert torch.isfinite(before[0]).all()
    assert not torch.allclose(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_a_past_is_pooled_by_weight_rank_and_age() -> None:
    towers = TwoTower(SIZES, TwoTowerConfig(history_half_life_days=2)).eval()
    with torch.no_grad():
        towers.weight_power.fill_(2.0)
        towers.log_rank_decay.fill_(math.log(math.log(2)))  # each newer video halves the share
        given = past([1], [[1, 3]], [[1.0, 0.5]])._replace(ages_days=torch.tensor([[0.0, 4.0]]))
        shares = np.asarray([1.0, 0.5**2 * 0.5 * 0.25])
        table = towers.history.weight.numpy()
        expected = (shares[0] * table[1] + shares[1] * table[3]) / (shares.sum() + 1e-3)
        np.testing.assert_allclose(towers.pooled(given)[0].numpy(), expected, rtol=1e-5)


def test_no_positive_interaction_is_an_error() -> None:
    with pytest.raises(EmptyTrainingSetError, match="no positive"):
        fit(known([("u", "a", 0, 0.3)], []), QUICK)


def test_content_vectors_must_be_the_catalogue_s_and_are_learned_from() -> None:
    planted = known(tastes())
    content = np.eye(len(planted.catalogue), 3, dtype=np.float32)
    fitted = fit(planted, QUICK, content=content)
    assert fitted.weights["content.weight"].shape == (64, 3)
    with pytest.raises(TrainingSetError, match="2 vectors for 31 videos"):
        fit(planted, QUICK, content=content[:2])


def test_profiles_and_large_tables_are_learned_too() -> None:
    """Of large tables only the rows that were touched change; the video that nobody played keeps its start."""
    rows = tastes()
    config = TwoTowerConfig(
        epochs=1, batch_size=64, lazy_rows=1, whole_catalogue_up_to=0, uniform_negatives=2
    )
    planted = Known.of(rows, known(rows).catalogue, everybody(rows))
    fitted = fit(planted, config)
    with reproducible(0, 1):
        sizes = Sizes(
            100, 31, VideoSchema.of(planted.catalogue).sizes, ProfileSchema.of(planted.people).sizes
        )
        start = TwoTower(sizes, config)
    moved = (fitted.weights["history.weight"] != start.history.weight.detach().numpy()).any(axis=1)
    assert moved[1:-1].all()
    assert not moved[-1]
    assert (fitted.weights["profiles.0.weight"] != start.profiles[0].weight.detach().numpy()).any()


def test_bfloat16_learns_the_same_tastes() -> None:
    config = TwoTowerConfig(epochs=3, batch_size=64)
    full = fit(known(tastes()), config).curve
    half = fit(known(tastes()), config.model_copy(update={"precision": "bfloat16"})).curve
    assert half != full
    assert half == pytest.approx(full, rel=0.05)


def test_float16_without_a_gpu_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="float16 needs a GPU"):
        fit(known(tastes()), TwoTowerConfig(precision="float16", device="cpu"))


def test_training_stops_when_validation_does_and_a_later_fit_needs_no_validation() -> None:
    values = iter([0.1, 0.5, 0.4, 0.3, *[0.0, 0.1, 0.2, 0.9, 0.3, 0.4], 0, 0, 0])
    seen: list[Recommender] = []

    def validate(model: Recommender) -> float:
        seen.append(model)
        return next(values)

    config = TwoTowerConfig(epochs=10, batch_size=64, patience=2)
    fitted = fit(known(tastes()), config, validate=validate)
    assert len(fitted.curve) == 4
    assert fitted.found == {"stop_after": 2, "popularity_gain": GAINS[3]}
    assert isinstance(fitted.model, FactorModel)
    assert isinstance(seen[1], FactorModel)
    np.testing.assert_array_equal(fitted.model.video_factors, seen[1].video_factors)
    again = fit(known(tastes()), config.model_copy(update=dict(fitted.found)))
    assert isinstance(again.model, FactorModel)
    assert again.curve == fitted.curve[:2]
    np.testing.assert_array_equal(again.model.user_factors, fitted.model.user_factors)
    np.testing.assert_array_equal(again.model.video_bias, fitted.model.video_bias)


def test_the_learning_rate_rises_and_falls_once() -> None:
    assert rate_at(0) == pytest.approx(1 / 25)
    assert rate_at(0.1) == pytest.approx(1)
    assert rate_at(0.55) == pytest.approx(0.5)
    assert rate_at(1) == pytest.approx(0)


def test_training_leaves_torch_s_random_state_and_threads_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3).tolist()
    torch.manual_seed(7)
    threads = torch.get_num_threads()
    with reproducible(seed=1, threads=threads + 1):
        torch.rand(10)
    assert torch.rand(3).tolist() == expected
    assert torch.get_num_threads() == threads


def test_the_device_follows_what_is_there() -> None:
    there = torch.cuda.is_available()
    assert choose_device("auto").type == ("cuda" if there else "cpu")
    assert choose_device("cpu").type == "cpu"
    if not there:
        with pytest.raises(ConfigurationError, match="torch sees no GPU"):
            choose_device("cuda")


def test_a_setting_that_cannot_work_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"two_tower\.epochs: .* \(got 0\)"):
        TrainConfig.of({"two_tower": {"epochs": 0}})
    with pytest.raises(ConfigurationError, match="nonsense"):
        TrainConfig.of({"nonsense": 1})


def test_a_config_is_taken_as_it_is_or_made_of_defaults() -> None:
    config = TrainConfig(seed=3)
    assert TrainConfig.of(config) is config
    assert TrainConfig.of(None) == TrainConfig() == TrainConfig.of({})


def test_the_video_tower_reads_content_vectors_if_told_to() -> None:
    data = Known.of(tastes(), catalogue(taste_videos()))
    own = {"epochs": 1, "batch_size": 64, "uniform_negatives": 16}
    plain, told = (
        fit_kind("two-tower", data, TrainConfig.of({"two_tower": {**own, "content_vectors": on}}))
        for on in (False, True)
    )
    assert "content.weight" not in plain.weights
    assert told.weights["content.weight"].shape[0] == TrainConfig().two_tower.dim
    assert not np.array_equal(plain.model.scores(["A-fan-1"]), told.model.scores(["A-fan-1"]))

"""Features, loss and state of the two-tower model."""

import math

import numpy as np
import pytest
import torch

from ml.config import PopularityConfig, TrainConfig, TwoTowerConfig
from ml.dataset import Catalogue, Encoded
from ml.errors import ConfigurationError, EmptyTrainingSetError
from ml.features import DAY_MS, DailyPriors, log_prior, video_codes
from ml.histories import Histories
from ml.popularity import fit as fit_popularity
from ml.towers import TwoTower, choose_device
from ml.two_tower import fit, reproducible
from tests.ml.planted import HOUR_MS, START_MS, catalogue, interactions, taste_videos, tastes

QUICK = TwoTowerConfig(epochs=2, batch_size=64, uniform_negatives=16)


def test_video_codes_number_creator_category_and_duration_with_zero_for_unknown() -> None:
    videos = Catalogue(
        video_ids=np.asarray(["b", "a", "d"]),
        creator_ids=np.asarray(["zed", "", "amy"]),
        categories=np.asarray(["x", "x", ""]),
        languages=np.asarray(["", "", ""]),
        durations_ms=np.asarray([5_000, 5_001, -1]),
    )
    data = Encoded.of(interactions([("u", "c", 0, 1)]), videos)  # c was played, but is not in the catalogue
    codes, sizes = video_codes(data, videos)
    # rows a, b, c, d; columns id, creator ('' amy zed -> 1 2 3, '' is unknown), category, duration bucket
    assert codes.tolist() == [[1, 0, 2, 2], [2, 3, 2, 1], [3, 0, 0, 0], [4, 2, 0, 0]]
    assert sizes == (5, 4, 3, 15)
    assert (codes.max(axis=0) < sizes).all()


def test_histories_hold_the_newest_videos_first_with_fading_weights() -> None:
    rows = interactions([("u", "a", 0, 1.0), ("u", "b", 24, 0.5), ("v", "c", 36, 0.2), ("u", "c", 48, 1.0)])
    config = TwoTowerConfig(history_length=2, history_half_life_days=1)
    histories = Histories.of(Encoded.of(rows, catalogue([])), config)
    asked_ms = np.asarray([0, 24, 48, 72, 72]) * HOUR_MS + START_MS
    codes, weights = histories.before(np.asarray([0, 0, 0, 0, 1]), asked_ms)
    assert codes.tolist() == [[0, 0], [1, 0], [2, 1], [3, 2], [3, 0]]  # a = 1, b = 2, c = 3
    expected = [[0, 0], [0.5, 0], [0.5 * 0.5, 0.25], [0.5, 0.5 * 0.25], [0.2 * 0.5**1.5, 0]]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_an_interaction_is_known_from_the_millisecond_after_its_end() -> None:
    rows = interactions([("u", "a", 0, 1.0)])
    histories = Histories.of(Encoded.of(rows, catalogue([])), TwoTowerConfig(history_length=1))
    ended_ms = int(rows.ended_at_ms[0])
    codes, _ = histories.before(np.asarray([0, 0]), np.asarray([ended_ms, ended_ms + 1]))
    assert codes.tolist() == [[0], [1]]


def test_the_prior_is_the_log_of_fading_positives() -> None:
    rows = interactions([("u", "a", 0, 1.0), ("v", "a", 24, 1.0), ("w", "b", 24, 0.3)])
    prior = log_prior(Encoded.of(rows, catalogue([])), half_life_days=1)
    minute = 0.5 ** (1 / 1440)  # asked when the last row has ended
    assert prior.tolist() == pytest.approx([math.log1p(1.5 * minute), 0], rel=1e-6)


def test_the_prior_of_a_day_counts_what_had_ended_before_the_day_began() -> None:
    midnight_h = (DAY_MS - START_MS % DAY_MS) / HOUR_MS
    rows = interactions(
        [
            ("u", "a", midnight_h - 12, 1.0),
            ("u", "b", midnight_h - 0.001, 1.0),  # over midnight: counts from the next day on
            ("u", "a", midnight_h + 6, 1.0),
            ("u", "c", midnight_h + 30, 1.0),
        ]
    )
    priors = DailyPriors.of(Encoded.of(rows, catalogue([])), half_life_days=1)
    assert priors.rows_at(rows.started_at_ms).tolist() == [0, 0, 1, 2]
    expected = np.log1p(
        [
            [0, 0, 0],
            [0.5**0.5, 0, 0],
            [0.5**1.5 + 0.5**0.75, 0.5 ** (1 + 0.001 / 24), 0],
        ]
    )
    np.testing.assert_allclose(priors.table, expected, rtol=1e-6)


def test_popularity_counts_plays_halved_by_age() -> None:
    rows = interactions([("u", "a", 0, 1.0), ("v", "b", 24, 0.2), ("w", "a", 48, 1.0)])
    model = fit_popularity(rows, catalogue(["c"]), PopularityConfig(half_life_days=1)).model
    assert model.recommend(["anyone"], 3) == [[("a", 1.25), ("b", 0.5), ("c", 0.0)]]


def test_vectors_have_length_one_before_the_temperature() -> None:
    model = fit(tastes(), catalogue(taste_videos()), QUICK).model
    np.testing.assert_allclose(np.linalg.norm(model.video_factors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(model.user_factors, axis=1), 1 / QUICK.temperature, rtol=1e-5)


def test_the_towers_have_the_shape_of_the_contract() -> None:
    towers = TwoTower(3, (5, 2, 2, 2), TwoTowerConfig())
    widths = [layer.out_features for layer in towers.user_tower if isinstance(layer, torch.nn.Linear)]
    assert widths == [128, 64, 64]


def test_every_user_with_history_has_a_vector_even_without_positives() -> None:
    rows = interactions([("liker", "a", 0, 1.0), ("liker", "b", 1, 1.0), ("skimmer", "a", 2, 0.3)])
    model = fit(rows, catalogue([]), QUICK).model
    assert model.knows("skimmer")
    assert np.linalg.norm(model.user_factors[1]) > 0


def test_a_history_of_nothing_is_finite() -> None:
    towers = TwoTower(1, (3, 2, 2, 2), TwoTowerConfig()).eval()
    vector = towers.user_vectors(
        torch.tensor([1]), torch.zeros((1, 4), dtype=torch.long), torch.zeros((1, 4))
    )
    assert torch.isfinite(vector).all()


def test_a_user_without_history_has_the_learned_vector_for_it_and_others_do_not() -> None:
    towers = TwoTower(1, (3, 2, 2, 2), TwoTowerConfig()).eval()
    nothing = torch.tensor([1]), torch.tensor([[2]]), torch.tensor([[0.0]])
    something = torch.tensor([1]), torch.tensor([[2]]), torch.tensor([[1e-20]])
    with torch.inference_mode():
        before = towers.user_vectors(*nothing), towers.user_vectors(*something)
        towers.no_history += 1.0
        after = towers.user_vectors(*nothing), towers.user_vectors(*something)
    assert not torch.allclose(before[0], after[0])
    assert torch.equal(before[1], after[1])
    fitted = fit(tastes(), catalogue(taste_videos()), QUICK)
    assert np.linalg.norm(fitted.weights["no_history"]) > 0


def test_no_positive_interaction_is_an_error() -> None:
    with pytest.raises(EmptyTrainingSetError, match="no positive"):
        fit(interactions([("u", "a", 0, 0.3)]), catalogue([]), QUICK)


def test_the_saved_weights_rebuild_the_video_vectors() -> None:
    videos = catalogue(taste_videos())
    fitted = fit(tastes(), videos, QUICK)
    codes, sizes = video_codes(Encoded.of(tastes(), videos), videos)
    towers = TwoTower(len(fitted.model.user_ids), sizes, QUICK).eval()
    towers.load_state_dict(
        {name: torch.from_numpy(np.asarray(value)) for name, value in fitted.weights.items()}
    )
    with torch.inference_mode():
        np.testing.assert_allclose(
            towers.video_vectors(torch.from_numpy(codes)).numpy(), fitted.model.video_factors, atol=1e-6
        )


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

"""The loss, by hand: what is corrected for, what counts, and that each example meets its own time."""

import math

import numpy as np
import pytest
import torch

from ml.dataset import Encoded
from ml.examples import Examples
from ml.features import ProfileSchema, VideoSchema
from ml.tower_loss import Candidates, SampledSoftmax, Sampler
from ml.tower_priors import DAY_MS
from ml.tower_training import Data
from ml.tower_weights import quantiles, target_strengths
from ml.towers import Sizes, TwoTower
from ml.two_tower_config import TwoTowerConfig
from tests.ml.planted import HOUR_MS, START_MS, catalogue, everybody, interactions

MIDNIGHT_H = (DAY_MS - START_MS % DAY_MS) / HOUR_MS
NEVER = 1e9  # days in which nothing fades
CONFIG = TwoTowerConfig(temperature=0.5, duration_debiasing=0, example_half_life_days=NEVER)


def loss_by_hand(logits: list[float], right: int) -> float:
    return math.log(sum(map(math.exp, logits))) - logits[right]


def prepared(rows: list[tuple[str, str, float, float]], videos: list[str]) -> tuple[Data, TwoTower]:
    given = interactions(rows)
    data = Encoded.of(given, catalogue(videos))
    schema, profiles = VideoSchema.of(catalogue(videos)), ProfileSchema.of(everybody(given))
    sizes = Sizes(len(data.user_ids), len(data.video_ids), schema.sizes, profiles.sizes)
    return Data(
        Examples.of(data, CONFIG),
        profiles.encode(everybody(given), data.user_ids),
        schema.encode(catalogue(videos), data.video_ids),
        torch.device("cpu"),
    ), TwoTower(sizes, CONFIG)


def planted_vectors(model: TwoTower, monkeypatch: pytest.MonkeyPatch) -> None:
    """User i and video i point along axis i (of two), so that their product is 1 and others' 0."""
    monkeypatch.setattr(model, "user_vectors", lambda past: torch.eye(2)[past.users - 1])
    monkeypatch.setattr(model, "video_vectors", lambda videos: torch.eye(4)[videos.ids - 1, :2])


def test_each_example_meets_the_ages_of_its_own_day_and_draws_are_corrected_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [("u", "a", MIDNIGHT_H - 12, 1.0), ("v", "b", MIDNIGHT_H + 1, 2.0)]
    data, model = prepared(rows, ["a", "b", "c", "d"])
    data.examples.strength[:] = [1, 3]
    data.examples.snapshots.ages[1, 0] = 9  # a, on the second day
    with torch.no_grad():
        model.bias[3] = 0.25  # d
        model.age[9] = 0.5
    planted_vectors(model, monkeypatch)
    chances = np.log(np.asarray([0.5, 0.25, 0.125], dtype=np.float32))
    places = np.asarray([0, 1])
    inputs = data.inputs(
        places, data.examples.targets_from(places), Candidates(np.asarray([0, 1, 3]), chances)
    )
    found = SampledSoftmax(model)(inputs)

    a, b, d = -chances
    first = loss_by_hand([1 / 0.5 + a, b, d + 0.25], 0)
    second = loss_by_hand([0.5 + a, 1 / 0.5 + b, d + 0.25], 1)
    assert float(found.detach()) == pytest.approx((1 * first + 3 * second) / 4, rel=1e-5)


def test_what_a_user_met_before_is_no_candidate_and_all_next_videos_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [("u", "a", 0.0, 1.0), ("u", "b", 1.0, 1.0), ("u", "c", 2.0, 1.0), ("u", "a", 3.0, 1.0)]
    data, model = prepared(rows, ["a", "b", "c", "d"])
    planted_vectors(model, monkeypatch)
    place = np.asarray([1])  # about to start b
    sampler = Sampler.of(data.examples, CONFIG, seed=0)
    inputs = data.inputs(place, data.examples.targets_from(place), sampler.draw(place, 0, 0))
    logits = SampledSoftmax(model).logits(inputs)[0].tolist()
    assert logits[0] == -math.inf  # a was met
    assert inputs.targets.tolist() == [[1, 2, 0]]
    assert inputs.strength.tolist() == [[1, 1, 0]]
    expected = (
        loss_by_hand(logits[1:], 0) + loss_by_hand(logits[1:], 1)
    ) / 3  # of the strength of three targets
    assert float(SampledSoftmax(model)(inputs).detach()) == pytest.approx(expected, rel=1e-5)


def test_a_small_catalogue_is_all_candidates_and_of_a_large_one_a_sample_with_its_chances() -> None:
    rows = [("u", video, hour, 1.0) for hour, video in enumerate(["a", "a", "a", "b"])]
    data, _ = prepared(rows, ["a", "b", "c", "d"])
    whole = Sampler.of(data.examples, CONFIG, seed=0).draw(np.asarray([0]), 0, 0)
    assert whole.rows.tolist() == [0, 1, 2, 3]
    assert not whole.log_chance.any()
    config = CONFIG.model_copy(update={"whole_catalogue_up_to": 3, "uniform_negatives": 2})
    sampler = Sampler.of(data.examples, config, seed=0)
    sample = sampler.draw(np.asarray([0, 1]), 0, 0)
    assert {0, 1} <= set(sample.rows.tolist())
    expected = (
        2 * np.asarray([0.75, 0.25, 0, 0]) + 2 / 4
    )  # two targets drawn like the examples, two uniform of four
    np.testing.assert_allclose(np.exp(sample.log_chance), 1 - np.exp(-expected[sample.rows]), rtol=1e-6)
    again = sampler.draw(np.asarray([0, 1]), 0, 0)
    assert again.rows.tolist() == sample.rows.tolist()


def test_the_sampled_loss_is_that_of_the_whole_catalogue_on_average() -> None:
    """The softmax's denominator, estimated by candidates weighted with one over their chance."""
    rng = np.random.default_rng(0)
    n = 200
    rows = [("u", f"{video:03d}", hour, 1.0) for hour, video in enumerate(rng.zipf(1.5, 400) % n)]
    data, _ = prepared(rows, [f"{video:03d}" for video in range(n)])
    config = CONFIG.model_copy(update={"whole_catalogue_up_to": 0, "uniform_negatives": 40})
    sampler = Sampler.of(data.examples, config, seed=0)
    values = np.exp(rng.normal(size=n))
    estimates = []
    for step in range(400):
        targets = rng.choice(data.examples.videos, 40)
        drawn = sampler.draw(targets, 0, step)
        estimates.append((values[drawn.rows] / np.exp(drawn.log_chance)).sum())
    assert np.mean(estimates) == pytest.approx(values.sum(), rel=0.03)


def test_a_quantile_is_the_middle_of_its_ties_within_its_group() -> None:
    values = np.asarray([1.0, 3.0, 3.0, 2.0, 5.0, 9.0])
    groups = np.asarray([0, 0, 0, 0, 1, 1])
    np.testing.assert_allclose(quantiles(values, groups), [0.125, 0.75, 0.75, 0.375, 0.25, 0.75])
    assert quantiles(np.empty(0), np.empty(0, dtype=np.int64)).tolist() == []


def test_a_typical_watch_counts_the_same_for_short_and_long_videos() -> None:
    short = [("u", "short", hour, ratio) for hour, ratio in enumerate([0.8, 0.9, 1.0])]
    long = [("u", "long", hour, ratio) for hour, ratio in enumerate([0.1, 0.2, 0.3])]
    rows = interactions([*short, *long])
    durations_ms = np.where(rows.video_ids == "short", 5_000, 900_000)
    debiased = target_strengths(
        rows, durations_ms, CONFIG.model_copy(update={"duration_debiasing": 1, "weak_targets": 1})
    )
    np.testing.assert_allclose(debiased, [1 / 3, 1, 5 / 3] * 2, rtol=1e-6)
    biased = target_strengths(rows, durations_ms, CONFIG.model_copy(update={"weak_targets": 0.5}))
    np.testing.assert_allclose(biased, [0.8, 0.9, 1.0, 0.05, 0.1, 0.15], rtol=1e-6)  # long: no positives


def test_older_targets_count_less() -> None:
    rows = interactions([("u", "a", 0, 1.0), ("u", "b", 48, 1.0), ("u", "c", 72, 1.0)])
    config = CONFIG.model_copy(update={"example_half_life_days": 1})
    np.testing.assert_allclose(target_strengths(rows, np.full(3, -1), config), [0.125, 0.5, 1])

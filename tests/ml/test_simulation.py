"""The simulated platform: users choose by their tastes, and models are as good as they were planted."""

import numpy as np
import pytest

from ml.errors import ConfigurationError
from ml.simulation import (
    PRIMARY,
    Platform,
    Tastes,
    ab_pair,
    noise_for_gain,
    per_user_metrics,
    ranker,
    simulate_platform,
)


@pytest.fixture(scope="module")
def platform() -> Platform:
    return simulate_platform(n_users=4_000, n_videos=300)


def quality(platform: Platform, scores: np.ndarray) -> float:
    return float(per_user_metrics(platform, scores)[PRIMARY].mean())


def test_every_user_met_some_videos_and_likes_others(platform: Platform) -> None:
    seen, relevant = platform.seen.sum(axis=1), platform.relevant.sum(axis=1)
    assert platform.seen.shape == platform.affinity.shape == (4_000, 300)
    assert not (platform.seen & platform.relevant).any()
    assert min(seen.min(), relevant.min()) == 1
    assert seen.mean() == pytest.approx(15, rel=0.05)
    assert relevant.mean() == pytest.approx(2.6, rel=0.05)
    assert platform.n_relevant.tolist() == relevant.tolist()


def test_users_pick_with_odds_of_their_affinity() -> None:
    """Without tastes of their own the first pick is a softmax of popularity; the second one of what is left."""
    alike = simulate_platform(40_000, 8, seed=3, tastes=Tastes(taste=0, met=1, positives=1))
    odds = np.exp(alike.videos[:, -1].astype(float))
    first = odds / odds.sum()
    assert alike.seen.mean(axis=0) == pytest.approx(first, abs=0.01)
    second = np.array(
        [sum(first[i] * first[j] / (1 - first[i]) for i in range(8) if i != j) for j in range(8)]
    )
    assert alike.relevant.mean(axis=0) == pytest.approx(second, abs=0.01)


def test_the_same_seed_gives_the_same_platform_and_the_same_model(platform: Platform) -> None:
    again = simulate_platform(n_users=4_000, n_videos=300)
    for name in ("users", "videos", "user_errors", "seen", "relevant"):
        assert np.array_equal(getattr(platform, name), getattr(again, name))
    assert np.array_equal(ranker(platform, 1.0, 5), ranker(again, 1.0, 5))
    assert not np.array_equal(ranker(platform, 1.0, 5), ranker(platform, 1.0, 6))
    assert not np.array_equal(simulate_platform(4_000, 300, seed=1).videos, platform.videos)


def test_the_errors_of_models_are_drawn_apart_from_the_tastes_of_users() -> None:
    """Seed 0 above all: numpy's generators of [s, 0] and s are the same."""
    own = simulate_platform(2_000, 300, tastes=Tastes(common_error=0, seed_drift=0))
    off = ranker(own, 1.0, 0) - own.affinity
    assert abs(np.corrcoef(off.ravel(), own.affinity.ravel())[0, 1]) < 0.02


def test_the_better_a_model_knows_the_tastes_the_better_it_ranks(platform: Platform) -> None:
    by_noise = [quality(platform, ranker(platform, noise, 0)) for noise in (0.0, 0.5, 1.0, 2.0, 4.0)]
    assert by_noise == sorted(by_noise, reverse=True)
    popular = np.broadcast_to(platform.videos[:, -1], platform.seen.shape)
    random = np.random.default_rng(0).standard_normal(platform.seen.shape, dtype=np.float32)
    assert by_noise[1] > quality(platform, popular) > quality(platform, random)
    assert quality(platform, platform.affinity) >= by_noise[0]


def test_metrics_are_of_the_videos_a_user_has_not_seen() -> None:
    small = simulate_platform(50, 60, seed=2, tastes=Tastes(met=4))
    scores = small.affinity + 100 * small.seen  # a model that would repeat what was met
    found = per_user_metrics(small, scores)
    for user in range(50):
        candidates = [v for v in np.argsort(-small.affinity[user]) if not small.seen[user, v]][:10]
        hits = small.relevant[user, candidates]
        gains = 1 / np.log2(np.arange(2, 12))
        ideal = gains[: min(small.relevant[user].sum(), 10)].sum()
        assert found["ndcg_at_10"][user] == pytest.approx((hits * gains).sum() / ideal)
        assert found["precision_at_10"][user] == pytest.approx(hits.mean())


def test_twins_differ_for_users_and_not_on_average(platform: Platform) -> None:
    differences = []
    for seed in range(60):
        champion, challenger = ab_pair(platform, 0, seed)
        assert (champion[PRIMARY] != challenger[PRIMARY]).any()
        differences.append(challenger[PRIMARY].mean() - champion[PRIMARY].mean())
    assert abs(np.mean(differences)) < 3 * np.std(differences) / np.sqrt(60)


@pytest.mark.parametrize("gain", [0.03, -0.1])
def test_a_planted_gain_is_there_on_average(platform: Platform, gain: float) -> None:
    pairs = [ab_pair(platform, gain, seed) for seed in range(60)]
    means = np.array([[model[PRIMARY].mean() for model in pair] for pair in pairs])
    relative = (means[:, 1] - means[:, 0]) / means[:, 0].mean()
    error = relative.std() / np.sqrt(60)
    assert error < 0.003
    assert abs(relative.mean() - gain) < 3 * error


def test_drift_of_the_seed_is_more_than_the_users_show() -> None:
    """How much wider A/A pairs spread than their users' paired differences say: 1 without drift."""

    def inflation(drift: float) -> float:
        twins = simulate_platform(4_000, 300, tastes=Tastes(seed_drift=drift))
        differences = [
            np.subtract(*[model[PRIMARY] for model in ab_pair(twins, 0, seed)]) for seed in range(60)
        ]
        expected = np.mean([d.std() for d in differences]) / np.sqrt(4_000)
        return float(np.std([d.mean() for d in differences]) / expected)

    assert inflation(0.0) == pytest.approx(1, abs=0.3)
    assert inflation(1.0) > 1.5


def test_a_gain_beyond_the_truth_is_refused(platform: Platform) -> None:
    with pytest.raises(ConfigurationError, match=r"a gain of 9\.0 needs"):
        noise_for_gain(platform, 9.0)


def test_a_catalogue_smaller_than_the_picks_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="20 videos are too few"):
        simulate_platform(100, 20)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"positives": 0.5}, "positives must be 1"),
        ({"noise": -1.0}, "0 or more"),
        ({"common_error": 2.0}, "a share"),
    ],
)
def test_tastes_that_cannot_be_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Tastes(**wrong)

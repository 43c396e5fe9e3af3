"""Metrics on examples worked out by hand, and what holds for any ranking."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml import metrics
from ml.metrics import (
    catalogue_coverage,
    intervals,
    ranking_metrics,
    resampled_means,
    root_mean_square,
)


def one(hits: list[int], relevant: int, cutoffs: tuple[int, ...]) -> dict[str, float]:
    found = ranking_metrics(np.asarray([hits], dtype=np.bool_), np.asarray([relevant]), cutoffs)
    return {name: float(values[0]) for name, values in found.items()}


def test_hits_at_ranks_two_and_four_of_three_relevant() -> None:
    found = one([0, 1, 0, 1, 0], 3, (2, 5))
    ideal_3 = 1 + 1 / math.log2(3) + 1 / 2
    assert found == pytest.approx(
        {
            "precision_at_2": 1 / 2,
            "recall_at_2": 1 / 3,
            "ndcg_at_2": (1 / math.log2(3)) / (1 + 1 / math.log2(3)),
            "map_at_2": (1 / 2) / 2,
            "mrr_at_2": 1 / 2,
            "hit_rate_at_2": 1,
            "precision_at_5": 2 / 5,
            "recall_at_5": 2 / 3,
            "ndcg_at_5": (1 / math.log2(3) + 1 / math.log2(5)) / ideal_3,
            "map_at_5": (1 / 2 + 2 / 4) / 3,
            "mrr_at_5": 1 / 2,
            "hit_rate_at_5": 1,
        },
        abs=1e-12,
    )


def test_a_perfect_list_scores_one_even_with_fewer_relevant_than_ranks() -> None:
    found = one([1, 1, 0, 0], 2, (4,))
    assert found == {
        "precision_at_4": 0.5,
        "recall_at_4": 1.0,
        "ndcg_at_4": 1.0,
        "map_at_4": 1.0,
        "mrr_at_4": 1.0,
        "hit_rate_at_4": 1.0,
    }


def test_more_relevant_than_ranks_caps_the_ideal_list_and_not_the_recall() -> None:
    assert one([1, 1], 8, (2,)) == {
        "precision_at_2": 1.0,
        "recall_at_2": 0.25,
        "ndcg_at_2": 1.0,
        "map_at_2": 1.0,
        "mrr_at_2": 1.0,
        "hit_rate_at_2": 1.0,
    }


def test_no_hit_scores_zero() -> None:
    assert set(one([0, 0, 0], 1, (3,)).values()) == {0.0}


def test_a_user_without_relevant_videos_is_refused() -> None:
    with pytest.raises(ValueError, match="without relevant"):
        one([0, 0], 0, (2,))


def test_lists_shorter_than_the_cutoff_are_refused() -> None:
    with pytest.raises(ValueError, match="2 ranks, the cutoffs need 10"):
        one([0, 1], 1, (10,))


@st.composite
def rankings(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n, depth = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    hits = np.asarray(
        draw(st.lists(st.lists(st.booleans(), min_size=depth, max_size=depth), min_size=n, max_size=n))
    )
    missed = np.asarray(draw(st.lists(st.integers(0, 9), min_size=n, max_size=n)))
    return hits, np.maximum(hits.sum(axis=1) + missed, 1)


@given(rankings())
def test_every_metric_lies_between_zero_and_one(ranking: tuple[np.ndarray, np.ndarray]) -> None:
    hits, relevant = ranking
    for values in ranking_metrics(hits, relevant, (1, hits.shape[1])).values():
        assert (values >= 0).all()
        assert (values <= 1 + 1e-12).all()


@given(rankings(), st.randoms())
def test_the_order_of_users_does_not_matter(ranking: tuple[np.ndarray, np.ndarray], random) -> None:
    hits, relevant = ranking
    order = list(range(len(hits)))
    random.shuffle(order)
    k = hits.shape[1]
    straight, shuffled = (
        ranking_metrics(hits, relevant, (k,)),
        ranking_metrics(hits[order], relevant[order], (k,)),
    )
    for name, values in straight.items():
        np.testing.assert_allclose(shuffled[name], values[order], rtol=1e-12)


@given(rankings(), st.data())
def test_moving_a_hit_up_never_lowers_a_metric(
    ranking: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    hits, relevant = ranking
    k = hits.shape[1]
    low = data.draw(st.integers(0, k - 1))
    high = data.draw(st.integers(0, low))
    better = hits.copy()
    swap = hits[:, low] & ~hits[:, high]
    better[swap, low], better[swap, high] = False, True
    before, after = ranking_metrics(hits, relevant, (k,)), ranking_metrics(better, relevant, (k,))
    for name, values in before.items():
        assert (after[name] >= values - 1e-12).all()


def test_the_interval_of_a_mean_matches_its_standard_error() -> None:
    values = np.random.default_rng(1).normal(3, 2, 4000)
    found = intervals({"x": values}, seed=0)["x"]
    error = values.std() / math.sqrt(len(values))
    assert found.value == pytest.approx(values.mean(), abs=1e-12)
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(100):
        found = intervals({"x": rng.binomial(1, 0.3, 150)}, seed=trial)["x"]
        covered += found.low <= 0.3 <= found.high
    assert 88 <= covered <= 99


def test_the_same_users_are_drawn_for_every_metric() -> None:
    values = np.random.default_rng(3).random((50, 1))
    means = resampled_means(np.hstack([values, values + 1]), seed=5)
    np.testing.assert_allclose(means[:, 1] - means[:, 0], 1)
    np.testing.assert_array_equal(means, resampled_means(np.hstack([values, values + 1]), seed=5))


def test_blocks_of_resamples_agree_with_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).random((30, 3))
    whole = resampled_means(values, seed=6, resamples=40)
    monkeypatch.setattr(metrics, "BLOCK_DRAWS", 7 * 30)
    np.testing.assert_allclose(resampled_means(values, seed=6, resamples=40), whole, rtol=1e-12)
    rng = np.random.default_rng(6)
    plain = [values[rng.integers(0, 30, 30)].mean(axis=0) for _ in range(40)]
    np.testing.assert_allclose(whole, plain, rtol=1e-12)


def test_many_users_are_resampled_chunk_by_chunk_and_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).random((50, 1)) + np.linspace(0, 3, 50)[:, None]
    monkeypatch.setattr(metrics, "CHUNK_USERS", 16)
    means = resampled_means(np.hstack([values, np.ones((50, 1))]), seed=7, resamples=4000)
    np.testing.assert_allclose(means[:, 1], 1)  # 50 draws each, wherever they fell
    assert means[:, 0].mean() == pytest.approx(values.mean(), abs=0.02)
    assert means[:, 0].std() == pytest.approx(values.std() / math.sqrt(50), rel=0.05)


def test_a_constant_difference_has_an_interval_of_one_point() -> None:
    found = intervals({"difference": np.full(10, 0.25)}, seed=0)["difference"]
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))


def test_rmse_is_over_rows_and_not_over_users() -> None:
    # user 1: errors 1, 1, 1; user 2: error 3 -> sqrt((3 + 9) / 4)
    found = root_mean_square(np.asarray([3.0, 9.0]), np.asarray([3, 1]), seed=0)
    assert found.value == pytest.approx(math.sqrt(3))
    assert (found.low, found.high) == pytest.approx((1.0, 3.0))


def test_coverage_counts_distinct_videos_and_no_padding() -> None:
    assert catalogue_coverage(np.asarray([[0, 1, 2], [2, 1, -1]]), 10) == 0.3


def test_an_interval_does_not_tell_how_a_sum_was_split() -> None:
    sums = [0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1]
    assert sums[0] != sums[1]
    assert metrics.Interval.of(sums[0], *sums) == metrics.Interval.of(sums[1], *sums[::-1])

"""The comparison with Surprise, on sets small enough for a test."""

import numpy as np
import pytest

from ml.bench import ratings
from ml.bench.ratings import Ratings, random, structured
from ml.bench.svd_vs_surprise import _compared, _figures, ours, rows, surprise_s

ASKED = np.array([0.01, 0.02])


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"USERS": 100, "VIDEOS": 400, "RATINGS": 4_000, "HELD_OUT": 500}.items():
        monkeypatch.setattr(ratings, name, size)


def test_generated_pairs_are_distinct_and_each_in_one_part() -> None:
    made: Ratings = structured(seed=3)
    pairs = [
        pair
        for part in (made.train, made.test)
        for pair in zip(part.user_ids.tolist(), part.video_ids.tolist(), strict=True)
    ]
    assert (len(made.train), len(made.test)) == (4_000, 500)
    assert len(set(pairs)) == 4_500


def test_generated_ratings_have_something_to_learn_and_random_ones_nothing() -> None:
    learned, nothing = ours(structured, [0]), ours(random, [0])
    assert learned["rmse"][0] < learned["rmse_of_mean"]
    assert nothing["rmse"][0] > nothing["rmse_of_mean"]


def test_both_predict_alike_when_they_start_alike() -> None:
    pytest.importorskip("surprise")
    mine, theirs = ours(structured, [0, 1]), surprise_s(structured, [0, 1])
    np.testing.assert_allclose(mine["rmse"], theirs["rmse"], atol=0.005)
    both = _compared(mine, theirs)
    assert both["rmse_difference"] == pytest.approx(np.mean(mine["rmse"]) - np.mean(theirs["rmse"]))
    ((what, target, _, met),) = rows({"sets": {"small": both}})
    assert (what, target, met) == ("SVD RMSE, small", "<= +0.002", both["rmse_difference"] <= 0.002)


def test_a_figure_that_misses_its_target_says_so() -> None:
    sizes = {"train_rows": 1_000_000, "test_rows": 1, "rmse_of_mean": 2.0}
    one = _figures([0.5, 1.5], [np.array([2.0, 1.0]), np.array([1.0, 1.0]), np.array([3.0, 1.0])], [ASKED], 9)
    other = _figures([0.9], [np.array([15.0, 14.0])], [ASKED * 200], 9)
    assert rows({"sets": {"big": _compared(one | sizes, other)}}) == [
        ("SVD RMSE, big", "<= +0.002", "+0.1000 (1.0000 against 0.9000)", False),
        ("SVD fit, big", "8x", "7.5x (2.00 s against 15.00 s)", False),
        ("SVD top-10, big", "100x", "200x (100 users/s against 0.5)", True),
    ]

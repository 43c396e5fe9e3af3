"""Popularity: plays that fade, and what rises."""

import numpy as np
import pytest

from ml.config import TrainConfig
from ml.content_config import PopularityConfig
from ml.factors import FactorModel
from ml.popularity import fit, lift
from tests.ml.planted import known

DAY = 24.0  # hours

# Two plays of `old` four days ago, one of `new` now, one each of `steady` a day.
ROWS = [
    ("u", "old", 0, 1.0),
    ("v", "old", 0, 0.5),
    *[("u", "steady", day * DAY, 1.0) for day in range(5)],
    ("v", "new", 4 * DAY, 0.2),
]


def scores(**settings: float) -> dict[str, float]:
    model = fit(known(ROWS, ["new", "old", "steady", "unseen"]), PopularityConfig(**settings)).model
    assert isinstance(model, FactorModel)
    return dict(zip(model.video_ids.tolist(), model.video_bias.tolist(), strict=True))


def test_each_play_counts_half_after_a_half_life() -> None:
    found = scores(half_life_days=2.0)
    assert found == pytest.approx(
        {"new": 1.0, "old": 2 / 4, "steady": sum(0.5 ** (days / 2) for days in range(5)), "unseen": 0}
    )


def test_a_long_half_life_is_the_number_of_plays() -> None:
    assert scores(half_life_days=1e9) == pytest.approx({"new": 1, "old": 2, "steady": 5, "unseen": 0})


def test_the_default_is_plays_of_half_life_two_days_without_a_trend() -> None:
    assert (PopularityConfig().half_life_days, PopularityConfig().trend) == (2.0, 0.0)
    assert scores() == scores(half_life_days=2.0)
    model = fit(known(ROWS, ["unseen"]), TrainConfig().popularity).model
    assert dict(model.recommend(["anybody"], 9)[0]) == pytest.approx(scores())


def test_a_trend_lifts_what_rises_over_what_falls() -> None:
    flat, trend = scores(), scores(trend=1.0, smoothing=0.1)
    lifted = {video: trend[video] / flat[video] for video in ("old", "steady", "new")}
    assert lifted["old"] < lifted["steady"] < lifted["new"]
    assert trend["unseen"] == 0


def test_lift_is_the_ratio_of_smoothed_shares() -> None:
    found = lift(np.asarray([3.0, 1.0]), np.asarray([1.0, 3.0]), smoothing=1.0)
    assert found.tolist() == pytest.approx([(4 / 6) / (2 / 6), (2 / 6) / (4 / 6)])


def test_smoothing_keeps_a_single_play_from_being_a_trend() -> None:
    recent, older = np.asarray([1.0, 100.0]), np.asarray([0.1, 100.0])
    assert lift(recent, older, 0.01)[0] > 8
    assert lift(recent, older, 50.0)[0] == pytest.approx(1.0, abs=0.02)


def test_shares_that_did_not_change_have_no_lift() -> None:
    assert lift(np.asarray([2.0, 2.0]), np.asarray([5.0, 5.0]), 3.0).tolist() == [1, 1]


def test_videos_nobody_played_are_candidates_and_nobody_is_known() -> None:
    model = fit(known(ROWS, ["unseen"]), PopularityConfig()).model
    assert "unseen" in model.video_ids
    assert not model.knows("u")
    np.testing.assert_array_equal(model.scores(["u"]), model.scores(["nobody"]))

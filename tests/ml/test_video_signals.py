"""What is said of a video whoever asks: exact counts, and which rows they are of."""

import numpy as np
import pytest

from ml.dataset import Known
from ml.video_signals import names, newness, video_signals
from tests.ml.planted import START_MS, catalogue, interactions, known, met

DAY_H = 24.0
VIDEOS = np.asarray(["a", "b", "c"])


def of_three() -> Known:
    """`a` was finished by ann and left by bob a day before now, `b` scrolled past by ann now; nobody met `c`."""
    rows = interactions([("ann", "a", 0, 1.0), ("bob", "a", 0, 0.2)])
    watched = met(rows, [("ann", "b", DAY_H)])
    return Known.of(rows, catalogue(["a", "b", "c"]), watched=watched, as_of_ms=START_MS + 24 * 3_600_000 + 1)


def test_meetings_fade_by_their_half_life() -> None:
    signals = video_signals(of_three(), VIDEOS, [1.0, 0.5])
    np.testing.assert_allclose(np.exp(signals["met_1d"]), [0.3 + 1, 0.3 + 1, 0.3], rtol=1e-5)
    np.testing.assert_allclose(np.exp(signals["met_0.5d"]), [0.3 + 0.5, 0.3 + 1, 0.3], rtol=1e-5)


def test_meetings_ever_are_of_all_that_were_met_scrolled_past_or_not() -> None:
    signals = video_signals(of_three(), VIDEOS, [1.0])
    np.testing.assert_allclose(np.exp(signals["met_ever"]), [3, 2, 1], rtol=1e-5)


def test_liked_is_the_share_of_who_met_it_drawn_towards_the_overall_share() -> None:
    """One of three meetings was liked: the share over all is (1 + 1) / (3 + 2)."""
    signals = video_signals(of_three(), VIDEOS, [1.0])
    shares = [(1 + 10 * 0.4) / (2 + 10), (0 + 10 * 0.4) / (1 + 10), 0.4]
    np.testing.assert_allclose(np.exp(signals["liked"]), shares, rtol=1e-5)


def test_without_meetings_the_interactions_say_who_met_what_once() -> None:
    rows = interactions([("ann", "a", 0, 1.0), ("ann", "a", 1, 1.0), ("bob", "b", 2, 1.0)])
    signals = video_signals(known(rows, ["a", "b", "c"]), VIDEOS, [1.0])
    np.testing.assert_allclose(np.exp(signals["met_ever"]), [2, 2, 1], rtol=1e-5)


def test_videos_the_catalogue_lacks_are_passed_over() -> None:
    signals = video_signals(of_three(), np.asarray(["b"]), [1.0])
    np.testing.assert_allclose(np.exp(signals["met_ever"]), [2], rtol=1e-5)


def test_newness_is_one_for_what_nobody_met_and_a_half_at_its_scale() -> None:
    assert newness(video_signals(of_three(), VIDEOS, [1.0]), 2.0).tolist() == pytest.approx([1 / 2, 2 / 3, 1])


def test_names_are_in_the_order_of_the_signals() -> None:
    half_lives = (0.5, 2.0, 8.0)
    assert names(half_lives) == tuple(video_signals(of_three(), VIDEOS, half_lives))
    assert names(half_lives) == ("met_0.5d", "met_2d", "met_8d", "met_ever", "liked")

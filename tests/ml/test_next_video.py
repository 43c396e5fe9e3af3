"""R5's next-video score and session vector, by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ml import next_video
from ml.factors import FactorModel
from ml.fold_in import MeanFoldIn
from ml.next_video import SessionVector, blended, next_videos, norm
from ml.recommender import Past


def floats(*values: float) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)


def model(videos: dict[str, tuple[float, float]], kind: str = "als", **changes: object) -> FactorModel:
    """Ann likes the first dimension."""
    made = FactorModel(
        kind=kind,
        user_ids=np.asarray(["ann"]),
        video_ids=np.asarray(sorted(videos)),
        user_factors=floats(5, 0)[None, :],
        video_factors=np.asarray([videos[video] for video in sorted(videos)], dtype=np.float32),
        user_bias=floats(0),
        video_bias=np.zeros(len(videos), np.float32),
        fold_in=MeanFoldIn(half_life_days=7),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


TOGETHER = model({"a": (1, 0), "b": (1, 0), "c": (0, 1), "d": (-1, 0)})
BY_CONTENT = model({"a": (1, 0), "b": (0, 1), "c": (1, 0), "d": (0, 1), "new": (1, 1)}, "content")


def test_the_constants_are_the_contract_s() -> None:
    assert (next_video.COLLABORATIVE_SHARE, next_video.CONTENT_SHARE) == (0.6, 0.4)
    assert (next_video.LONG_SHARE, next_video.SHORT_SHARE) == (0.7, 0.3)
    assert (next_video.EMA_OLD, next_video.EMA_CURRENT) == (0.5, 0.5)


# --- norm and blend -------------------------------------------------------------------------------------------


def test_norm_puts_the_lowest_at_zero_and_the_highest_at_one() -> None:
    assert norm(floats(-2, 0, 2, 1)).tolist() == [0, 0.5, 1, 0.75]


def test_norm_looks_at_candidates_alone() -> None:
    assert norm(floats(100, 1, 3, 2), np.asarray([False, True, True, True])).tolist() == [0, 0, 1, 0.5]


def test_what_is_not_known_is_as_low_as_the_lowest_and_is_not_the_lowest() -> None:
    assert norm(floats(-np.inf, 4, 2, 3)).tolist() == [0, 1, 0, 0.5]


@pytest.mark.parametrize(
    "scores", [floats(), floats(3), floats(2, 2, 2), floats(-np.inf, -np.inf), floats(np.nan)]
)
def test_scores_that_tell_nobody_apart_become_zero(scores: np.ndarray) -> None:
    assert norm(scores).tolist() == [0] * len(scores)


@given(arrays(np.float32, st.integers(0, 20), elements=st.floats(width=32)))
def test_norm_is_between_zero_and_one_and_keeps_the_order(scores: np.ndarray) -> None:
    result = norm(scores)
    assert ((result >= 0) & (result <= 1)).all()
    known = np.isfinite(scores)
    order = np.argsort(scores[known], kind="stable")
    assert (np.diff(result[known][order]) >= 0).all()


def test_the_blend_is_six_tenths_collaborative_and_four_tenths_content() -> None:
    scores = blended(floats(0, 10, 5), floats(3, 1, 2))
    assert scores.tolist() == pytest.approx([0.4, 0.6, 0.5])


def test_what_is_no_candidate_is_out() -> None:
    scores = blended(floats(0, 10, 5), floats(3, 1, 2), np.asarray([True, False, True]))
    assert scores.tolist() == pytest.approx([0.4, -np.inf, 0.6])


# --- what follows a video -------------------------------------------------------------------------------------


def test_what_follows_is_like_the_current_video_in_both_ways() -> None:
    """Cosines with a: together b 1, c 0, d -1; content b 0, c 1, d 0, new 1/sqrt(2)."""
    expected = [("c", 0.6 * 0.5 + 0.4), ("b", 0.6), ("new", 0.4 / np.sqrt(2)), ("d", 0.0)]
    found = next_videos(TOGETHER, BY_CONTENT, "a", 10)
    assert [video for video, _ in found] == [video for video, _ in expected]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-6)


def test_the_current_and_the_excluded_videos_never_follow() -> None:
    found = next_videos(TOGETHER, BY_CONTENT, "a", 10, exclude={"c", "no-such"})
    assert [video for video, _ in found] == ["b", "new", "d"]
    assert next_videos(TOGETHER, BY_CONTENT, "a", 10, exclude=["b", "c", "d", "new"]) == []


def test_only_as_many_as_asked_for() -> None:
    assert [video for video, _ in next_videos(TOGETHER, BY_CONTENT, "a", 1)] == ["c"]


def test_a_new_video_is_followed_by_what_is_like_it_and_by_the_crowd_s_favourites() -> None:
    """The collaborative model does not know it: it says what it says to strangers."""
    popular = replace(TOGETHER, video_bias=floats(0, 0, 0, 9))
    content = replace(
        BY_CONTENT, video_factors=np.asarray([[1, 1], [0, 1], [-1, 0], [0, 1], [1, 1]], np.float32)
    )
    found = dict(next_videos(popular, content, "new", 10))
    half = 0.4 * 2 * np.sqrt(0.5) / (1 + np.sqrt(0.5))  # cosines are 1, sqrt(.5), -sqrt(.5), sqrt(.5)
    assert found == pytest.approx({"a": 0.4, "b": half, "c": 0.0, "d": 0.6 + half})


def test_after_an_unknown_video_the_past_decides() -> None:
    found = next_videos(TOGETHER, BY_CONTENT, "unknown", 9, past=Past(["c", "unknown"]), exclude=["c"])
    assert dict(found) == pytest.approx({"a": 0.4, "new": 0.4, "b": 0.0, "d": 0.0})
    everything = next_videos(TOGETHER, BY_CONTENT, "unknown", 1, past=Past(["c"]))
    assert everything == [("c", pytest.approx(1.0))]  # what was watched is left out by who asks


def test_a_video_the_model_learned_nothing_about_is_as_an_unknown_one() -> None:
    silent = model({"a": (0, 0), "b": (1, 0), "c": (0, 1), "d": (-1, 0)})
    past = Past(["c"])
    assert next_videos(silent, silent, "a", 1, past=past) == [("c", pytest.approx(1.0))]


def test_an_unknown_video_and_nothing_else_known_still_gives_a_list() -> None:
    found = next_videos(TOGETHER, BY_CONTENT, "unknown", 10)
    assert found == [(video, 0.0) for video in ("a", "b", "c", "d", "new")]


# --- the session vector ---------------------------------------------------------------------------------------


def test_the_vector_is_seven_tenths_long_and_three_tenths_short() -> None:
    session = SessionVector.of(TOGETHER, "ann", session=["c"])
    assert session.long.tolist() == [1, 0]  # her factors (5, 0) at length 1
    assert session.short.tolist() == [0, 1]
    assert session.vector.tolist() == pytest.approx([0.7, 0.3])


def test_short_interest_is_half_the_old_and_half_the_current_video() -> None:
    session = SessionVector.of(TOGETHER, "ann", session=["a", "c", "c"])
    assert session.short.tolist() == pytest.approx([0.25, 0.75])
    assert session.after(TOGETHER, "d").short.tolist() == pytest.approx([0.125 - 0.5, 0.375])


def test_a_long_video_vector_counts_as_much_as_a_short_one() -> None:
    stretched = model({"a": (100, 0), "c": (0, 0.01)})
    assert SessionVector.of(stretched, session=["a", "c"]).short.tolist() == pytest.approx([0.5, 0.5])


def test_without_a_session_the_long_interest_is_all() -> None:
    assert SessionVector.of(TOGETHER, "ann").vector.tolist() == [1, 0]


def test_a_stranger_s_session_is_all_there_is() -> None:
    assert SessionVector.of(TOGETHER, "zoe", session=["c"]).vector.tolist() == [0, 1]


def test_a_stranger_with_a_past_has_a_long_interest() -> None:
    session = SessionVector.of(TOGETHER, "zoe", Past(["a", "c", "unknown"], [3, 4, 9]), ["d"])
    assert session.long.tolist() == pytest.approx([0.6, 0.8])
    assert session.vector.tolist() == pytest.approx([0.7 * 0.6 - 0.3, 0.7 * 0.8])


def test_a_model_that_cannot_fold_in_has_no_long_interest_of_a_stranger() -> None:
    unable = replace(TOGETHER, fold_in=None)
    assert SessionVector.of(unable, "zoe", Past(["a"])).vector.tolist() == [0, 0]


def test_unknown_videos_change_nothing() -> None:
    session = SessionVector.of(TOGETHER, "ann", session=["a"])
    assert session.after(TOGETHER, "unknown") is session
    silent = model({"a": (0, 0), "b": (1, 0)})
    assert SessionVector.of(silent, "ann", session=["a"]).vector.tolist() == [1, 0]


def test_nothing_known_at_all_scores_zero() -> None:
    assert SessionVector.of(TOGETHER).scores(TOGETHER).tolist() == [0, 0, 0, 0]


def test_scores_follow_the_vector() -> None:
    session = SessionVector.of(TOGETHER, "ann", session=["c"])
    assert session.scores(TOGETHER).tolist() == pytest.approx([0.7, 0.7, 0.3, -0.7])


@given(st.lists(st.sampled_from(["a", "b", "c", "d", "unknown"]), max_size=12))
def test_short_interest_never_grows_longer_than_one_video(session: list[str]) -> None:
    vector = SessionVector.of(TOGETHER, "ann", session=session)
    assert np.linalg.norm(vector.short) <= 1 + 1e-6
    assert np.linalg.norm(vector.vector) <= 1 + 1e-6

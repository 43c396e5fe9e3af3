"""The blend: scores by hand, strangers, new videos, what is saved."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ml.blend import BlendModel, Mixture, comparable, trusted
from ml.errors import ModelFilesError
from ml.factors import FactorModel
from ml.fold_in import MeanFoldIn
from ml.recommender import Past
from ml.saved import load

VIDEOS = np.asarray(["a", "b", "c", "d"])


def part(kind: str, of_ann: list[float], video_bias: list[float] | None = None) -> FactorModel:
    """Scores for ann, and of strangers; who is told to have watched `a` is scored as ann."""
    return FactorModel(
        kind=kind,
        user_ids=np.asarray(["ann"]),
        video_ids=VIDEOS,
        user_factors=np.asarray([[1]], dtype=np.float32),
        video_factors=np.asarray(of_ann, dtype=np.float32)[:, None],
        user_bias=np.zeros(1, dtype=np.float32),
        video_bias=np.asarray(video_bias or [0, 0, 0, 0], dtype=np.float32),
        fold_in=MeanFoldIn(1.0),
    )


def vector(*values: float) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)


MODEL = BlendModel(
    kind="hybrid",
    parts={"als": part("als", [3, 1, 0, 0]), "content": part("content", [1, 0, 0, 3])},
    user_ids=np.asarray(["ann", "bob"]),
    watches=vector(6, 2),
    of_known=Mixture({"als": 2.0, "content": 0.5}, vector(0, 0, 1, 0), of_new=4.0),
    of_strangers=Mixture({"als": 1.0, "content": 0.0}, vector(0, 3, 2, 1)),
    history_scale=2.0,
    newness=vector(0, 0, 0, 1),
    content="content",
    info={"made": "by hand"},
)


def said(*scores: float) -> np.ndarray:
    """By the definition."""
    values = np.asarray(scores, dtype=np.float64)
    return np.log(np.maximum((values - values.mean()) / values.std(), 0) + 0.1)


def test_scores_are_made_comparable_by_what_they_say_above_their_mean() -> None:
    np.testing.assert_allclose(
        comparable(np.asarray([[3, 1, 0, 0]], np.float32))[0], said(3, 1, 0, 0), rtol=1e-5
    )


def test_equal_scores_say_nothing() -> None:
    assert comparable(np.full((1, 3), 7, dtype=np.float32)).tolist() == [[0, 0, 0]]


@given(arrays(np.float32, (2, 5), elements=st.integers(-50, 50)), st.floats(0.1, 100), st.floats(-100, 100))
def test_neither_the_unit_nor_the_zero_of_a_parts_scores_matters(
    scores: np.ndarray, unit: float, zero: float
) -> None:
    moved = (scores * np.float32(unit) + np.float32(zero)).astype(np.float32)
    np.testing.assert_allclose(comparable(scores.copy()), comparable(moved), atol=2e-2)


def test_trust_is_a_half_at_the_scale() -> None:
    assert trusted(vector(0, 2, 6), 2.0).tolist() == [0, 0.5, 0.75]


def test_a_score_mixes_the_weights_of_known_people_and_strangers_by_the_number_of_watches() -> None:
    """Ann has 6 watches: three quarters are by the weights of the known. Nobody met `d`: content counts 4 more."""
    als, content = said(3, 1, 0, 0), said(1, 0, 0, 3)
    as_known = 2 * als + 0.5 * content + vector(0, 0, 1, 0) + vector(0, 0, 0, 4) * content
    as_stranger = als + vector(0, 3, 2, 1)
    np.testing.assert_allclose(MODEL.scores(["ann"])[0], 0.75 * as_known + 0.25 * as_stranger, rtol=1e-4)


def test_strangers_get_their_own_bias_and_what_parts_say_of_strangers() -> None:
    assert MODEL.scores(["zoe"]).tolist() == [[0, 3, 2, 1]]
    assert MODEL.scores_for([Past([])]).tolist() == [[0, 3, 2, 1]]
    assert (MODEL.knows("ann"), MODEL.knows("zoe")) == (True, False)


def test_somebody_known_of_whom_the_parts_know_nothing_gets_the_biases_mixed() -> None:
    assert MODEL.scores(["bob"]).tolist() == [[0, 1.5, 1.5, 0.5]]


def test_a_past_counts_by_its_length() -> None:
    past = Past(["a"] * 6)
    expected = [MODEL.parts[name].scores_for([past])[0] for name in ("als", "content")]
    als, content = (said(*scores.tolist()) for scores in expected)
    as_known = 2 * als + 0.5 * content + vector(0, 0, 1, 0) + vector(0, 0, 0, 4) * content
    np.testing.assert_allclose(
        MODEL.scores_for([past])[0], 0.75 * as_known + 0.25 * (als + vector(0, 3, 2, 1)), rtol=1e-4
    )


def test_no_users_get_no_scores() -> None:
    assert MODEL.scores([]).shape == MODEL.scores_for([]).shape == (0, 4)


def test_similar_videos_are_what_the_parts_say_by_their_weights() -> None:
    """Cosines of one factor are 1, of nothing are unknown: als likens b to a, content d to a."""
    assert MODEL.similar("a", 5) == [("b", 0.0), ("d", 0.0)]


def test_a_saved_blend_answers_the_same(tmp_path: Path) -> None:
    MODEL.save(tmp_path / "hybrid")
    read = load(tmp_path / "hybrid")
    assert isinstance(read, BlendModel)
    assert (read.kind, read.info, read.content) == ("hybrid", {"made": "by hand"}, "content")
    for users in (["ann", "bob", "zoe"], []):
        np.testing.assert_array_equal(read.scores(users), MODEL.scores(users))
    assert read.similar("a", 5) == MODEL.similar("a", 5)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("of_known", Mixture({"als": 1.0}, vector(0, 0, 0, 0)), r"weights: of \['als'\]"),
        ("of_strangers", Mixture({"als": 1.0, "content": 1.0}, vector(0)), "video_bias: float32"),
        ("newness", vector(1), r"newness: float32 \(1,\), must be float32 \(4,\)"),
        ("watches", vector(1), "watches: float32"),
        ("content", "svd", "content: svd is none of the parts"),
        ("parts", {}, "parts: a blend needs at least one"),
        ("user_ids", np.asarray(["bob", "ann"]), "user_ids: must be distinct strings in sorted order"),
    ],
)
def test_a_blend_that_could_not_answer_cannot_be_made(name: str, value: object, message: str) -> None:
    with pytest.raises(ModelFilesError, match=message):
        replace(MODEL, **{name: value})  # type: ignore[arg-type]


def test_parts_that_rank_other_videos_cannot_be_blended() -> None:
    other = replace(part("als", [0, 0, 0, 0]), video_ids=np.asarray(["a", "b", "c", "e"]))
    with pytest.raises(ModelFilesError, match="als ranks other videos than the others"):
        replace(MODEL, parts={"content": MODEL.parts["content"], "als": other})

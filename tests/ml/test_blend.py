"""The hybrid's form: parts made comparable, weighed by how much is known of the user and of the video."""

import json
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

VIDEOS = np.asarray(["v1", "v2", "v3", "v4"])
NOTHING = np.zeros(4, dtype=np.float32)


def floats(*values: float) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)


def part(kind: str, factors: np.ndarray, bias: np.ndarray = NOTHING) -> FactorModel:
    """Ann's scores are the factors and the bias; whose past is v1 as well (it has the only vector of length 1)."""
    return FactorModel(
        kind=kind,
        user_ids=np.asarray(["ann"]),
        video_ids=VIDEOS,
        user_factors=floats(1)[None, :],
        video_factors=factors[:, None],
        user_bias=floats(0),
        video_bias=bias,
        fold_in=MeanFoldIn(half_life_days=7),
    )


TASTE = part("als", floats(4, 0, 0, 0))
ABOUT = part("content", floats(0, 0, 3, 3))
BIAS = floats(0, 0, 0, 0.5)

BLEND = BlendModel(
    kind="hybrid",
    parts={"als": TASTE, "content": ABOUT},
    user_ids=np.asarray(["ann", "bob"]),
    watches=floats(6, 0),
    of_known=Mixture({"als": 2.0, "content": 1.0}, BIAS, of_new=4.0),
    of_strangers=Mixture({"als": 0.0, "content": 0.0}, floats(3, 2, 1, 0)),
    history_scale=2.0,
    newness=NOTHING,
    content="content",
    info={"made": "by hand"},
)

# (4, 0, 0, 0) has deviation sqrt(3), so the first is sqrt(3) deviations above the mean, the others below it.
OF_TASTE = np.log(np.maximum([np.sqrt(3), -1, -1, -1], 0) + 0.1)
OF_CONTENT = np.log(np.maximum([-1, -1, 1, 1], 0) + 0.1)


def test_only_what_is_above_a_part_s_own_average_counts() -> None:
    found = comparable(floats(4, 0, 0, 0)[None, :])
    np.testing.assert_allclose(found[0], OF_TASTE, rtol=1e-5)


def test_equal_scores_say_nothing() -> None:
    assert comparable(np.full((2, 3), 7.5, np.float32)).tolist() == [[0, 0, 0]] * 2


@given(
    arrays(np.float32, (2, 6), elements=st.integers(-50, 50).map(float)),
    st.integers(1, 30),
    st.integers(-30, 30),
)
def test_neither_the_unit_nor_the_zero_of_a_part_matters(scores: np.ndarray, scale: int, shift: int) -> None:
    other = (scores * np.float32(scale) + np.float32(shift)).astype(np.float32)
    np.testing.assert_allclose(comparable(scores.copy()), comparable(other), atol=1e-3)


def test_half_is_trusted_at_the_scale() -> None:
    assert trusted(floats(0, 5, 15), 5.0).tolist() == [0, 0.5, 0.75]


def test_a_score_is_a_mixture_by_how_much_the_user_watched() -> None:
    """Ann watched 6, so t = 6 / (6 + 2)."""
    known = 2 * OF_TASTE + OF_CONTENT + BIAS
    strangers = np.asarray([3, 2, 1, 0])
    np.testing.assert_allclose(BLEND.scores(["ann"])[0], 0.75 * known + 0.25 * strangers, rtol=1e-5)


def test_whose_watches_are_none_gets_what_strangers_get() -> None:
    assert BLEND.scores(["bob", "zoe"]).tolist() == [[3, 2, 1, 0]] * 2
    assert BLEND.scores_for([Past([])]).tolist() == [[3, 2, 1, 0]]


def test_content_counts_more_for_a_new_video() -> None:
    newer = replace(BLEND, newness=floats(0, 0, 1, 0.5))
    more = 0.75 * 4 * newer.newness * OF_CONTENT
    np.testing.assert_allclose(newer.scores(["ann"]), BLEND.scores(["ann"]) + more, rtol=1e-5)


def test_a_past_is_told_to_every_part() -> None:
    """v1's vector in the model of tastes is (4): its direction is ann's."""
    past = Past(["v1"] * 6)
    known = 2 * OF_TASTE + BIAS  # the other part has no vector for v1, so all its scores are equal
    expected = 0.75 * known + 0.25 * np.asarray([3, 2, 1, 0])
    np.testing.assert_allclose(BLEND.scores_for([past])[0], expected, rtol=1e-5)


def test_videos_that_nobody_knows_are_no_watches() -> None:
    np.testing.assert_array_equal(
        BLEND.scores_for([Past(["v1", "unknown", "unknown"])]), BLEND.scores_for([Past(["v1"])])
    )


def test_a_user_that_any_watch_is_known_of_is_known() -> None:
    assert [BLEND.knows(user) for user in ("ann", "bob", "zoe")] == [True, True, False]


def test_similar_videos_are_the_weighted_mean_of_those_of_the_parts() -> None:
    tastes = replace(TASTE, video_factors=np.asarray([[1, 0], [1, 1], [0, 1], [0, 0]], np.float32),
                     user_factors=np.zeros((1, 2), np.float32))  # fmt: skip
    about = replace(ABOUT, video_factors=np.asarray([[1, 0], [0, 1], [1, 1], [0, 0]], np.float32),
                    user_factors=np.zeros((1, 2), np.float32))  # fmt: skip
    model = replace(BLEND, parts={"als": tastes, "content": about})
    found = model.similar("v1", 9)  # tastes: v2 .71 and v3 0, about: v3 .71 and v2 0, each between 0 and 1
    assert found == [("v2", pytest.approx(2.0)), ("v3", pytest.approx(1.0))]


def test_a_blend_is_saved_with_its_parts(tmp_path: Path) -> None:
    BLEND.save(tmp_path / "m")
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [
        "als", "arrays.npz", "content", "model.json",
    ]  # fmt: skip
    loaded = load(tmp_path / "m")
    assert isinstance(loaded, BlendModel)
    assert (loaded.of_known.weights, loaded.history_scale, loaded.info) == (
        BLEND.of_known.weights,
        BLEND.history_scale,
        BLEND.info,
    )
    np.testing.assert_array_equal(loaded.scores(["ann", "bob"]), BLEND.scores(["ann", "bob"]))


def test_the_order_of_the_parts_does_not_matter_to_the_last_bit(tmp_path: Path) -> None:
    other = part("popularity", floats(0, 0, 0, 0), floats(0.3, 0.7, 0.1, 0.9))
    mixture = Mixture({"popularity": 0.3, "content": 0.7, "als": 1.1}, BIAS)
    model = replace(
        BLEND, parts={"popularity": other, "content": ABOUT, "als": TASTE}, of_known=mixture, of_strangers=mixture
    )  # fmt: skip
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(load(tmp_path / "m").scores(["ann", "zoe"]), model.scores(["ann", "zoe"]))


def test_a_blend_of_what_cannot_be_blended_is_refused() -> None:
    others = replace(ABOUT, video_ids=np.asarray(["v1", "v2", "v3", "v9"]))
    with pytest.raises(ModelFilesError, match="parts: content ranks other videos than the others"):
        replace(BLEND, parts={"als": TASTE, "content": others})
    with pytest.raises(ModelFilesError, match=r"weights: of \['als', 'content'\], the parts are \['als'\]"):
        replace(BLEND, parts={"als": TASTE})
    with pytest.raises(ModelFilesError, match="parts"):
        replace(BLEND, parts={})
    with pytest.raises(ModelFilesError, match=r"watches: float32 \(1,\), must be float32 \(2,\)"):
        replace(BLEND, watches=floats(1))
    with pytest.raises(ModelFilesError, match="newness: holds a value that is not finite"):
        replace(BLEND, newness=floats(0, np.nan, 0, 0))
    with pytest.raises(ModelFilesError, match="content: nobody is none of the parts"):
        replace(BLEND, content="nobody")


@pytest.mark.parametrize("name", ["weights", "stranger_weights"])
def test_a_part_without_a_weight_is_refused(name: str, tmp_path: Path) -> None:
    BLEND.save(tmp_path / "m")
    about = json.loads((tmp_path / "m" / "model.json").read_text("utf-8"))
    del about[name]["als"]
    (tmp_path / "m" / "model.json").write_text(json.dumps(about), "utf-8")
    with pytest.raises(ModelFilesError, match="weights: of"):
        load(tmp_path / "m")

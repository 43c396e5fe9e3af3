"""Models of which videos go with which: scores by hand, strangers, similar videos."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from ml.errors import ModelFilesError
from ml.neighbours import NeighbourModel
from ml.recommender import Past

VIDEOS = ["a", "b", "c", "d"]


def matrix(rows: list[list[float]]) -> sparse.csr_matrix:
    return sparse.csr_matrix(np.asarray(rows, dtype=np.float32))


MODEL = NeighbourModel(
    kind="item-item",
    user_ids=np.asarray(["ann", "bob"]),
    video_ids=np.asarray(VIDEOS),
    history=matrix([[1, 0, 0.5, 0], [0, 0, 0, 0]]),
    weights=matrix([[0, 2, 0, 1], [4, 0, 0, 0], [0, 6, 0, -2], [0, 0, 0, 0]]),
    video_bias=np.asarray([0, 0, 0.25, 0], dtype=np.float32),
)


def test_a_score_is_the_bias_and_the_weights_from_what_was_watched() -> None:
    """Ann: a (1) leads to b 2 and d 1, c (a half) to b 3 and d -1."""
    assert MODEL.scores(["ann", "bob", "zoe"]).tolist() == [[0, 5, 0.25, 0], [0, 0, 0.25, 0], [0, 0, 0.25, 0]]


def test_a_past_scores_as_the_same_history_does() -> None:
    past = Past(["c", "a", "unknown"], weights=[0.5, 1, 1])
    np.testing.assert_array_equal(MODEL.scores_for([past])[0], MODEL.scores(["ann"])[0])


def test_a_past_of_nothing_known_scores_as_a_stranger() -> None:
    pasts = [Past([]), Past(["unknown"]), Past(["a"], weights=[0])]
    assert MODEL.scores_for(pasts).tolist() == [[0, 0, 0.25, 0]] * 3
    assert MODEL.scores_for([]).shape == (0, 4)


def test_every_later_watch_fades_a_watch() -> None:
    model = replace(MODEL, half_life_videos=1.0)
    scores = model.scores_for([Past(["c", "b", "a"])])[0]  # c counts a quarter, b a half, a one
    assert scores.tolist() == [2, 2 + 1.5, 0.25, 1 - 0.5]


def test_the_power_of_the_weights_is_that_of_the_training() -> None:
    model = replace(MODEL, weight_power=0.5)
    assert model.scores_for([Past(["a"], weights=[0.25])])[0].tolist() == [0, 1, 0.25, 0.5]


def test_a_video_watched_again_counts_once_with_its_largest_count() -> None:
    assert MODEL.scores_for([Past(["a", "a"], weights=[0.5, 1])])[0].tolist() == [0, 2, 0.25, 1]


def test_similar_videos_are_those_with_a_weight_best_first() -> None:
    assert MODEL.similar("a", 5) == [("b", 2.0), ("d", 1.0)]
    assert MODEL.similar("c", 1) == [("b", 6.0)]
    assert MODEL.similar("d", 5) == []


def test_a_weight_of_a_video_to_itself_does_not_make_it_similar() -> None:
    model = replace(MODEL, weights=matrix(np.eye(4).tolist()))
    assert model.similar("a", 5) == []


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("history", matrix([[0, 0, 0]]), r"history: float32 \(1, 3\), must be float32 \(2, 4\)"),
        ("weights", MODEL.weights.astype(np.float64), "weights: float64"),
        ("weights", MODEL.weights * np.float32(np.nan), "weights: holds a value that is not finite"),
        ("video_bias", np.zeros(3, np.float32), "video_bias: float32"),
        (
            "video_ids",
            np.asarray(["b", "a", "c", "d"]),
            "video_ids: must be distinct strings in sorted order",
        ),
    ],
)
def test_a_model_that_could_not_answer_cannot_be_made(name: str, value: object, message: str) -> None:
    with pytest.raises(ModelFilesError, match=message):
        replace(MODEL, **{name: value})  # type: ignore[arg-type]

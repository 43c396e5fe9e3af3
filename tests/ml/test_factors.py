"""Models of dot products: scores, lists, people they never saw, files."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.errors import ModelFilesError, UnknownVideoError
from ml.factors import ARRAYS_FILE, FactorModel
from ml.files import replaced, write_json
from ml.fold_in import LeastSquaresFoldIn, MeanFoldIn
from ml.recommender import Past, cosines
from ml.saved import load

MODEL = FactorModel(
    kind="svd",
    user_ids=np.asarray(["ann", "bob"]),
    video_ids=np.asarray(["v1", "v2", "v3"]),
    user_factors=np.asarray([[1, 0], [0, 2]], dtype=np.float32),
    video_factors=np.asarray([[1, 1], [2, 0], [0, 0]], dtype=np.float32),
    user_bias=np.asarray([0.5, 0], dtype=np.float32),
    video_bias=np.asarray([0, 0.25, 1], dtype=np.float32),
    offset=3.0,
    info={"made": "by hand"},
)


def test_a_score_is_offset_plus_biases_plus_product() -> None:
    assert MODEL.scores(["bob", "zoe", "ann"]).tolist() == [[5, 3.25, 4], [3, 3.25, 4], [4.5, 5.75, 4.5]]


def test_the_best_come_first_with_their_scores() -> None:
    assert MODEL.recommend(["ann", "bob"], 2) == [[("v2", 5.75), ("v1", 4.5)], [("v1", 5.0), ("v3", 4.0)]]


def test_excluded_videos_are_those_of_the_user_alone() -> None:
    lists = MODEL.recommend(["ann", "bob"], 3, {"ann": {"v2", "no-such-video"}})
    assert [[video for video, _ in ranked] for ranked in lists] == [["v1", "v3"], ["v1", "v3", "v2"]]


def test_excluding_everything_leaves_an_empty_list() -> None:
    assert MODEL.recommend(["ann"], 3, {"ann": {"v1", "v2", "v3"}}) == [[]]


def test_no_users_get_no_lists() -> None:
    assert MODEL.recommend([], 3) == []


def test_similar_videos_are_ranked_by_cosine_without_itself_and_unlearned_ones() -> None:
    ((video, cosine),) = MODEL.similar("v1", 5)
    assert (video, cosine) == ("v2", pytest.approx(1 / np.sqrt(2)))
    assert MODEL.similar("v3", 5) == []


def test_similar_of_an_unknown_video_names_it() -> None:
    with pytest.raises(UnknownVideoError) as caught:
        MODEL.similar("v9", 3)
    assert str(caught.value) == "video 'v9' is not in the svd model's catalogue"


# --- people the model never saw -------------------------------------------------------------------------------


def test_without_a_fold_in_a_past_scores_as_a_stranger() -> None:
    assert MODEL.scores_for([Past(["v1"]), Past([])]).tolist() == [[3, 3.25, 4], [3, 3.25, 4]]


def test_a_past_is_folded_in_and_scored_without_the_bias_of_a_user() -> None:
    model = replace(MODEL, fold_in=MeanFoldIn(half_life_days=1))
    past = Past(
        ["v1", "v2", "unknown"], weights=[4, 1, 9], ages_days=[2, 1, 0]
    )  # 4/4 (1, 1) + 1/2 (2, 0) = (2, 1)
    vector = np.asarray([2, 1]) / np.sqrt(5)
    expected = [3 + vector.sum(), 3.25 + 2 * vector[0], 4]
    np.testing.assert_allclose(model.scores_for([past])[0], expected, rtol=1e-6)


def test_an_empty_past_and_one_without_weight_score_as_a_stranger() -> None:
    model = replace(MODEL, fold_in=MeanFoldIn(half_life_days=1))
    pasts = [Past([]), Past(["unknown"]), Past(["v1"], weights=[0])]
    assert model.scores_for(pasts).tolist() == [[3, 3.25, 4]] * 3
    assert model.scores_for([]).shape == (0, 3)


@pytest.mark.parametrize(
    "fold_in", [MeanFoldIn(2.5, scale=3), LeastSquaresFoldIn(np.eye(2, dtype=np.float32), 5.0, 0.1)]
)
def test_a_fold_in_is_saved_with_the_model(fold_in: MeanFoldIn | LeastSquaresFoldIn, tmp_path: Path) -> None:
    model = replace(MODEL, fold_in=fold_in)
    model.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    pasts = [Past(["v1", "v2"], [1, 0.3], [0, 9]), Past([])]
    assert isinstance(loaded, FactorModel)
    assert type(loaded.fold_in) is type(fold_in)
    np.testing.assert_array_equal(loaded.scores_for(pasts), model.scores_for(pasts))


def test_cosines_are_minus_infinity_where_nothing_is_known() -> None:
    vectors = np.asarray([[3, 0], [0, 0], [4, 4], [-1, 0]], dtype=np.float32)
    assert cosines(vectors, 0).tolist() == [-np.inf, -np.inf, pytest.approx(np.sqrt(0.5)), -1]
    assert cosines(vectors, 1).tolist() == [-np.inf] * 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weights": [1]}, "weights: 1 values for 2 videos"),
        ({"ages_days": [1, 2, 3]}, "ages_days: 3 values for 2 videos"),
        ({"weights": [1, -1]}, "weights: a value is negative or not finite"),
        ({"ages_days": [float("nan"), 0]}, "ages_days: a value is negative or not finite"),
    ],
)
def test_a_past_that_cannot_be_is_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Past(["v1", "v2"], **values)


def test_a_past_without_weights_and_ages_counts_each_video_once_and_now() -> None:
    weights, ages = Past(["v1", "v2"]).arrays()
    assert (weights.tolist(), ages.tolist()) == ([1, 1], [0, 0])


# --- files ----------------------------------------------------------------------------------------------------


def test_knows_says_who_was_learned() -> None:
    assert (MODEL.knows("ann"), MODEL.knows("an"), MODEL.knows("anna")) == (True, False, False)


@given(
    st.lists(st.sampled_from(["ann", "bob", "zoe"]), max_size=6),
    st.integers(1, 5),
    st.dictionaries(st.sampled_from(["ann", "bob", "zoe"]), st.sets(st.sampled_from(["v1", "v2", "v3"]))),
)
def test_lists_hold_no_excluded_video_and_none_twice(users: list[str], k: int, exclude: dict) -> None:
    for user, ranked in zip(users, MODEL.recommend(users, k, exclude), strict=True):
        ids = [video for video, _ in ranked]
        assert len(set(ids)) == len(ids) == min(k, 3 - len(exclude.get(user, ())))
        assert not set(ids) & exclude.get(user, set())
        scores = [score for _, score in ranked]
        assert scores == sorted(scores, reverse=True)


def test_saving_replaces_what_was_there_and_leaves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "old.txt").write_text("stale")
    MODEL.save(tmp_path / "m")
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["arrays.npz", "model.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_the_same_model_is_saved_as_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        MODEL.save(tmp_path / name)
    for file in ("arrays.npz", "model.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_loading_needs_neither_torch_nor_pandas_nor_pickle(tmp_path: Path) -> None:
    MODEL.save(tmp_path / "m")
    script = (
        "import sys; from pathlib import Path; from ml.saved import load;"
        "print(load(Path(sys.argv[1])).recommend(['ann'], 1));"
        "print(sorted({'torch', 'pandas', 'pyarrow', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "m")], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[[('v2', 5.75)]]", "[]"], done.stderr


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match="not a saved model"):
        load(tmp_path)


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    MODEL.save(tmp_path / "m")
    arrays = tmp_path / "m" / "arrays.npz"
    arrays.write_bytes(arrays.read_bytes()[:200])
    with pytest.raises(ModelFilesError, match=r"not a saved model|not the file that was saved"):
        load(tmp_path / "m")


def test_a_format_of_the_future_is_refused(tmp_path: Path) -> None:
    MODEL.save(tmp_path / "m")
    about = json.loads((tmp_path / "m" / "model.json").read_text())
    write_json(tmp_path / "m" / "model.json", {**about, "format": 99})
    with pytest.raises(ModelFilesError, match="format 99, this code reads 2"):
        load(tmp_path / "m")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("user_ids", np.asarray(["bob", "ann"]), "user_ids: must be distinct strings in sorted order"),
        ("video_ids", np.asarray(["v1", "v1", "v3"]), "video_ids: must be distinct"),
        ("video_bias", np.zeros(2, dtype=np.float32), r"video_bias: float32 \(2,\), must be float32 \(3,\)"),
        ("user_factors", np.zeros((2, 2)), "user_factors: float64"),
        (
            "user_bias",
            np.asarray([np.nan, 0], dtype=np.float32),
            "user_bias: holds a value that is not finite",
        ),
    ],
)
def test_a_model_that_could_not_answer_cannot_be_made(name: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(ModelFilesError, match=message):
        FactorModel(**{**vars(MODEL), name: value})


def write_half_of_a_model(directory: Path) -> None:
    with replaced(directory) as fresh:
        (fresh / "model.json").write_text("half")
        raise RuntimeError("disk full")


def test_an_error_while_writing_keeps_the_old_folder(tmp_path: Path) -> None:
    MODEL.save(tmp_path / "m")
    before = (tmp_path / "m" / "model.json").read_bytes()
    with pytest.raises(RuntimeError, match="disk full"):
        write_half_of_a_model(tmp_path / "m")
    assert (tmp_path / "m" / "model.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_figure_that_is_not_a_number_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"ndcg": float("nan")})


def test_a_model_of_the_first_format_still_answers(tmp_path: Path) -> None:
    """What an older version registered and packed: no form, no fold-in, no checksums."""
    MODEL.save(tmp_path / "m")
    about = json.loads((tmp_path / "m" / "model.json").read_text())
    first = {"format": 1, **{name: about[name] for name in ("kind", "offset", "info")}}
    (tmp_path / "m" / "model.json").write_text(json.dumps(first))
    loaded = load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.scores(["ann", "nobody"]), MODEL.scores(["ann", "nobody"]))

    content = bytearray((tmp_path / "m" / ARRAYS_FILE).read_bytes())
    content[content.index(MODEL.user_factors.tobytes())] ^= 1  # the least bit of a number: still finite
    (tmp_path / "m" / ARRAYS_FILE).write_bytes(content)
    with pytest.raises(ModelFilesError, match=r"user_factors\.npy is damaged"):
        load(tmp_path / "m")


@pytest.mark.parametrize("name", ["../arrays.npz", "/etc/hostname", ".", "..", "", "a/b.npz"])
def test_a_model_file_that_points_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    MODEL.save(tmp_path / "m")
    about = json.loads((tmp_path / "m" / "model.json").read_text())
    write_json(tmp_path / "m" / "model.json", {**about, "sha256": {name: "0"}})
    with pytest.raises(ModelFilesError, match="names no file of a saved model"):
        load(tmp_path / "m")

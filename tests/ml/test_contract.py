"""What every kind of model must do, checked on all of them."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from ml.config import TrainConfig
from ml.dataset import Known
from ml.errors import (
    DivergedError,
    EmptySplitError,
    EmptyTrainingSetError,
    UnknownKindError,
    UnknownVideoError,
)
from ml.fit import HYBRID, fit
from ml.fitting import Fitted
from ml.recommender import KINDS, Past, Recommender
from ml.saved import load
from tests.ml.planted import HIT, everybody, interactions, known, taste_videos, tastes

CONFIG = TrainConfig.of(
    {
        "svd": {"n_factors": 8, "n_epochs": 150, "learning_rate": 0.01},
        "als": {"n_factors": 3, "regularisation": 10.0},
        "item_item": {"regularisation": 5.0, "weight_power": 1.0},
        "two_tower": {"epochs": 20, "batch_size": 64, "uniform_negatives": 16},
        "hybrid": {"parts": ["als", "item-item", "content", "popularity"]},
    }
)
SEEDED = ("svd", "als", "two-tower", "hybrid")
TASTE = taste_videos()


def all_known() -> Known:
    return known(tastes(), people=everybody(tastes()))


@lru_cache
def fitted(kind: str) -> Fitted:
    return fit(kind, all_known(), CONFIG)


@lru_cache
def seen() -> dict[str, set[str]]:
    rows = tastes()
    met: dict[str, set[str]] = {}
    for user, video in zip(rows.user_ids.tolist(), rows.video_ids.tolist(), strict=True):
        met.setdefault(user, set()).add(video)
    return met


def fans() -> list[str]:
    return sorted(user for user in seen() if "fan" in user)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(kind: str) -> Recommender:
    return fitted(kind).model


# --- ranking ------------------------------------------------------------------------------------------------


def test_the_best_video_of_planted_data_comes_first(kind: str, model: Recommender) -> None:
    lists = dict(zip(fans(), model.recommend(fans(), 5, seen()), strict=True))
    if kind == "popularity":  # what everybody watches, unless it was seen
        assert all(ranked[0][0] == HIT for user, ranked in lists.items() if HIT not in seen()[user])
        return
    of_own_taste = [video[0] == user[0] for user, ranked in lists.items() for video, _ in ranked]
    assert np.mean(of_own_taste) >= 0.9  # by chance: a third


def test_every_video_of_the_catalogue_is_a_candidate(model: Recommender) -> None:
    assert model.video_ids.tolist() == sorted(TASTE)
    scores = model.scores(["A-fan-1", "nobody"])
    assert (scores.shape, scores.dtype) == ((2, len(TASTE)), np.float32)
    assert np.isfinite(scores).all()


def test_a_video_that_was_played_but_is_not_in_the_catalogue_is_a_candidate(kind: str) -> None:
    model = fit(kind, known(tastes(), [video for video in TASTE if video != HIT]), CONFIG).model
    assert HIT in model.video_ids.tolist()


def test_a_list_is_as_long_as_asked_for_or_as_there_are_videos(model: Recommender) -> None:
    assert [len(model.recommend(["A-fan-1"], k)[0]) for k in (0, 1, 7, 1000)] == [0, 1, 7, len(TASTE)]
    assert model.recommend([], 3) == []


def test_excluded_videos_never_come_back(model: Recommender) -> None:
    exclude = {user: {*videos, "no-such-video"} for user, videos in seen().items()}
    for user, ranked in zip(exclude, model.recommend(list(exclude), 50, exclude), strict=True):
        ids = [video for video, _ in ranked]
        assert not set(ids) & exclude[user]
        assert len(ids) == len(set(ids)) == len(TASTE) - len(seen()[user])
        assert (points := [score for _, score in ranked]) == sorted(points, reverse=True)


def test_excluding_everything_leaves_an_empty_list(model: Recommender) -> None:
    assert model.recommend(["A-fan-1"], 5, {"A-fan-1": TASTE}) == [[]]


def test_a_batch_answers_as_one_by_one(model: Recommender) -> None:
    """Videos of equal scores may change places: sums of a batch are rounded in another order."""
    users = [*seen(), "nobody"]
    of_batch = model.scores(users)
    np.testing.assert_allclose(of_batch, np.concatenate([model.scores([u]) for u in users]), atol=1e-5)
    for row, ranked in enumerate(model.recommend(users, 5, seen())):
        (alone,) = model.recommend([users[row]], 5, seen())
        columns = np.searchsorted(model.video_ids, [video for video, _ in alone])
        assert [score for _, score in alone] == pytest.approx([score for _, score in ranked], abs=1e-5)
        assert [score for _, score in alone] == pytest.approx(of_batch[row, columns].tolist(), abs=1e-5)


def test_more_users_than_fit_into_a_block_of_scores_get_the_same_lists(
    model: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = model.recommend(fans(), 5, seen())
    monkeypatch.setattr("ml.recommender.rows_per_block", lambda n_columns: 7)
    in_blocks = model.recommend(fans(), 5, seen())
    assert len(in_blocks) == len(fans())
    for one, other in zip(at_once, in_blocks, strict=True):
        assert [score for _, score in one] == pytest.approx([score for _, score in other], abs=1e-5)


def test_ids_may_come_as_a_list_or_as_an_array(model: Recommender) -> None:
    users = ["A-fan-1", "nobody", "B-fan-2"]
    np.testing.assert_array_equal(model.scores(users), model.scores(np.asarray(users)))


def test_a_caller_may_write_into_the_scores(model: Recommender) -> None:
    asks: list[Callable[[], np.ndarray]] = [
        lambda: model.scores(["A-fan-1", "nobody"]),
        lambda: model.scores_for([Past([]), Past([HIT])]),
        lambda: model.similarities(0),
    ]
    for ask in asks:
        before = ask().copy()
        ask()[:] = 7
        np.testing.assert_array_equal(ask(), before)


def test_users_of_the_training_set_are_known_to_models_of_users(kind: str, model: Recommender) -> None:
    assert {model.knows(user) for user in seen()} == {kind != "popularity"}
    assert not model.knows("nobody")


# --- similar videos -------------------------------------------------------------------------------------------


def test_similar_videos_are_of_the_same_taste_and_never_the_video_itself(
    kind: str, model: Recommender
) -> None:
    for video in ("A-01", "B-07"):
        ranked = model.similar(video, 1000)
        assert video not in [other for other, _ in ranked]
        assert [score for _, score in ranked] == sorted((score for _, score in ranked), reverse=True)
        if kind == "popularity":
            assert ranked == []
        else:
            assert sum(other[0] == video[0] for other, _ in ranked[:5]) >= 4


def test_similar_to_an_unknown_video_is_an_error_that_names_it(kind: str, model: Recommender) -> None:
    with pytest.raises(UnknownVideoError, match=f"'no-such' is not in the {kind} model's catalogue"):
        model.similar("no-such", 3)


# --- fitting --------------------------------------------------------------------------------------------------


def files_of(model: Recommender, folder: Path) -> dict[str, bytes]:
    model.save(folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_seed_gives_the_same_model_to_the_last_bit(
    kind: str, model: Recommender, tmp_path: Path
) -> None:
    again = fit(kind, all_known(), CONFIG)
    assert again.curve == fitted(kind).curve
    assert files_of(again.model, tmp_path / "again") == files_of(model, tmp_path / "first")


def test_another_seed_gives_another_model_where_there_is_chance(kind: str, model: Recommender) -> None:
    other = fit(kind, all_known(), CONFIG.model_copy(update={"seed": 1})).model
    assert np.array_equal(other.scores(fans()), model.scores(fans())) is (kind not in SEEDED)


def test_progress_counts_to_the_end(kind: str) -> None:
    told: list[tuple[int, int, float]] = []
    quick = CONFIG.model_copy(
        update={
            "svd": CONFIG.svd.model_copy(update={"n_epochs": 3}),
            "two_tower": CONFIG.two_tower.model_copy(update={"epochs": 3}),
        }
    )
    curve = fit(kind, all_known(), quick, progress=lambda *step: told.append(step)).curve
    steps, totals, losses = zip(*told, strict=True)
    assert steps == tuple(range(1, totals[0] + 1))
    assert set(totals) == {len(told)}
    assert np.isfinite(losses).all()
    if kind in ("svd", "two-tower"):
        assert (totals[0], list(losses)) == (3, curve)


def test_nothing_to_learn_from_is_an_error(kind: str) -> None:
    about = kind if kind != HYBRID else "no interactions"  # its parts are never reached
    with pytest.raises(EmptyTrainingSetError, match=about):
        fit(kind, known([], ["a"]), CONFIG)


def test_one_user_and_one_video_are_enough(kind: str) -> None:
    only = known([("only", "one", 0, 1.0)], [])
    if kind == HYBRID:  # its weights are learned on later rows than its parts, and here is one row
        with pytest.raises(EmptySplitError):
            fit(kind, only, CONFIG)
        return
    model = fit(kind, only, CONFIG).model
    ((video, score),) = model.recommend(["only"], 10)[0]
    assert video == "one"
    assert np.isfinite(score)
    assert np.isfinite(model.scores_for([Past(["one"])])).all()


def test_any_unicode_id_comes_back_as_it_went_in(kind: str, tmp_path: Path) -> None:
    videos = ["видео", "動画 🎬", "a'); DROP TABLE videos;--", "ü", "with a space"]
    users = ["日本", "Ω user", "\u202eback"]
    rows = [
        (user, video, hour + place / 10, 0.9)
        for place, user in enumerate(users)
        for hour, video in enumerate(videos)
    ]
    model = fit(kind, known(interactions(sorted(rows, key=lambda row: row[2])), videos), CONFIG).model
    model.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    for ranked in loaded.recommend(users, 10):
        assert {video for video, _ in ranked} == set(videos)
    assert loaded.knows("日本") is (kind != "popularity")


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("svd", {"svd": {"learning_rate": 500.0}}),
        ("two-tower", {"two_tower": {"learning_rate": 1e30, "epochs": 2, "batch_size": 64}}),
    ],
)
def test_a_training_that_diverges_is_an_error_and_not_a_model(kind: str, config: dict) -> None:
    with pytest.raises(DivergedError, match=kind):
        fit(kind, all_known(), TrainConfig.of(config))


def test_a_kind_that_there_is_not_is_an_error() -> None:
    with pytest.raises(UnknownKindError, match="'bert4rec': must be one of svd, als"):
        fit("bert4rec", all_known(), CONFIG)

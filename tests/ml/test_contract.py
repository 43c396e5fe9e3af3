"""What every kind of model must do, checked on all of them."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from ml.config import TrainConfig
from ml.errors import DivergedError, EmptyTrainingSetError
from ml.factors import KINDS, FactorModel
from ml.fitting import Fitted
from ml.pipeline import fit
from tests.ml.planted import HIT, catalogue, interactions, taste_videos, tastes

CONFIG = TrainConfig.of(
    {
        "svd": {"n_factors": 8, "n_epochs": 150, "learning_rate": 0.01},
        "two_tower": {"epochs": 20, "batch_size": 64, "uniform_negatives": 16},
    }
)


@lru_cache
def fitted(kind: str) -> Fitted:
    return fit(kind, tastes(), catalogue(taste_videos()), CONFIG)


def seen() -> dict[str, set[str]]:
    rows = tastes()
    met: dict[str, set[str]] = {}
    for user, video in zip(rows.user_ids.tolist(), rows.video_ids.tolist(), strict=True):
        met.setdefault(user, set()).add(video)
    return met


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(kind: str) -> FactorModel:
    return fitted(kind).model


def test_the_best_video_of_planted_data_comes_first(kind: str, model: FactorModel) -> None:
    fans = sorted(user for user in seen() if "fan" in user)
    lists = model.recommend(fans, 5, seen())
    if kind == "popularity":  # what everybody watches, unless it was seen
        assert all(
            ranked[0][0] == HIT for user, ranked in zip(fans, lists, strict=True) if HIT not in seen()[user]
        )
        return
    of_own_taste = [
        video[0] == user[0] for user, ranked in zip(fans, lists, strict=True) for video, _ in ranked
    ]
    assert np.mean(of_own_taste) >= 0.95


def test_every_video_of_the_catalogue_is_a_candidate(model: FactorModel) -> None:
    assert model.video_ids.tolist() == sorted(taste_videos())
    assert len(model.recommend(["A-fan-1"], 1000)[0]) == len(taste_videos())


def test_same_seed_gives_the_same_model_to_the_last_bit(kind: str, model: FactorModel) -> None:
    again = fit(kind, tastes(), catalogue(taste_videos()), CONFIG)
    assert again.curve == fitted(kind).curve
    for name in ("user_factors", "video_factors", "user_bias", "video_bias"):
        np.testing.assert_array_equal(getattr(again.model, name), getattr(model, name))


@pytest.mark.parametrize("kind", ["svd", "two-tower"])
def test_another_seed_gives_another_model(kind: str) -> None:
    config = CONFIG.model_copy(update={"seed": 1})
    other = fit(kind, tastes(), catalogue(taste_videos()), config).model
    assert not np.array_equal(other.video_factors, fitted(kind).model.video_factors)


def test_a_saved_model_answers_as_before(model: FactorModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    loaded = FactorModel.load(tmp_path / "model")
    assert (loaded.kind, loaded.offset, loaded.info) == (model.kind, model.offset, model.info)
    users = ["A-fan-1", "B-fan-2", "nobody"]
    assert loaded.recommend(users, 10, seen()) == model.recommend(users, 10, seen())


def test_excluded_videos_never_come_back(model: FactorModel) -> None:
    lists = model.recommend(list(seen()), 50, seen())
    for user, ranked in zip(seen(), lists, strict=True):
        ids = [video for video, _ in ranked]
        assert not set(ids) & seen()[user]
        assert len(ids) == len(set(ids)) == len(taste_videos()) - len(seen()[user])


def test_a_batch_answers_as_one_by_one(model: FactorModel) -> None:
    users = [*seen(), "nobody"]
    for user, ranked in zip(users, model.recommend(users, 5, seen()), strict=True):
        (alone,) = model.recommend([user], 5, seen())
        assert [video for video, _ in alone] == [video for video, _ in ranked]
        assert [score for _, score in alone] == pytest.approx([score for _, score in ranked], abs=1e-5)


def test_an_unknown_user_gets_the_biases(model: FactorModel) -> None:
    assert not model.knows("nobody")
    np.testing.assert_allclose(
        model.scores(["nobody"])[0], model.video_bias + np.float32(model.offset), rtol=1e-6
    )


def test_users_of_the_training_set_are_known_to_models_of_users(kind: str, model: FactorModel) -> None:
    assert {model.knows(user) for user in seen()} == {kind != "popularity"}


def test_progress_reports_each_epoch_with_its_loss(kind: str) -> None:
    told: list[tuple[int, int, float]] = []
    quick = TrainConfig.of({"svd": {"n_epochs": 3}, "two_tower": {"epochs": 3}})
    curve = fit(kind, tastes(), catalogue(taste_videos()), quick, lambda *step: told.append(step)).curve
    if kind == "popularity":
        assert (told, curve) == ([(1, 1, 0.0)], [])
    else:
        assert told == [(epoch, 3, loss) for epoch, loss in enumerate(curve, 1)]


def test_nothing_to_learn_from_is_an_error(kind: str) -> None:
    with pytest.raises(EmptyTrainingSetError, match=kind):
        fit(kind, interactions([]), catalogue(["a"]), CONFIG)


def test_one_user_and_one_video_are_enough(kind: str) -> None:
    model = fit(kind, interactions([("only", "one", 0, 1.0)]), catalogue([]), CONFIG).model
    ((video, score),) = model.recommend(["only"], 10)[0]
    assert video == "one"
    assert np.isfinite(score)


def test_any_unicode_id_comes_back_as_it_went_in(kind: str, tmp_path: Path) -> None:
    videos = ["видео", "動画 🎬", "a'); DROP TABLE videos;--", "ü"]
    rows = interactions([("日本", video, hour, 0.9) for hour, video in enumerate(videos)])
    model = fit(kind, rows, catalogue(videos), CONFIG).model
    model.save(tmp_path / "m")
    assert {video for video, _ in FactorModel.load(tmp_path / "m").recommend(["日本"], 10)[0]} == set(videos)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("svd", {"svd": {"learning_rate": 500.0}}),
        ("two-tower", {"two_tower": {"learning_rate": 1e30, "epochs": 2, "batch_size": 64}}),
    ],
)
def test_a_training_that_diverges_is_an_error_and_not_a_model(kind: str, config: dict) -> None:
    with pytest.raises(DivergedError, match=kind):
        fit(kind, tastes(), catalogue(taste_videos()), TrainConfig.of(config))

"""People and videos the two-tower never saw: numpy computes what torch would, and it travels with the model."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

from ml.dataset import Catalogue, Encoded
from ml.errors import ModelFilesError
from ml.factors import FactorModel
from ml.features import VideoSchema
from ml.fitting import Fitted
from ml.ids import MISSING, lookup
from ml.recommender import Past
from ml.saved import load
from ml.tower_fold_in import TowerFoldIn
from ml.tower_videos import with_new_videos
from ml.towers import Past as TorchPast
from ml.towers import Sizes, TwoTower, Videos
from ml.two_tower import fit
from ml.two_tower_config import TwoTowerConfig
from tests.ml.planted import START_MS, catalogue, known, taste_videos, tastes

CONFIG = TwoTowerConfig(
    epochs=20, batch_size=64, history_length=4, history_min_weight=0.2, video_id_dropout=0.5
)
CONTENT = np.random.default_rng(0).normal(size=(31, 3)).astype(np.float32)


@lru_cache
def fitted() -> Fitted:
    return fit(known(tastes()), CONFIG, content=CONTENT)


def model() -> FactorModel:
    found = fitted().model
    assert isinstance(found, FactorModel)
    return found


def towers() -> TwoTower:
    profiles = (9, 1, 1, 1, 1)
    sizes = Sizes(len(model().user_ids), 31, VideoSchema.of(known(tastes()).catalogue).sizes, profiles, 3)
    built = TwoTower(sizes, CONFIG).eval()
    built.load_state_dict({name: torch.from_numpy(np.asarray(a)) for name, a in fitted().weights.items()})
    return built


@pytest.mark.parametrize("n", [1, 3, 9])
def test_a_stranger_s_vector_is_what_torch_makes_of_their_past(n: int) -> None:
    rng = np.random.default_rng(n)
    rows, weights = rng.integers(31, size=n), rng.random(n).astype(np.float32)
    ages = (10 * rng.random(n)).astype(np.float32)
    fold_in = model().fold_in
    assert fold_in is not None
    found = fold_in.user_vector(rows, weights, ages, model().video_factors)
    heard = weights >= 0.2  # what training looks at
    newest = [torch.from_numpy(a[heard][::-1][:4].copy())[None] for a in (rows + 1, weights, ages)]
    with torch.inference_mode():
        built = towers()
        asked = TorchPast(torch.tensor([0]), torch.zeros((1, 5), dtype=torch.long), *newest)
        expected = built.log_scale.exp() * built.user_vectors(asked)[0]
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_a_stranger_is_served_by_their_past_and_an_empty_one_by_the_biases() -> None:
    fan_of_b, nobody = model().scores_for([Past(["B-01", "B-02", "B-03"]), Past([])])
    best = model().video_ids[np.argsort(-fan_of_b)[:8]]
    assert all(video.startswith("B") for video in best)
    np.testing.assert_array_equal(nobody, model().video_bias)


def test_a_new_video_s_vector_is_what_torch_makes_of_its_features() -> None:
    planted = known(tastes()).catalogue
    fold_in = model().fold_in
    assert isinstance(fold_in, TowerFoldIn)
    features = fold_in.videos.schema.encode(planted, model().video_ids, CONTENT)
    found = fold_in.videos.vectors(features)
    codes, tags, content = map(torch.from_numpy, (features.codes, features.tags, features.content))
    with torch.inference_mode():
        expected = towers().video_vectors(Videos(torch.zeros(31, dtype=torch.long), codes, tags, content))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_new_videos_join_the_old_ones_and_go_to_those_who_like_their_kind(tmp_path: Path) -> None:
    model().save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert isinstance(loaded, FactorModel)
    fresh = catalogue([*taste_videos(), "A-99", "0-first"])
    more = with_new_videos(loaded, fresh)
    assert more.video_ids.tolist() == sorted([*taste_videos(), "A-99", "0-first"])
    old = lookup(more.video_ids, model().video_ids)
    assert (old != MISSING).all()
    users = [*model().user_ids[:5], "nobody"]
    np.testing.assert_allclose(more.scores(users)[:, old], model().scores(users), rtol=1e-4, atol=1e-4)
    pasts = [Past(["A-01", "A-02"], ages_days=[3, 1])]
    np.testing.assert_allclose(
        more.scores_for(pasts)[:, old], model().scores_for(pasts), rtol=1e-4, atol=1e-4
    )
    fans = [user for user in model().user_ids if "fan" in user]
    own_taste = np.asarray([user.startswith("A") for user in fans])
    vector = more.video_factors[lookup(more.video_ids, ["A-99"])[0]]
    liking = more.user_factors[lookup(more.user_ids, fans)] @ vector
    assert np.mean((liking > 1) == own_taste) >= 0.95
    assert [video for video, _ in more.similar("A-99", 5) if video[0] == "B"] == []


def test_a_watch_of_a_new_video_says_nothing_yet_but_is_no_error() -> None:
    more = with_new_videos(model(), catalogue([*taste_videos(), "C-1"]))
    assert np.isfinite(more.scores_for([Past(["C-1"])])).all()


def test_a_saved_model_folds_in_as_before(tmp_path: Path) -> None:
    model().save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    pasts = [Past(["A-01", "B-02", "unheard"], [1, 0.5, 1], [2, 1, 0]), Past(["B-09"]), Past([])]
    np.testing.assert_array_equal(loaded.scores_for(pasts), model().scores_for(pasts))


def test_a_model_without_towers_makes_no_vectors_of_new_videos() -> None:
    with pytest.raises(ModelFilesError, match="no video tower"):
        with_new_videos(replace(model(), fold_in=None), catalogue(["new"]))


def test_a_catalogue_that_knows_nothing_of_a_video_gives_it_a_vector_all_the_same() -> None:
    more = with_new_videos(model(), Catalogue.of(["mystery"], upload_ms=[START_MS]))
    assert np.linalg.norm(more.video_factors[lookup(more.video_ids, ["mystery"])[0]]) == pytest.approx(
        1, rel=1e-5
    )
    assert len(Encoded.of(tastes(), known(tastes()).catalogue).video_ids) == 31

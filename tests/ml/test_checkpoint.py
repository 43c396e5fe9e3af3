"""A killed training goes on where it was, and never from another's checkpoint."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ml.checkpoint import Checkpoint, fingerprint
from ml.dataset import Known
from ml.errors import ModelFilesError
from ml.factors import FactorModel
from ml.fitting import Fitted
from ml.recommender import Recommender
from ml.tower_training import Trainer
from ml.two_tower import fit
from ml.two_tower_config import TwoTowerConfig
from tests.ml.planted import interactions, known, tastes

CONFIG = TwoTowerConfig(epochs=5, batch_size=16, patience=2, checkpoint_every_s=0)
SAMPLED = CONFIG.model_copy(update={"whole_catalogue_up_to": 0, "uniform_negatives": 8, "lazy_rows": 20})


class Killed(Exception):
    pass


def judged(model: Recommender) -> float:
    """Any number that depends on the model."""
    return float(model.scores(["A-fan-1"]).std())


def killed_at(step: int, monkeypatch: pytest.MonkeyPatch, config: TwoTowerConfig, folder: Path) -> None:
    """A training whose process dies before its n-th step."""
    steps = iter(range(step))
    original = Trainer.take_step

    def dying(self: Trainer, places: np.ndarray) -> tuple[float, int]:
        if next(steps, None) is None:
            raise Killed
        return original(self, places)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "take_step", dying)
        with pytest.raises(Killed):
            fit(known(tastes()), config, validate=judged, checkpoint=folder)


def same(one: Fitted, other: Fitted) -> None:
    assert one.curve == other.curve
    assert one.found == other.found
    assert isinstance(one.model, FactorModel)
    assert isinstance(other.model, FactorModel)
    for name in ("user_factors", "video_factors", "video_bias"):
        np.testing.assert_array_equal(getattr(one.model, name), getattr(other.model, name))
    for name, array in one.weights.items():
        np.testing.assert_array_equal(array, other.weights[name])


@pytest.mark.parametrize("config", [CONFIG, SAMPLED], ids=["whole", "sampled and lazy"])
@pytest.mark.parametrize("step", [1, 8, 19])
def test_a_killed_training_that_goes_on_gives_the_same_to_the_last_bit(
    step: int, config: TwoTowerConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = fit(known(tastes()), config, validate=judged)
    killed_at(step, monkeypatch, config, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    steps: list[int] = []
    original = Trainer.take_step

    def counting(self: Trainer, places: np.ndarray) -> tuple[float, int]:
        steps.append(self.step)
        return original(self, places)

    monkeypatch.setattr(Trainer, "take_step", counting)
    same(fit(known(tastes()), config, validate=judged, checkpoint=tmp_path), expected)
    assert len(steps) == 8 * len(expected.curve) - step  # nothing was done twice
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_other_data_settings_or_seed_is_not_gone_on_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    killed_at(9, monkeypatch, CONFIG, tmp_path)
    (left,) = tmp_path.iterdir()
    fewer = interactions([("u", "A-01", 0, 1.0), ("u", "A-02", 1, 1.0), ("v", "A-01", 2, 1.0)])
    others: list[tuple[Known, TwoTowerConfig, int]] = [
        (known(fewer), CONFIG, 0),
        (known(tastes()), CONFIG.model_copy(update={"learning_rate": 0.001}), 0),
        (known(tastes()), CONFIG, 1),
    ]
    for data, config, seed in others:
        fresh = fit(data, config, seed=seed, validate=lambda _: 0.0)
        same(fit(data, config, seed=seed, validate=lambda _: 0.0, checkpoint=tmp_path), fresh)
        assert list(tmp_path.iterdir()) == [left]


def test_a_renamed_or_damaged_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    mine, other = Checkpoint(tmp_path, "a" * 64), Checkpoint(tmp_path, "b" * 64)
    other.save({"step": 1})
    other.path.rename(mine.path)
    with pytest.raises(ModelFilesError, match=f"{mine.path.name}: a checkpoint of other data"):
        mine.load()
    mine.save({"step": 1})
    mine.path.write_bytes(mine.path.read_bytes()[:-100])
    with pytest.raises(ModelFilesError, match=f"{mine.path.name}: not a checkpoint"):
        mine.load()


def test_a_save_that_fails_leaves_the_checkpoint_that_was_there(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "new", "a" * 64)
    assert checkpoint.load() is None
    checkpoint.save({"step": 1, "weights": torch.ones(2)})
    with pytest.raises(Exception, match="pickle"):
        checkpoint.save({"step": 2, "weights": lambda: None})
    state = checkpoint.load()
    assert state is not None
    assert state["step"] == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == [checkpoint.path.name]


def test_a_fingerprint_is_of_every_value_its_type_and_its_place() -> None:
    numbers = np.arange(4)
    found = {
        fingerprint(["a"], [numbers]),
        fingerprint(["b"], [numbers]),
        fingerprint(["a"], [numbers + 1]),
        fingerprint(["a"], [numbers.reshape(2, 2)]),
        fingerprint(["a"], [numbers.view(np.uint64)]),
        fingerprint(["a"], [numbers, np.empty(0)]),
        fingerprint(["a", ""], [numbers]),
    }
    assert len(found) == 7
    assert fingerprint(["a"], [np.asarray(["é", "b"])]) == fingerprint(["a"], [np.asarray(["é", "b"])])

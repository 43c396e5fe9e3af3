"""Two processes that train together end where one does."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ml.config import TrainConfig
from ml.distributed import World, main
from ml.factors import FactorModel
from ml.saved import load
from ml.two_tower import fit
from ml.two_tower_config import TwoTowerConfig
from tests.ml.planted import known, tastes, write_folder

ROOT = Path(__file__).parents[2]
NO_NOISE = {"dropout": 0.0, "user_id_dropout": 0.0, "video_id_dropout": 0.0}
WHOLE = {"epochs": 3, "batch_size": 32, "device": "cpu"}
SAMPLED = {**WHOLE, "whole_catalogue_up_to": 0, "uniform_negatives": 8, "lazy_rows": 20}

WORKER = """
import json, sys
from pathlib import Path
from ml.distributed import process_group
from ml.two_tower import fit
from ml.two_tower_config import TwoTowerConfig
from tests.ml.planted import known, tastes

out, config = Path(sys.argv[1]), TwoTowerConfig(**json.loads(sys.argv[2]))
with process_group() as world:
    assert world.size == 2
    validate = (lambda model: float(model.scores(["A-fan-1"]).std())) if "--validate" in sys.argv else None
    fitted = fit(known(tastes()), config, validate=validate)
    fitted.model.save(out / str(world.rank))
    (out / f"{world.rank}.json").write_text(json.dumps([fitted.curve, dict(fitted.found)]))
"""


def torchrun(out: Path, config: dict[str, object], *options: str) -> None:
    """`WORKER` in two gloo processes, over loopback."""
    out.mkdir(exist_ok=True)
    (out / "worker.py").write_text(WORKER)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launch += ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    done = subprocess.run(
        [*launch, str(out / "worker.py"), str(out), json.dumps(config), *options],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def factors(folder: Path) -> FactorModel:
    model = load(folder)
    assert isinstance(model, FactorModel)
    return model


@pytest.mark.parametrize("config", [WHOLE, SAMPLED], ids=["whole", "sampled and lazy"])
def test_two_processes_give_what_one_gives_but_for_rounding(
    config: dict[str, object], tmp_path: Path
) -> None:
    """Without dropout, whose draws are each process's own, nothing differs but the order of sums."""
    settings = {**config, **NO_NOISE}
    torchrun(tmp_path, settings)
    alone = fit(known(tastes()), TwoTowerConfig(**settings))  # type: ignore[arg-type]
    assert isinstance(alone.model, FactorModel)
    together = factors(tmp_path / "0")
    for name in ("user_factors", "video_factors", "video_bias"):
        np.testing.assert_array_equal(getattr(together, name), getattr(factors(tmp_path / "1"), name))
    for name in ("user_factors", "video_factors"):
        np.testing.assert_allclose(getattr(together, name), getattr(alone.model, name), atol=2e-3)
    biases = together.video_bias, alone.model.video_bias  # what all videos have more says nothing
    np.testing.assert_allclose(*(bias - bias.mean() for bias in biases), atol=2e-3)
    curve, _ = json.loads((tmp_path / "0.json").read_text())
    assert curve == pytest.approx(alone.curve, rel=1e-4)


def test_with_dropout_they_learn_the_same_tastes_and_agree_when_to_stop(tmp_path: Path) -> None:
    config = {**WHOLE, "epochs": 20, "patience": 2}
    torchrun(tmp_path, config, "--validate")
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert one == other
    fans = [user for user in factors(tmp_path / "0").user_ids.tolist() if "fan" in user]
    lists = factors(tmp_path / "0").recommend(fans, 5)
    assert np.mean([v[0] == user[0] for user, best in zip(fans, lists, strict=True) for v, _ in best]) >= 0.9


def test_alone_nothing_is_shared() -> None:
    world = World.current()
    assert (world.rank, world.size, world.leads) == (0, 1, True)
    assert world.share(np.arange(5)).tolist() == [0, 1, 2, 3, 4]
    assert world.sum(2.5) == 2.5
    assert World(1, 2).share(np.arange(5)).tolist() == [3, 4]
    assert World(1, 2).share(np.arange(1)).tolist() == []


def test_the_command_fits_a_folder_and_saves_the_model(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "set", tastes(), known(tastes()).catalogue)
    config = {"seed": 3, "two_tower": {**WHOLE, "epochs": 1}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main([str(data), str(tmp_path / "model"), "--config", str(tmp_path / "config.json")]) == 0
    settings = TrainConfig.of(config)
    expected = fit(known(tastes()), settings.two_tower, seed=3).model
    assert isinstance(expected, FactorModel)
    np.testing.assert_array_equal(factors(tmp_path / "model").user_factors, expected.user_factors)

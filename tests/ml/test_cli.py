"""The command line that `dvc repro` runs."""

import json
from pathlib import Path

import numpy as np
import pytest

from ml.cli import main
from ml.pipeline import judge, train
from ml.saved import load
from tests.ml.planted import catalogue, taste_videos, tastes, write_folder


@pytest.fixture
def training_set(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "training set", tastes(), catalogue(taste_videos()))


def test_the_command_line_gives_what_the_functions_give(
    training_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("popularity", training_set, tmp_path / "by hand")
    out = tmp_path / "popularity"
    common = ["--training-set", str(training_set), "--out"]
    assert main(["train", "--kind", "popularity", *common, str(out), "--seed", "0"]) == 0
    same = load(out / "full"), load(tmp_path / "by hand" / "full")
    np.testing.assert_array_equal(same[0].video_bias, same[1].video_bias)
    assert main(["judge", *common, str(tmp_path / "j"), "--model", f"popularity={out}"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "popularity validation: epoch 1/1 loss 0.0000"
    assert told[-1] == "better: popularity"
    for seed in (0, 3):
        judging = ["judge", *common, str(tmp_path / "j"), "--model", f"popularity={out}", "--seed", str(seed)]
        assert main(judging) == 0
        judge({"popularity": tmp_path / "by hand"}, training_set, tmp_path / "k", seed=seed)
        by_command, by_hand = ((tmp_path / name / "judgement.json").read_text() for name in ("j", "k"))
        assert by_command == by_hand


def test_the_command_line_takes_the_epochs_of_the_two_tower_model(training_set: Path, tmp_path: Path) -> None:
    arguments = [
        "train",
        "--kind",
        "two-tower",
        "--training-set",
        str(training_set),
        "--out",
        str(tmp_path / "m"),
    ]
    assert main([*arguments, "--two-tower-epochs", "1", "--test-fraction", "0.3"]) == 0
    report = json.loads((tmp_path / "m" / "report.json").read_text())
    assert (report["params"]["epochs"], report["params"]["test_fraction"]) == (1, 0.3)


def test_the_command_line_names_an_error_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "--kind", "svd", "--training-set", str(tmp_path), "--out", str(tmp_path / "m")]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("TrainingSetError: interactions.parquet: no such file")
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("model", ["svd", "svd=", "magic=/tmp"])
def test_the_command_line_refuses_a_model_it_cannot_place(model: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["judge", "--training-set", str(tmp_path), "--out", str(tmp_path), "--model", model])

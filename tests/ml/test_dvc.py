"""`dvc repro` gives what the functions give."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ml.factors import KINDS
from ml.pipeline import judge, train
from stack.settings import PROJECT_ROOT, Settings, telemetry_off
from tests.ml.planted import catalogue, taste_videos, tastes, write_folder

PIPELINE = PROJECT_ROOT / "dvc.yaml"


def dvc(folder: Path, *arguments: str) -> str:
    bin_dir = Path(sys.executable).parent
    environment = {**os.environ, **telemetry_off(), "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_parameters_are_the_defaults_of_the_settings() -> None:
    variables = {
        name: value for group in yaml.safe_load(PIPELINE.read_text())["vars"] for name, value in group.items()
    }
    fields = Settings.model_fields
    assert variables == {
        "home": ".reelgraph",
        **{name: fields[name].default for name in ("test_fraction", "seed", "two_tower_epochs")},
    }


@pytest.mark.slow
def test_repro_gives_the_same_judgement_to_the_last_digit_and_then_rests(tmp_path: Path) -> None:
    project = tmp_path / "project"
    training_set = write_folder(project / ".reelgraph" / "training_set", tastes(), catalogue(taste_videos()))
    shutil.copy(PIPELINE, project)
    shutil.copytree(PROJECT_ROOT / "ml", project / "ml", ignore=shutil.ignore_patterns("__pycache__"))
    dvc(project, "init", "--no-scm", "--quiet")
    (project / ".dvcignore").write_text("__pycache__\n")
    dvc(project, "repro")

    for kind in KINDS:
        train(kind, training_set, tmp_path / "models" / kind)
    judge({kind: tmp_path / "models" / kind for kind in KINDS}, training_set, tmp_path / "judgement")
    by_dvc = project / ".reelgraph" / "dvc_models" / "judgement" / "judgement.json"
    assert by_dvc.read_text() == (tmp_path / "judgement" / "judgement.json").read_text()
    assert "Data and pipelines are up to date" in dvc(project, "repro")

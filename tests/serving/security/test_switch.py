"""The Makefile opens the endpoint for a first look on a laptop, and only there."""

import os
import subprocess
from pathlib import Path

import pytest

from stack.settings import PROJECT_ROOT


def says(folder: Path, target: str, **environment: str) -> str:
    """REELGRAPH_DEVELOPMENT as the command of a target would find it."""
    (folder / "Makefile").write_bytes((PROJECT_ROOT / "Makefile").read_bytes())
    done = subprocess.run(
        ["make", "-s", "-o", ".venv/.installed", target, 'RUN=echo "[$$REELGRAPH_DEVELOPMENT]" #'],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("target", ["demo", "up"])
def test_a_first_look_is_open(tmp_path: Path, target: str) -> None:
    assert says(tmp_path, target) == "[true]"


@pytest.mark.parametrize("target", ["status", "down", "repro"])
def test_no_other_target_switches_it(tmp_path: Path, target: str) -> None:
    assert says(tmp_path, target) == "[]"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"REELGRAPH_DEVELOPMENT": "false"}, "[false]"),
        ({"REELGRAPH_BIND_HOST": "0.0.0.0"}, "[]"),
    ],
)
def test_the_environment_decides(tmp_path: Path, environment: dict[str, str], said: str) -> None:
    assert says(tmp_path, "up", **environment) == said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("REELGRAPH_DEVELOPMENT=false", "[]"),  # the settings read it there
        ("export REELGRAPH_DEVELOPMENT = false", "[]"),
        ("REELGRAPH_BIND_HOST=192.168.1.20", "[]"),
        ("#REELGRAPH_DEVELOPMENT=true", "[true]"),
        ("REELGRAPH_SEED=1", "[true]"),
    ],
)
def test_the_env_file_decides(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / ".env").write_text(f"REELGRAPH_LOG_LEVEL=INFO\n{line}\n")
    assert says(tmp_path, "up") == said

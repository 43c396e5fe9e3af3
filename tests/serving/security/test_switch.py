"""The Makefile opens the endpoint for a first look on a laptop, and only there."""

import os
import subprocess
from pathlib import Path

import pytest

from stack.settings import PROJECT_ROOT, Settings, load_settings


def says(folder: Path, target: str, *given: str, **environment: str) -> str:
    """REELGRAPH_DEVELOPMENT as the command of a target would find it."""
    (folder / "Makefile").write_bytes((PROJECT_ROOT / "Makefile").read_bytes())
    done = subprocess.run(
        ["make", "-s", "-o", ".venv/.installed", target, 'RUN=echo "[$$REELGRAPH_DEVELOPMENT]" #', *given],
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
        ({"reelgraph_bind_host": "0.0.0.0"}, "[]"),  # the settings take it so too
        ({"Reelgraph_Bind_Host": "0.0.0.0"}, "[]"),
        ({"reelgraph_development": "false"}, "[]"),
        ({"REELGRAPH_SEED": "1", "NOT_REELGRAPH_BIND_HOST": "0.0.0.0"}, "[true]"),
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
        ("reelgraph_bind_host=192.168.1.20", "[]"),
        ("\t'REELGRAPH_BIND_HOST' = 192.168.1.20", "[]"),
        ("#REELGRAPH_DEVELOPMENT=true", "[true]"),
        ("REELGRAPH_SEED=1", "[true]"),
    ],
)
def test_the_env_file_decides(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / ".env").write_text(f"REELGRAPH_LOG_LEVEL=INFO\n{line}\n")
    assert says(tmp_path, "up") == said


def test_the_command_line_decides(tmp_path: Path) -> None:
    assert says(tmp_path, "up", "reelgraph_bind_host=0.0.0.0") == "[]"
    assert says(tmp_path, "up", "REELGRAPH_DEVELOPMENT=false") == "[false]"


@pytest.mark.parametrize("name", ["REELGRAPH_BIND_HOST", "reelgraph_bind_host", "Reelgraph_Bind_Host"])
def test_the_settings_take_a_name_in_any_case(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is why the Makefile must."""
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    monkeypatch.setenv(name, "0.0.0.0")
    assert load_settings().bind_host == "0.0.0.0"

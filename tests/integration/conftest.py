"""One whole stack for the integration tests: `reelgraph demo` on a tiny data set, as a person would run it."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stack import control
from stack.settings import PROJECT_ROOT, Settings, child_environment
from tests.conftest import settings_at
from tests.integration.tiny_kuairand import Tiny, write_tiny_kuairand


@dataclass(frozen=True)
class Demo:
    """A stack that the demo brought up, and what the demo said."""

    settings: Settings
    data: Tiny
    output: str

    def again(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_reelgraph(self.settings, *arguments)


def run_reelgraph(
    settings: Settings, *arguments: str, timeout_s: float = 400
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestration.cli", *arguments],
        env=child_environment(settings) | {"COLUMNS": "160"},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.fixture(scope="session")
def demo() -> Iterator[Demo]:
    with tempfile.TemporaryDirectory(prefix="reelgraph whole ") as folder:
        Path(folder).chmod(0o755)  # Postgres runs as a user of its own
        data = write_tiny_kuairand(Path(folder) / "KuaiRand-Pure")
        settings = settings_at(Path(folder) / "home", two_tower_epochs=1)
        try:
            done = run_reelgraph(settings, "demo", "--data", str(data.folder))
            logs = "\n".join(control.log_tail(settings.logs_dir / "dagster-code.log", 60))
            assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
            yield Demo(settings, data, done.stdout)
        finally:
            control.down(settings)


@pytest.fixture(autouse=True)
def _no_colour() -> None:
    os.environ.pop("FORCE_COLOR", None)

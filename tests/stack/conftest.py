"""A supervisor over dummy services, in a process of its own, ended for certain."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from stack import control
from stack.processes import owned, sweep
from stack.run_files import read_state, supervisor_pid
from stack.settings import Settings, child_environment


class DummyStack:
    """Started by `start`; `services` are dicts of name, port, requires, modes."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.supervisor: subprocess.Popen[bytes] | None = None

    def start(self, *services: dict[str, Any]) -> None:
        specification = json.dumps([{"requires": [], "modes": [], **service} for service in services])
        script = Path(__file__).with_name("dummy_stack.py")
        self.supervisor = subprocess.Popen(
            [sys.executable, str(script), specification], env=child_environment(self.settings)
        )

    def service(self, name: str) -> dict[str, Any]:
        state = read_state(self.settings) or {"services": []}
        return next((s for s in state["services"] if s["name"] == name), {"state": "unknown", "restarts": 0})

    def wait(self, condition: Callable[[], object], seconds: float = 10) -> None:
        wait_until(condition, seconds, lambda: f"{read_state(self.settings)}\n{self.log()}")

    def wait_state(self, name: str, state: str, *, restarts: int = 0, seconds: float = 10) -> None:
        """Until the service is in that state and was restarted at least so often."""

        def reached() -> bool:
            now = self.service(name)
            return bool(now["state"] == state and now["restarts"] >= restarts)

        self.wait(reached, seconds)

    def log(self) -> str:
        return (self.settings.logs_dir / "supervisor.log").read_text()

    def processes(self) -> list[psutil.Process]:
        return owned(self.settings.home)

    def end(self) -> None:
        if self.supervisor is not None:
            self.supervisor.kill()
            self.supervisor.wait()
        sweep(self.processes, 0)


def wait_until(
    condition: Callable[[], object], seconds: float = 10, explain: Callable[[], str] = lambda: ""
) -> None:
    """Poll until `condition` is true; fails the test with `explain()` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {explain()}")
        time.sleep(0.02)


@pytest.fixture
def eventually() -> Callable[..., None]:
    return wait_until


@pytest.fixture
def dummy_stack(new_settings: Callable[..., Settings]) -> Iterator[DummyStack]:
    stack = DummyStack(new_settings("a home"))
    yield stack
    stack.end()


@pytest.fixture
def second_dummy_stack(new_settings: Callable[..., Settings]) -> Iterator[DummyStack]:
    stack = DummyStack(new_settings("another home"))
    yield stack
    stack.end()


@pytest.fixture
def real_stack(new_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings for the real commands and services, also in the environment; whatever they start is ended.

    In this process their supervisor is an impatient one, so that no test waits out a real back-off.
    """
    settings = new_settings("real home")
    script = Path(__file__).with_name("dummy_stack.py")
    monkeypatch.setattr(control, "SUPERVISOR", (sys.executable, str(script)))
    environment = child_environment(settings)
    for name in environment:
        if name.startswith("REELGRAPH_"):
            monkeypatch.setenv(name, environment[name])
    yield settings
    pid = supervisor_pid(settings)
    if pid is not None:
        psutil.Process(pid).kill()
    sweep(lambda: owned(settings.home), 0)

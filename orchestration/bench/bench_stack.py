"""A stack of a benchmark's own: a home below `build/bench`, free ports, and a meter of its memory."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stack import control
from stack.settings import PROJECT_ROOT, Settings, child_environment, load_settings
from stack.status import stack_status

BUILD = PROJECT_ROOT / "build" / "bench"


def bench_settings(name: str) -> Settings:
    """The person's settings, in an empty home and on free ports."""
    home = BUILD / f"{name}-home"
    shutil.rmtree(home, ignore_errors=True)
    ports = {field: _free_port() for field in Settings.model_fields if field.endswith("_port")}
    return load_settings().model_copy(update={"home": home, **ports})


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def reelgraph(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does; what it prints is kept."""
    command = [sys.executable, "-m", "orchestration.cli", *arguments]
    environment = child_environment(settings)
    return subprocess.run(
        command, cwd=PROJECT_ROOT, env=environment, text=True, capture_output=True, check=False
    )


@contextmanager
def cleaned_up(settings: Settings) -> Iterator[None]:
    """Whatever happens, the stack is down and its home gone afterwards."""
    try:
        yield
    finally:
        control.down(settings)
        shutil.rmtree(settings.home, ignore_errors=True)


class MemoryMeter:
    """The highest sum of all the stack's processes (proportional set size), sampled once a second."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_bytes = 0

    def __enter__(self) -> "MemoryMeter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(1):
            self.peak_bytes = max(self.peak_bytes, stack_status(self._settings).memory_bytes)


def write_result(name: str, result: dict[str, Any]) -> Path:
    BUILD.mkdir(parents=True, exist_ok=True)
    path = BUILD / f"{name}.json"
    path.write_text(json.dumps({"cores": os.cpu_count(), **result}, indent=2) + "\n")
    return path

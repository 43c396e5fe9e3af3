"""Starting and stopping the stack from outside: what `up`, `down` and `reset` do, without a word to the user."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from stack.postgres import PostgresBinariesMissingError
from stack.preflight import problems
from stack.processes import owned, sweep
from stack.redis_server import RedisBinaryMissingError
from stack.run_files import (
    MARKER,
    HomeNotOursError,
    claim_home,
    only_one_at_a_time,
    read_state,
    supervisor_pid,
    want_services,
    wanted_services,
)
from stack.runner import State
from stack.service import Service, in_start_order, with_requirements
from stack.services import declared_services
from stack.settings import PROJECT_ROOT, Settings, child_environment

SUPERVISOR = (sys.executable, "-m", "stack.supervisor")
POLL_S = 0.1
SUPERVISOR_START_S = 30.0
STOP_S = 120.0

Watcher = Callable[[dict[str, Any]], None]


class PreflightError(Exception):
    """The stack can't start here; a line for each thing to change."""


class StartFailedError(Exception):
    """A service gave up, or the supervisor died; `service` is '' for the supervisor."""

    def __init__(self, service: str, reason: str) -> None:
        super().__init__(f"{service}: {reason}" if service else reason)
        self.service = service


def up(settings: Settings, only: Iterable[str] = (), watch: Watcher = lambda state: None) -> bool:
    """Start what isn't running and wait until all of it is well; True if a supervisor had to be started.

    `only` names services (what they require comes along); empty means all. `watch` gets each new state.
    Raises `UnknownServiceError`, `HomeNotOursError`, `PreflightError`, `StartFailedError`; after one of them,
    or an interrupt, a stack that this call began to start is down again.
    """
    services = _services(settings, only)
    names = [service.name for service in services]
    _make_home(settings)
    with only_one_at_a_time(settings):
        pid = supervisor_pid(settings)
        started = pid is None
        try:
            if pid is None:
                pid = _start_supervisor(settings, services)
            else:
                _ask_for(settings, pid, names)
            _wait_until_well(settings, pid, names, watch)
        except BaseException:
            if started:
                _down(settings, watch)
            raise
    return started


def down(settings: Settings, watch: Watcher = lambda state: None) -> bool:
    """Stop everything of this home, orphans too; False if there was nothing. Raises `StillRunningError`."""
    if not settings.home.exists():
        return False
    pid = supervisor_pid(settings)
    if pid is not None:
        _signal(pid, signal.SIGTERM)  # before our turn: an `up` that still waits gives up at this
    with only_one_at_a_time(settings):
        return _down(settings, watch) or pid is not None


def reset(settings: Settings, watch: Watcher = lambda state: None) -> None:
    """Stop the stack and delete its home; raises `HomeNotOursError` for a folder we did not make."""
    if not settings.home.exists():
        return
    check_ours(settings)
    down(settings, watch)
    shutil.rmtree(settings.home)


def check_ours(settings: Settings) -> None:
    """Raises `HomeNotOursError` unless the home carries our marker."""
    if not (settings.home / MARKER).is_file():
        raise HomeNotOursError(f"{settings.home} was not made by reelgraph (no {MARKER} in it): not deleted")


def log_tail(log: Path, lines: int) -> list[str]:
    """The last `lines` lines of a log; reads only its end."""
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 400 * lines - 4000))
        return file.read().decode(errors="replace").splitlines()[-lines:] if lines else []


def _services(settings: Settings, only: Iterable[str]) -> list[Service]:
    try:
        declared = declared_services(settings)
    except (PostgresBinariesMissingError, RedisBinaryMissingError) as error:
        raise PreflightError(str(error)) from error
    return in_start_order(with_requirements(declared, list(only) or [s.name for s in declared]))


def _make_home(settings: Settings) -> None:
    try:
        claim_home(settings)
        settings.logs_dir.mkdir(exist_ok=True)
        (settings.home / "run").mkdir(exist_ok=True)
        if not os.access(settings.home, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise PreflightError(f"REELGRAPH_HOME: cannot write in {settings.home}: {error.strerror}") from error


def _start_supervisor(settings: Settings, services: list[Service]) -> int:
    sweep(lambda: owned(settings.home), 2)  # what a killed supervisor may have left; it would hold our ports
    if found := problems(settings, services):
        raise PreflightError("\n".join(found))
    want_services(settings, [service.name for service in services])
    with (settings.logs_dir / "supervisor.log").open("ab") as output:
        process = subprocess.Popen(
            SUPERVISOR,
            env=child_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=PROJECT_ROOT,
            start_new_session=True,  # a Ctrl-C here is not for it
        )
    deadline = time.monotonic() + SUPERVISOR_START_S
    while read_state(settings) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise StartFailedError("", "the supervisor did not start")
        time.sleep(POLL_S)
    return process.pid


def _ask_for(settings: Settings, pid: int, names: list[str]) -> None:
    """Have the running supervisor start these too, and try again what it gave up; returns when it has read that."""
    before = read_state(settings)
    if before is None:
        raise StartFailedError("", "the supervisor died or was stopped")
    if unknown := [name for name in names if name not in before.get("declared", [])]:
        raise StartFailedError(
            "",
            f"the running stack has no {', '.join(unknown)}: "
            "it was started with other settings or code; `reelgraph down && reelgraph up`",
        )
    want_services(settings, sorted({*wanted_services(settings), *names}))
    _signal(pid, signal.SIGHUP)
    while True:
        now = read_state(settings)
        if now is None or now["stopping"]:
            raise StartFailedError("", "the stack is being stopped")
        if now["rereads"] > before["rereads"]:
            return
        time.sleep(POLL_S / 2)


def _wait_until_well(settings: Settings, pid: int, names: list[str], watch: Watcher) -> None:
    while True:
        state = read_state(settings)
        if state is None:
            if supervisor_pid(settings) != pid:
                raise StartFailedError("", "the supervisor died or was stopped")
        else:
            watch(state)
            mine = {s["name"]: s for s in state["services"] if s["name"] in names}
            if failed := next((s for s in mine.values() if s["state"] == State.FAILED), None):
                raise StartFailedError(failed["name"], failed["detail"])
            if len(mine) == len(names) and all(State(s["state"]).well for s in mine.values()):
                return
            if state["stopping"]:
                raise StartFailedError("", "the stack is being stopped")
        time.sleep(POLL_S)


def _down(settings: Settings, watch: Watcher) -> bool:
    pid = supervisor_pid(settings)
    if pid is not None:
        _signal(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while supervisor_pid(settings) == pid:
            if state := read_state(settings):
                watch(state)
            if time.monotonic() > deadline:
                _signal(pid, signal.SIGKILL)
            time.sleep(POLL_S)
    return bool(sweep(lambda: owned(settings.home), 2)) or pid is not None


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:  # it ended by itself meanwhile
        return

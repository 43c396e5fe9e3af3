"""Child processes that can't be lost: started in their own session, marked, found again, stopped for good."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

# Every process we start carries these, and so does all it starts. Not REELGRAPH_*: those are settings.
OWNER_VARIABLE = "STACK_OWNER"
SERVICE_VARIABLE = "STACK_SERVICE"
RUN_VARIABLE = "STACK_RUN"

# These write their title over their environment, so they are known by where they run.
_TITLE_WRITERS = {"postgres", "redis-server"}
_LAUNCHER = Path(__file__).with_name("launcher.py")
_POLL_S = 0.05


class StillRunningError(Exception):
    """A process survived SIGKILL (stuck in the kernel, or not ours to signal)."""


@dataclass(frozen=True)
class Identity:
    """The user a process runs as."""

    uid: int
    gid: int


def spawn(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    output: IO[bytes] | int,
    owner: Path,
    service: str,
    cwd: Path | None = None,
    identity: Identity | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own; it gets `death_signal` when the calling *thread* ends.

    Call it from the main thread. Its pid is the pid of the command (the launcher execs it). `output` takes
    stdout and stderr; stdin is empty.
    """
    uid, gid = (identity.uid, identity.gid) if identity else (-1, -1)
    launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid())]
    return subprocess.Popen(
        [*launcher, str(int(death_signal)), str(uid), str(gid), *command],
        env={**environment, OWNER_VARIABLE: str(owner), SERVICE_VARIABLE: service},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        start_new_session=True,
    )


def owned(
    owner: Path, service: str | None = None, *, run: str | None = None, born_before: float | None = None
) -> list[psutil.Process]:
    """Every live process of the stack at `owner`, whoever its parent is now; never the calling one.

    `service` narrows to one service. `run` narrows to what one supervisor started; a process that hides its
    environment counts if it was created before `born_before` (seconds since the epoch).
    """
    own = os.getpid()
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != own and _belongs(process, owner, service, run, born_before):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):  # gone, or another user's: not ours
            continue
    return found


def _belongs(
    process: psutil.Process, owner: Path, service: str | None, run: str | None, born_before: float | None
) -> bool:
    if process.status() == psutil.STATUS_ZOMBIE:
        return False
    environment = process.environ()
    if environment.get(OWNER_VARIABLE) == str(owner):
        same_service = service is None or environment.get(SERVICE_VARIABLE) == service
        return same_service and (run is None or environment.get(RUN_VARIABLE) == run)
    if process.name() not in _TITLE_WRITERS:
        return False
    home = owner.resolve()
    if not Path(process.cwd()).is_relative_to(home / service if service else home):
        return False
    return born_before is None or process.create_time() < born_before


def service_of(process: psutil.Process, owner: Path) -> str:
    """The service that a process found by `owned` belongs to; raises psutil's errors."""
    name = process.environ().get(SERVICE_VARIABLE)
    return name or Path(process.cwd()).relative_to(owner.resolve()).parts[0]


def signal_all(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send `number` to each; one that is gone already is what we wanted, one not ours to signal stays."""
    for process in processes:
        try:
            process.send_signal(number)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def sweep(find: Callable[[], list[psutil.Process]], grace_s: float) -> int:
    """End every process that `find` finds: SIGTERM, after `grace_s` SIGKILL; returns how many there were.

    `find` is asked again each time, because what is being ended may start more. Raises `StillRunningError`.
    """
    found = find()
    seen = {process.pid for process in found}
    if found and grace_s > 0:
        signal_all(found, signal.SIGTERM)
        found = _wait_gone(find, grace_s)
    if found:
        seen |= {process.pid for process in found}
        signal_all(found, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while found := find():
            if time.monotonic() > deadline:
                pids = ", ".join(str(process.pid) for process in found)
                raise StillRunningError(f"could not end process {pids}")
            signal_all(found, signal.SIGKILL)
            time.sleep(_POLL_S)
    return len(seen)


def _wait_gone(find: Callable[[], list[psutil.Process]], seconds: float) -> list[psutil.Process]:
    deadline = time.monotonic() + seconds
    while (found := find()) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return found


def stop(process: subprocess.Popen[bytes], number: signal.Signals, grace_s: float) -> int:
    """Ask a child of ours to end with `number`, kill it after `grace_s`; returns its exit status."""
    if process.poll() is None:
        process.send_signal(number)
        try:
            return process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait(10)


def adopt_orphans() -> None:
    """Make this process the parent of any descendant that loses its own (Linux `PR_SET_CHILD_SUBREAPER`)."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(36, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def reap_adopted(known: Iterable[int]) -> None:
    """Collect dead children that were adopted; `known` pids are left to their `Popen`."""
    keep = set(known)
    while True:
        try:
            dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if dead is None or dead.si_pid in keep:
            return
        os.waitpid(dead.si_pid, os.WNOHANG)


def exit_reason(status: int) -> str:
    """`exit code 3` or `killed by SIGKILL`, from a Popen return code."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"

"""Processes are started with what they need, found whoever their parent is, and ended for good."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from stack.processes import (
    OWNER_VARIABLE,
    RUN_VARIABLE,
    Identity,
    exit_reason,
    owned,
    service_of,
    signal_all,
    spawn,
    stop,
    sweep,
)

# Without site-packages: a process under coverage may be asked to end while coverage is still starting.
SLEEP = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "a home"
    yield home
    sweep(lambda: owned(home), 0)


def start(
    owner: Path, command: list[str], service: str = "one", run: str = "r1", **more: object
) -> subprocess.Popen[bytes]:
    environment = {**os.environ, RUN_VARIABLE: run}
    return spawn(
        command,
        environment=environment,
        output=more.pop("output", subprocess.DEVNULL),  # type: ignore[arg-type]
        owner=owner,
        service=service,
        **more,  # type: ignore[arg-type]
    )


def test_the_process_leads_a_session_and_dies_with_its_parent(
    owner: Path, eventually: Callable[..., None]
) -> None:
    code = (
        "import subprocess, sys, os, time; from pathlib import Path; from stack.processes import spawn;"
        f"spawn({SLEEP!r}, environment=dict(os.environ), output=subprocess.DEVNULL,"
        f" owner=Path({str(owner)!r}), service='one'); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    eventually(lambda: any("time.sleep" in " ".join(p.cmdline()) for p in owned(owner)))
    eventually(lambda: [p.cmdline() for p in owned(owner)] == [SLEEP])
    (child,) = owned(owner)
    assert os.getsid(child.pid) == child.pid
    parent.kill()
    parent.wait()
    eventually(lambda: owned(owner) == [])


def test_owned_is_narrowed_by_service_and_by_run(owner: Path) -> None:
    one = start(owner, SLEEP, "one", "r1")
    two = start(owner, SLEEP, "two", "r2")
    assert {p.pid for p in owned(owner)} == {one.pid, two.pid}
    assert [p.pid for p in owned(owner, "one")] == [one.pid]
    assert [p.pid for p in owned(owner, run="r2")] == [two.pid]
    assert [service_of(p, owner) for p in owned(owner, "two")] == ["two"]
    assert owned(owner.parent) == []
    assert stop(one, signal.SIGTERM, 5) == -signal.SIGTERM
    assert stop(one, signal.SIGTERM, 5) == -signal.SIGTERM
    stop(two, signal.SIGTERM, 5)


def test_one_that_ignores_the_signal_is_killed_after_the_grace(owner: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = (
        f"import signal, time; signal.signal(15, signal.SIG_IGN); open({str(ready)!r}, 'w'); time.sleep(600)"
    )
    process = start(owner, [sys.executable, "-c", code])
    while not ready.exists():
        time.sleep(0.01)
    assert stop(process, signal.SIGTERM, 0.1) == -signal.SIGKILL


def test_sweep_asks_kindly_then_kills_and_counts(owner: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = (
        f"import signal, time; signal.signal(15, signal.SIG_IGN); open({str(ready)!r}, 'w'); time.sleep(600)"
    )
    stubborn, kind = start(owner, [sys.executable, "-c", code]), start(owner, SLEEP)
    while not ready.exists() or len(owned(owner)) < 2:
        time.sleep(0.01)
    time.sleep(0.1)  # the launcher of the second has become the sleeper
    assert sweep(lambda: owned(owner), 0.5) == 2
    assert (stubborn.wait(), kind.wait()) == (-signal.SIGKILL, -signal.SIGTERM)
    assert sweep(lambda: owned(owner), 0.5) == 0


def test_a_command_that_does_not_exist_says_so_in_the_log(owner: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = start(owner, ["/no/such/program"], output=output)
    assert process.wait(10) == 127
    assert log.read_text() == "cannot start /no/such/program: No such file or directory\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users")
def test_as_root_a_command_can_run_as_another_user(owner: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = start(owner, ["/usr/bin/id"], output=output, identity=Identity(1, 1), cwd=Path("/"))
    assert process.wait(10) == 0
    assert log.read_text().startswith("uid=1(daemon) gid=1(daemon) groups=1(daemon)")


def test_a_process_that_is_gone_is_not_an_error(owner: Path, eventually: Callable[..., None]) -> None:
    process = start(owner, SLEEP)
    gone = psutil.Process(process.pid)
    # Before the launcher has set the signals right, one that the tests' own parent ignores is lost.
    eventually(lambda: "launcher.py" not in " ".join(gone.cmdline()))
    stop(process, signal.SIGTERM, 5)
    signal_all([gone], signal.SIGKILL)
    assert process.returncode == -signal.SIGTERM


def test_the_tests_own_process_is_never_found(monkeypatch: pytest.MonkeyPatch, owner: Path) -> None:
    monkeypatch.setenv(OWNER_VARIABLE, str(owner))
    assert owned(owner) == []


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "exit code 0"), (3, "exit code 3"), (-9, "killed by SIGKILL"), (-63, "killed by signal 63")],
)
def test_exit_reasons(status: int, words: str) -> None:
    assert exit_reason(status) == words

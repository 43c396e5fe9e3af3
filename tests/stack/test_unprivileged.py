"""The stack runs for a user who is not root, with nothing but its own files."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stack.processes import owned
from stack.settings import Settings, child_environment


def as_user(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `reelgraph ...` as us, or if we are root as user 1 of a user namespace: no root, no capability,
    our files still its own (the interpreter may lie where nobody else can read)."""
    command = [sys.executable, "-m", "stack.cli", *arguments]
    if os.geteuid() == 0:
        command = ["unshare", "--user", "--map-user=1", "--map-group=1", *command]
    environment = {**child_environment(settings), "HOME": str(settings.home.parent)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def can_be_user() -> bool:
    if os.geteuid() != 0:
        return True
    if shutil.which("unshare") is None:
        return False
    trial = ["unshare", "--user", "--map-user=1", "--map-group=1", "true"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_be_user(), reason="root, and user namespaces are not allowed here")
def test_a_normal_user_starts_and_stops_the_stores(real_stack: Settings) -> None:
    started = as_user(real_stack, "up", "--only", "postgres,redis")
    assert started.returncode == 0, started.stdout + started.stderr
    status = json.loads(as_user(real_stack, "status", "--json").stdout)
    assert {row["name"]: row["state"] for row in status["services"]} == {
        "postgres": "healthy",
        "redis": "healthy",
    }
    pids = [row["pid"] for row in status["services"]]
    owners = {Path(f"/proc/{pid}").stat().st_uid for pid in pids}
    assert owners == {os.geteuid()}  # no change of user: in the namespace it is user 1
    assert all(row["memory_bytes"] > 1_000_000 for row in status["services"])
    stopped = as_user(real_stack, "down")
    assert (stopped.returncode, stopped.stdout.splitlines()[-1]) == (0, "stopped")
    assert owned(real_stack.home) == []

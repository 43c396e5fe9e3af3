"""The stack runs for a user who is not root, with nothing but its own files."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from stack.processes import owned
from stack.settings import Settings, child_environment

SCRIPT = """
set -e
reelgraph() { "$PYTHON" -m stack.cli "$@"; }
reelgraph up --only postgres,redis
reelgraph status --json > "$REELGRAPH_HOME/first.json"
kill -9 "$(cat "$REELGRAPH_HOME/run/supervisor.lock")"
reelgraph up --only postgres,redis
reelgraph status --json > "$REELGRAPH_HOME/second.json"
reelgraph down
"""


def as_user(settings: Settings) -> subprocess.CompletedProcess[str]:
    """Run SCRIPT as us, or if we are root as user 1 of a user namespace: no root, no capability, our files
    still its own (the interpreter may lie where nobody else can read)."""
    command = ["sh", "-c", SCRIPT]
    if os.geteuid() == 0:
        command = ["unshare", "--user", "--map-user=1", "--map-group=1", *command]
    environment = {**child_environment(settings), "HOME": str(settings.home.parent), "PYTHON": sys.executable}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def can_be_user() -> bool:
    if os.geteuid() != 0:
        return True
    if shutil.which("unshare") is None:
        return False
    trial = ["unshare", "--user", "--map-user=1", "--map-group=1", "true"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_be_user(), reason="root, and user namespaces are not allowed here")
def test_a_normal_user_starts_kills_restarts_and_stops_the_stores(real_stack: Settings) -> None:
    done = as_user(real_stack)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "stopped"
    first, second = (json.loads((real_stack.home / f"{n}.json").read_text()) for n in ("first", "second"))
    for status in (first, second):
        states = {row["name"]: row["state"] for row in status["services"]}
        assert states == {"postgres": "healthy", "redis": "healthy"}
        assert all(row["memory_bytes"] > 1_000_000 for row in status["services"])
    assert first["supervisor_pid"] != second["supervisor_pid"]
    data = real_stack.home / "postgres"
    assert data.stat().st_uid == os.geteuid()  # no change of user
    assert owned(real_stack.home) == []

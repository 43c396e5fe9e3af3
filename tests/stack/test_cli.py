"""The commands, against a real stack of Redis and Postgres: what they do, say and return.

Where they run in this process the supervisor is an impatient one (see `real_stack`).
"""

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner, Result

from stack import fingerprint
from stack.cli import app
from stack.clients import redis_client
from stack.processes import owned
from stack.run_files import supervisor_pid
from stack.settings import Settings, child_environment


def run(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=answer)


def rows(settings: Settings) -> dict[str, dict[str, object]]:
    status = json.loads(run("status", "--json").stdout)
    assert status["home"] == str(settings.home)
    return {row["name"]: row for row in status["services"]}


def test_up_is_idempotent_and_down_too(real_stack: Settings) -> None:
    assert run("down").stdout == "nothing was running\n"
    first = run("up", "--only", "redis")
    assert first.exit_code == 0, first.output
    assert f"redis              healthy    redis://127.0.0.1:{real_stack.redis_port}" in first.stdout
    before = rows(real_stack)
    assert list(before) == ["redis"]
    assert (before["redis"]["state"], before["redis"]["restarts"]) == ("healthy", 0)
    assert isinstance(before["redis"]["memory_bytes"], int)
    assert before["redis"]["memory_bytes"] > 1_000_000
    assert run("up", "--only", "redis").exit_code == 0
    assert rows(real_stack)["redis"]["pid"] == before["redis"]["pid"]
    assert run("status").exit_code == 0
    assert run("down").stdout.endswith("stopped\n")
    assert owned(real_stack.home) == []
    assert run("down").stdout == "nothing was running\n"
    gone = run("status")
    assert (gone.exit_code, gone.stdout) == (3, f"not running ({real_stack.home})\n")


def test_up_of_more_services_joins_the_running_stack_and_data_outlives_it(real_stack: Settings) -> None:
    assert run("up", "--only", "redis").exit_code == 0
    pid = rows(real_stack)["redis"]["pid"]
    redis_client(real_stack).set("kept", "yes")
    assert run("up", "--only", "postgres").exit_code == 0
    now = rows(real_stack)
    assert (now["redis"]["pid"], now["postgres"]["state"]) == (pid, "healthy")
    assert run("down").exit_code == 0
    assert run("up", "--only", "redis").exit_code == 0
    assert redis_client(real_stack).get("kept") == b"yes"


def test_a_stack_with_other_settings_or_code_than_now_says_so(
    real_stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "running with other settings than now: `reelgraph down && reelgraph up` applies them\n"
    assert "running with other" not in run("up", "--only", "redis").stdout
    assert "running with other" not in run("status").stdout
    assert json.loads(run("status", "--json").stdout)["outdated"] is False
    monkeypatch.setenv("REELGRAPH_SEED", "7")
    assert run("up", "--only", "redis").stdout.endswith(line)
    assert line in run("status").stdout
    told = json.loads(run("status", "--json").stdout)
    assert (told["outdated"], told["note"], told["healthy"]) == (True, line.strip(), True)
    monkeypatch.setattr(fingerprint, "code_hash", lambda root: "other")
    assert "running with other settings and code than now" in run("status").stdout
    monkeypatch.delenv("REELGRAPH_SEED")
    assert "running with other code than now" in run("status").stdout


def test_every_command_reaches_loopback_without_a_proxy(
    real_stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "corp.example")
    monkeypatch.delenv("no_proxy", raising=False)
    run("status")
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "corp.example,127.0.0.1,localhost,::1"


def test_a_killed_store_comes_back_with_its_data_and_status_tells(
    real_stack: Settings, eventually: Callable[..., None]
) -> None:
    assert run("up", "--only", "redis,postgres").exit_code == 0
    for name in ("redis", "postgres"):
        pid = rows(real_stack)[name]["pid"]
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda name=name: rows(real_stack)[name]["restarts"] == 1)
        eventually(lambda name=name: rows(real_stack)[name]["state"] == "healthy")
    status = run("status")
    assert status.exit_code == 0
    assert "redis: last ended: killed by SIGKILL" in status.stdout
    assert "postgres: last ended: killed by SIGKILL" in status.stdout
    assert "postgres: killed by SIGKILL; restart 1 in" in run("logs", "supervisor").stdout


def test_up_after_the_supervisor_was_killed_works(
    real_stack: Settings, eventually: Callable[..., None]
) -> None:
    assert run("up", "--only", "redis,postgres").exit_code == 0
    pid = supervisor_pid(real_stack)
    assert pid is not None
    psutil.Process(pid).kill()
    eventually(lambda: supervisor_pid(real_stack) is None)
    assert run("up", "--only", "redis,postgres").exit_code == 0  # at once: it may not trip over what is left
    assert rows(real_stack)["postgres"]["state"] == "healthy"
    assert run("down").exit_code == 0
    assert owned(real_stack.home) == []


def test_orphans_of_a_dead_supervisor_are_counted_and_ended_by_down(real_stack: Settings) -> None:
    assert run("up", "--only", "redis").exit_code == 0
    pid = supervisor_pid(real_stack)
    assert pid is not None
    supervisor = psutil.Process(pid)
    (watchdog,) = [p for p in supervisor.children() if "stack.watchdog" in p.cmdline()]
    (redis,) = owned(real_stack.home)
    redis.suspend()  # it can't react to the kernel's signal
    supervisor.suspend()
    watchdog.kill()
    supervisor.kill()
    supervisor.wait()
    status = run("status")
    assert status.exit_code == 3
    assert "1 processes are left of a dead supervisor: reelgraph down" in status.stdout
    assert run("down").stdout == "stopped\n"
    assert owned(real_stack.home) == []


def test_a_taken_port_is_one_line_that_names_everything_and_nothing_starts(real_stack: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", real_stack.redis_port))
        taken.listen()
        result = run("up", "--only", "redis,postgres")
    assert result.exit_code == 1
    line = result.stderr.strip()
    assert line.startswith(f"port {real_stack.redis_port} (redis) is taken by ")
    assert line.endswith(f"(pid {os.getpid()}); choose another with REELGRAPH_REDIS_PORT")
    assert "\n" not in line
    assert supervisor_pid(real_stack) is None
    assert owned(real_stack.home) == []


def test_a_full_disk_is_one_line(real_stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=12_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    result = run("up", "--only", "redis")
    assert result.exit_code == 1
    assert result.stderr == (
        f"disk nearly full: 12 MB free at {real_stack.home}, 1 GB needed; "
        "free some, or move the state with REELGRAPH_HOME\n"
    )


def test_a_home_that_cannot_be_made_is_one_line(
    real_stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("REELGRAPH_HOME", str(tmp_path / "file" / "home"))
    result = run("up", "--only", "redis")
    assert result.exit_code == 1
    assert result.stderr == f"REELGRAPH_HOME: cannot write in {tmp_path}/file/home: Not a directory\n"


def test_a_home_with_other_files_is_refused_by_up_and_reset(real_stack: Settings) -> None:
    real_stack.home.mkdir()
    (real_stack.home / "thesis.tex").write_text("precious")
    result = run("up", "--only", "redis")
    assert result.exit_code == 1
    assert "has other files in it (thesis.tex); name an empty or new folder" in result.stderr
    assert run("reset", "--yes").exit_code == 1
    assert (real_stack.home / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize("command", ["up", "down", "status", "logs", "reset"])
def test_a_bad_setting_is_named_and_exits_2(
    command: str, real_stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REELGRAPH_REDIS_PORT", "70000")
    result = run(command)
    assert result.exit_code == 2
    assert result.stderr.startswith("REELGRAPH_REDIS_PORT: ")
    assert "70000" in result.stderr


def test_an_unknown_service_is_named_with_those_there_are(real_stack: Settings) -> None:
    result = run("up", "--only", "rediss")
    assert result.exit_code == 2
    assert result.stderr.startswith("no service 'rediss'; there are: clickhouse, postgres, redis, ")


def test_a_service_that_cannot_start_is_explained_and_all_is_down_again(
    real_stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (real_stack.home / "redis").mkdir(parents=True)
    (real_stack.home / ".reelgraph-home").touch()
    (real_stack.home / "redis" / "appendonly.aof").write_text("this is no append-only file\n")
    result = run("up", "--only", "redis,postgres")
    assert result.exit_code == 1
    assert "redis: gave up after 3 deaths in a row, the last: exit code 1" in result.stderr
    assert f"the end of {real_stack.home}/logs/redis.log:" in result.stderr
    assert "Bad file format reading the append only file" in result.stderr
    assert supervisor_pid(real_stack) is None
    assert owned(real_stack.home) == []


def test_reset_asks_then_deletes(real_stack: Settings) -> None:
    assert run("reset", "--yes").stdout == f"nothing to delete at {real_stack.home}\n"
    assert run("up", "--only", "redis").exit_code == 0
    refused = run("reset", answer="n\n")
    assert (refused.exit_code, refused.stderr) == (1, "nothing deleted\n")
    assert rows(real_stack)["redis"]["state"] == "healthy"
    done = run("reset", answer="y\n")
    assert done.exit_code == 0
    assert done.stdout.endswith(f"deleted {real_stack.home}\n")
    assert not real_stack.home.exists()
    assert owned(real_stack.home) == []


def test_logs_of_one_service_or_of_all_with_their_names(real_stack: Settings) -> None:
    logs = real_stack.logs_dir
    logs.mkdir(parents=True)
    (logs / "redis.log").write_text("".join(f"line {i}\n" for i in range(100)))
    (logs / "mlflow.log").write_text("ready\n")
    assert run("logs", "redis", "-n", "2").stdout == "line 98\nline 99\n"
    assert run("logs", "-n", "1").stdout == (
        "mlflow             | ready\nredis              | line 99\n"  # by name
    )
    missing = run("logs", "kafka")
    assert (missing.exit_code, missing.stderr) == (2, "no log of 'kafka'; there are: mlflow, redis\n")


def test_logs_follow_what_is_written_also_after_a_trim(
    real_stack: Settings, eventually: Callable[..., None]
) -> None:
    logs = real_stack.logs_dir
    logs.mkdir(parents=True)
    log = logs / "redis.log"
    log.write_text("old\n" * 10)
    said = real_stack.home / "said"
    with said.open("wb") as output:
        follower = subprocess.Popen(
            [sys.executable, "-m", "stack.cli", "logs", "redis", "-f", "-n", "1"],
            stdout=output,
            env=child_environment(real_stack),
            # Whoever runs the tests in the background passes an ignored SIGINT on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    try:
        eventually(lambda: said.read_text() == "old\n")
        with log.open("a") as file:
            file.write("new\nhalf")
        eventually(lambda: said.read_text() == "old\nnew\n")
        os.truncate(log, 0)
        with log.open("a") as file:
            file.write("after\n")
        eventually(lambda: said.read_text() == "old\nnew\nafter\n")
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == 0
    finally:
        follower.kill()


def test_ctrl_c_during_up_takes_it_down_again(real_stack: Settings, eventually: Callable[..., None]) -> None:
    """With the live table of a terminal, as a person would."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "stack.cli", "up", "--only", "mlflow"],  # takes seconds
        env={**child_environment(real_stack), "TERM": "xterm"},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    os.close(follower)
    try:
        eventually(lambda: (real_stack.logs_dir / "postgres.log").exists())
        process.send_signal(signal.SIGINT)
        said = b""
        while True:
            try:
                said += os.read(leader, 65536)
            except OSError:  # the terminal's other end is closed
                break
        assert process.wait(30) == 130
    finally:
        process.kill()
        os.close(leader)
    assert b"interrupted; what had been started is down again" in said
    assert b"starting" in said
    assert supervisor_pid(real_stack) is None
    assert owned(real_stack.home) == []


def test_down_ends_an_up_that_still_waits(real_stack: Settings, eventually: Callable[..., None]) -> None:
    (real_stack.home / "redis").mkdir(parents=True)
    (real_stack.home / ".reelgraph-home").touch()
    (real_stack.home / "redis" / "appendonly.aof").write_text("this keeps redis from starting\n")
    waiting = subprocess.Popen(
        [sys.executable, "-m", "stack.cli", "up", "--only", "redis"],
        env=child_environment(real_stack),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    eventually(lambda: (real_stack.logs_dir / "redis.log").exists())
    assert run("down").exit_code == 0
    _, said = waiting.communicate(timeout=20)
    assert waiting.returncode == 1
    assert said.startswith(("the stack is being stopped\n", "the supervisor died or was stopped\n"))
    assert supervisor_pid(real_stack) is None

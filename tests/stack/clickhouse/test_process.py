"""The process: its data outlive it, it ends in order, and it says in one line why it cannot start."""

import contextlib
import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from stack.clickhouse.__main__ import main

from .conftest import PROJECT_ROOT, Server, command, free_port, until

Start = Callable[..., Server]


def test_data_survive_kill_9_and_restart(start_server: Start) -> None:
    server = start_server()
    server.sql("CREATE TABLE kept (n UInt64) ENGINE = MergeTree ORDER BY n")
    server.sql("CREATE DATABASE reelgraph")
    server.sql("CREATE TABLE reelgraph.kept (n UInt64) ENGINE = MergeTree ORDER BY n")
    stop = threading.Event()
    acknowledged = [0]

    def write() -> None:
        while not stop.is_set():
            try:
                if server.post("INSERT INTO reelgraph.kept FORMAT TSV\n" + "1\n" * 1000).status_code == 200:
                    acknowledged[0] += 1000
            except httpx.TransportError:
                return

    writer = threading.Thread(target=write)
    writer.start()
    server.sql("INSERT INTO kept SELECT number FROM numbers(100000)")
    until(lambda: acknowledged[0] >= 10_000)
    assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    stop.set()
    writer.join()
    again = start_server(path=server.path)
    assert again.sql("SELECT count() FROM kept") == "100000\n"
    count = int(again.sql("SELECT count() FROM reelgraph.kept"))
    # All that was acknowledged; the one under way, whole or not at all.
    assert count in (acknowledged[0], acknowledged[0] + 1000)
    assert again.stop() == 0


def test_stops_in_order_and_at_once_when_idle(start_server: Start) -> None:
    server = start_server()
    server.sql("SELECT 1", session_id="open")
    started = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - started < 10
    assert "stopped" in server.log.read_text()


def test_finishes_what_runs_and_cancels_what_does_not_end(start_server: Start) -> None:
    server = start_server("--grace", "3")
    short: list[str] = []
    threads = [
        threading.Thread(target=lambda: short.append(server.sql("SELECT sleep(1)"))),
        threading.Thread(
            target=_ignore_end,
            args=(server, "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1"),
        ),
    ]
    for thread in threads:
        thread.start()
    until(lambda: server.sql("SELECT count() FROM system.processes") == "3\n")
    assert server.stop() == 0
    for thread in threads:
        thread.join()
    assert short == ["0\n"]


def _ignore_end(server: Server, sql: str) -> None:
    with contextlib.suppress(httpx.TransportError):
        server.post(sql)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(arguments), cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_folder_in_use_is_one_clear_line(start_server: Start) -> None:
    server = start_server()
    result = run(*command(server.path, free_port()))
    assert result.returncode == 1
    assert result.stderr == (
        f"clickhouse: {server.path} is in use by another ClickHouse process (pid {server.process.pid})\n"
    )
    assert server.sql("SELECT 1") == "1\n"


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        result = run(*command(tmp_path / "x", port))
    assert (result.returncode, result.stderr) == (
        1,
        f"clickhouse: cannot listen on 127.0.0.1:{port}: Address already in use\n",
    )


@pytest.mark.parametrize(
    ("users", "message"),
    [
        ("{", "not JSON"),
        ('{"a": {"password_sha256": "x"}}', "a.password_sha256: String should match pattern"),
        ('{"a": {"readonly": 3}}', "a.readonly: Input should be 0, 1 or 2"),
    ],
)
def test_a_bad_users_file_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], users: str, message: str
) -> None:
    file = tmp_path / "users.json"
    file.write_text(users)
    assert main(["--path", str(tmp_path / "d"), "--users-file", str(file)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"clickhouse: {file}: {message}")
    assert error.count("\n") == 1


def test_what_cannot_be_served_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--path", str(tmp_path), "--users-file", str(tmp_path / "none.json")]) == 1
    assert "No such file" in capsys.readouterr().err
    assert main(["--path", str(tmp_path), "--host", "0.0.0.0"]) == 1
    assert "may only be served on loopback" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["--path", str(tmp_path / "file"), "--port", str(free_port())]) == 1
    assert "File exists" in capsys.readouterr().err
    for options in (["--port", "70000"], ["--max-memory", "5"], ["--grace", "-1"]):
        with pytest.raises(SystemExit) as stopped:
            main(["--path", str(tmp_path), *options])
        assert stopped.value.code == 2
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert json.dumps("--max-memory")[1:-1] in capsys.readouterr().out

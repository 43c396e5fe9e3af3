"""Servers of our own: one for all tests of this folder, others that a test may kill."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx
import pytest
from clickhouse_connect.driver.client import Client

from stack.settings import PROJECT_ROOT


@dataclass
class Server:
    """A running server; `sql` posts a statement and returns its answer's text, failing the test on an error."""

    process: subprocess.Popen[bytes]
    path: Path
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def post(self, content: Any = None, **parameters: str) -> httpx.Response:
        return httpx.post(self.url, params=parameters, content=content, timeout=60)

    def sql(self, statement: str, **parameters: str) -> str:
        response = self.post(statement, **parameters)
        assert response.status_code == 200, response.text
        return response.text

    def client(self, **options: Any) -> Client:
        return clickhouse_connect.get_client(
            **{"host": "127.0.0.1", "port": self.port, "tz_mode": "aware", **options}
        )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def command(path: Path, port: int, *options: str) -> list[str]:
    return [sys.executable, "-m", "stack.clickhouse", "--path", str(path), "--port", str(port), *options]


def start(path: Path, *options: str) -> Server:
    port = free_port()
    log = path.with_suffix(".log")
    with log.open("ab") as output:
        process = subprocess.Popen(command(path, port, *options), cwd=PROJECT_ROOT, stderr=output)
    server = Server(process, path, port, log)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"the server ended: {log.read_text()[-2000:]}")
        try:
            if httpx.get(server.url + "ping", timeout=5).text == "Ok.\n":
                return server
        except httpx.TransportError:
            time.sleep(0.05)
    process.kill()
    pytest.fail(f"the server did not get ready: {log.read_text()[-2000:]}")


@pytest.fixture
def start_server(scratch: Path) -> Iterator[Callable[..., Server]]:
    """`start_server(*options, path=...)`: a server that the test may kill; gone after the test."""
    started: list[Server] = []

    def make(*options: str, path: Path | None = None) -> Server:
        server = start(path or scratch / f"data folder {time.monotonic_ns()}", *options)
        started.append(server)
        return server

    yield make
    for server in started:
        server.process.kill()
        server.process.wait()


@pytest.fixture(scope="session")
def server(scratch: Path) -> Iterator[Server]:
    """One server with little memory for all tests that leave it as they found it."""
    server = start(scratch / "clickhouse of many tests", "--max-memory", "600000000")
    yield server
    try:
        assert server.stop() == 0, server.log.read_text()[-4000:]
    finally:
        server.process.kill()
        server.process.wait()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    client = server.client()
    yield client
    client.close()


@pytest.fixture
def table(server: Server) -> Iterator[str]:
    """An empty table `(id UInt64, name String DEFAULT 'none', kind Enum8('a b'=1,'c'=2) DEFAULT 'c',
    double UInt64 MATERIALIZED id*2)`."""
    name = f"t{time.monotonic_ns()}"
    server.sql(
        f"CREATE TABLE {name} (id UInt64, name String DEFAULT 'none', kind Enum8('a b' = 1, 'c' = 2) DEFAULT 'c',"
        " double UInt64 MATERIALIZED id * 2) ENGINE = MergeTree ORDER BY id"
    )
    yield name
    server.sql(f"DROP TABLE IF EXISTS {name} SYNC")


@pytest.fixture
def numbers(server: Server) -> Iterator[str]:
    """An empty table `(n UInt64)`."""
    name = f"n{time.monotonic_ns()}"
    server.sql(f"CREATE TABLE {name} (n UInt64) ENGINE = MergeTree ORDER BY n")
    yield name
    server.sql(f"DROP TABLE IF EXISTS {name} SYNC")


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for it; the test fails if it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)

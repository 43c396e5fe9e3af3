"""Each probe tells a well service from one that is down, hung, or answers nonsense."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from stack.health import (
    Alive,
    DagsterDaemonProbe,
    Http2Probe,
    HttpProbe,
    PostgresProbe,
    Probe,
    RedisProbe,
    TcpProbe,
)
from stack.settings import Settings

Serve = Callable[[bytes | None], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answer every connection with these bytes (None: never), on the port returned."""
    listeners: list[socket.socket] = []
    held: list[socket.socket] = []

    def accept(listener: socket.socket, answer: bytes | None) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            held.append(connection)
            if answer is not None:
                connection.recv(65536)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)

    def start(answer: bytes | None) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=accept, args=(listener, answer), daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for each in (*listeners, *held):
        each.close()


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def http_answer(status: str, body: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def test_probes_of_nothing_say_refused(closed_port: int) -> None:
    probes: list[Probe] = [
        HttpProbe("127.0.0.1", closed_port),
        TcpProbe(closed_port),
        RedisProbe(closed_port),
        Http2Probe(closed_port),
    ]
    assert [probe.check() for probe in probes] == ["Connection refused"] * 4
    assert "Connection refused" in str(PostgresProbe(closed_port).check())
    assert Alive().check() is None


def test_probes_of_something_hung_say_so_in_time(serve: Serve) -> None:
    port = serve(None)
    assert HttpProbe("127.0.0.1", port, timeout_s=0.1).check() == "no answer in time"
    assert RedisProbe(port, timeout_s=0.1).check() == "no answer in time"
    assert Http2Probe(port, timeout_s=0.1).check() == "no answer in time"
    assert TcpProbe(port).check() is None  # why a service gets a better one


def test_postgres_that_never_answers_is_trouble_within_seconds(serve: Serve) -> None:
    begun = time.monotonic()
    assert "timeout expired" in str(PostgresProbe(serve(None), timeout_s=2).check())
    assert time.monotonic() - begun < 5


def test_http_wants_a_2xx(serve: Serve) -> None:
    assert HttpProbe("127.0.0.1", serve(http_answer("204 No Content"))).check() is None
    trouble = HttpProbe("127.0.0.1", serve(http_answer("503 Busy")), "/health").check()
    assert trouble == "GET /health answered 503"
    assert HttpProbe("127.0.0.1", serve(b"SSH-2.0\r\n")).check() == "SSH-2.0"


def test_redis_that_loads_is_not_well(serve: Serve) -> None:
    loading = serve(b"-LOADING Redis is loading the dataset in memory\r\n")
    assert "LOADING" in str(RedisProbe(loading).check())


def test_real_stores_are_well(redis: Settings, postgres: Settings) -> None:
    assert RedisProbe(redis.redis_port).check() is None
    assert PostgresProbe(postgres.postgres_port).check() is None


def test_a_grpc_server_greets_and_another_does_not(serve: Serve) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert Http2Probe(port).check() is None
    finally:
        server.stop(None)
    assert Http2Probe(serve(b"HTTP/1.1 400 Bad")).check() == "greeting answered b'HTTP/1.1 '"


def heartbeats(*ages: float | None) -> bytes:
    now = time.time()
    statuses = [{"lastHeartbeatTime": None if age is None else now - age} for age in ages]
    body = {"data": {"instance": {"daemonHealth": {"allDaemonStatuses": statuses}}}}
    return http_answer("200 OK", json.dumps(body))


def test_the_newest_heartbeat_of_dagsters_daemon_counts(serve: Serve, closed_port: int) -> None:
    assert DagsterDaemonProbe(serve(heartbeats(900, 30, None))).check() is None
    assert DagsterDaemonProbe(serve(heartbeats(900, 200.4))).check() == "last heartbeat 200 s ago"
    assert DagsterDaemonProbe(serve(heartbeats(None, None))).check() == "no heartbeat yet"
    assert DagsterDaemonProbe(serve(http_answer("500 Oops"))).check() is None
    assert DagsterDaemonProbe(closed_port).check() is None

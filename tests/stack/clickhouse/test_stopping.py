"""Queries that must end: killed, out of time or memory, abandoned by their client."""

import socket
import threading
import time

import httpx
import pytest

from .conftest import Server, until

ENDLESS = "SELECT sum(cityHash64(number)) FROM numbers(1000000000000)"


def running(server: Server, query_id: str) -> bool:
    found = f"SELECT count() FROM system.processes WHERE Settings['log_comment'] = '{query_id}'"
    return server.sql(found) == "1\n"


class Background:
    """A request of its own thread; `response` when it has ended."""

    def __init__(self, server: Server, sql: str, **parameters: str) -> None:
        self.response: httpx.Response | None = None
        self._thread = threading.Thread(target=self._run, args=(server, sql, parameters))
        self._thread.start()
        until(lambda: running(server, parameters["query_id"]))

    def _run(self, server: Server, sql: str, parameters: dict[str, str]) -> None:
        self.response = server.post(sql, **parameters)

    def result(self) -> httpx.Response:
        self._thread.join(20)
        assert self.response is not None, "it did not end"
        return self.response


@pytest.mark.parametrize(
    "statement",
    [
        "KILL QUERY WHERE query_id = 'long one'",
        "KILL QUERY WHERE query_id IN ('long one', 'none') SYNC FORMAT CSV",
        "KILL QUERY WHERE query LIKE '%cityHash64(number))%1000000000000)%' AND user = 'default' AND elapsed > 0 ASYNC",
    ],
)
def test_kill_query_ends_a_query(server: Server, statement: str) -> None:
    query = Background(server, ENDLESS, query_id="long one")
    answer = server.sql(statement)
    response = query.result()
    assert response.headers["X-ClickHouse-Exception-Code"] == "394"
    assert "QUERY_WAS_CANCELLED" in response.text
    if "query_id" in statement:
        assert "long one" in answer
        assert answer.count("\n") == 1


def test_killing_nothing_is_no_error(server: Server) -> None:
    assert server.sql("KILL QUERY WHERE query_id = 'nothing'") == ""


def test_kill_query_ends_an_insert_whose_client_is_silent(server: Server, numbers: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        query = f"/?query_id=silent&query=INSERT+INTO+{numbers}+FORMAT+TSV"
        connection.sendall(f"POST {query} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n1\n2\n".encode())
        until(lambda: running(server, "silent"))
        server.sql("KILL QUERY WHERE query_id = 'silent'")
        until(lambda: not running(server, "silent"))
        connection.sendall(b"3\n" * 48)
        assert b"X-ClickHouse-Exception-Code: 394".lower() in connection.recv(4000).lower()
    assert server.sql(f"SELECT count() FROM {numbers}") == "0\n"


def test_kill_query_ends_a_result_that_nobody_reads(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(
            b"GET /?query_id=unread&query=SELECT+number+FROM+numbers(1000000000) HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        until(lambda: running(server, "unread"))
        server.sql("KILL QUERY WHERE query_id = 'unread'")
        until(lambda: not running(server, "unread"))


def test_max_execution_time_ends_a_query(server: Server) -> None:
    started = time.monotonic()
    response = server.post(ENDLESS, max_execution_time="0.3")
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (408, "159")
    assert "TIMEOUT_EXCEEDED" in response.text
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("format", ["TSV", "Native", "JSON"])
def test_out_of_time_in_the_middle_of_a_result_is_an_error_too(server: Server, format: str) -> None:
    sql = f"SELECT number, sleepEachRow(0.00001) FROM numbers(1000000000) FORMAT {format}"
    response = server.post(sql, max_execution_time="0.3", wait_end_of_query="1")
    assert response.headers["X-ClickHouse-Exception-Code"] == "159"


def test_out_of_memory_is_an_error(server: Server) -> None:
    response = server.post("SELECT groupArray(number) FROM numbers(1000000000)", max_memory_usage="50000000")
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (500, "241")


def test_the_servers_own_memory_is_bounded_without_being_asked(server: Server) -> None:
    response = server.post("SELECT groupArray(number) FROM numbers(10000000000)")
    assert response.headers["X-ClickHouse-Exception-Code"] == "241"
    assert server.sql("SELECT 1") == "1\n"


@pytest.mark.parametrize("sql", [ENDLESS, "SELECT number FROM numbers(1000000000000)"])
def test_a_query_ends_when_its_client_disappears(server: Server, sql: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        path = f"/?query_id=left&query={sql.replace(' ', '+')}"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        until(lambda: running(server, "left"))
    until(lambda: not running(server, "left"))


def test_a_query_id_that_runs_is_refused(server: Server) -> None:
    query = Background(server, ENDLESS, query_id="mine")
    response = server.post(b"SELECT 1", query_id="mine")
    assert response.headers["X-ClickHouse-Exception-Code"] == "216"
    server.sql("KILL QUERY WHERE query_id = 'mine'")
    query.result()
    assert server.sql("SELECT 1", query_id="mine") == "1\n"


def test_eight_readers_and_a_writer_at_once(server: Server, numbers: str) -> None:
    failures: list[str] = []
    done = threading.Event()

    def read() -> None:
        # Every insert is a block of 1000 rows: a reader sees all of it or none.
        while not done.is_set():
            response = server.post(f"SELECT count() % 1000, count() FROM {numbers} WHERE n >= 0")
            if response.status_code != 200 or not response.text.startswith("0\t"):
                failures.append(response.text)

    readers = [threading.Thread(target=read) for _ in range(8)]
    for reader in readers:
        reader.start()
    for _ in range(12):
        server.sql(f"INSERT INTO {numbers} FORMAT TSV\n" + "1\n" * 1000)
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert server.sql(f"SELECT count() FROM {numbers}") == "12000\n"


def test_too_many_queries_at_once_are_refused(server: Server) -> None:
    connections = []
    try:
        for number in range(70):
            connection = socket.create_connection(("127.0.0.1", server.port))
            connections.append(connection)
            query = f"/?query_id=many{number}&query=SELECT+1"
            # Its statement never ends, so it waits.
            connection.sendall(f"POST {query} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n".encode())
        until(lambda: server.post(b"SELECT 1").headers.get("X-ClickHouse-Exception-Code") == "202")
    finally:
        for connection in connections:
            connection.close()
    until(lambda: server.post(b"SELECT 1").status_code == 200)

"""Who may do what: passwords, read-only users, ways to say who one is."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import httpx
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from .conftest import Server, start


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Users writer (w), reader (r, readonly=1), analyst (a, readonly=2)."""
    folder: Path = tmp_path_factory.mktemp("guarded")
    users = {
        name: {"password_sha256": hashlib.sha256(name[0].encode()).hexdigest(), "readonly": readonly}
        for name, readonly in (("writer", 0), ("reader", 1), ("analyst", 2))
    }
    (folder / "users.json").write_text(json.dumps(users))
    server = start(folder / "data", "--users-file", str(folder / "users.json"), "--log-level", "DEBUG")
    httpx.post(
        server.url, content=b"CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n", auth=("writer", "w")
    )
    yield server
    assert server.stop() == 0


def ask(server: Server, user: str, sql: str, **parameters: str) -> httpx.Response:
    return httpx.post(server.url, content=sql, params=parameters, auth=(user, user[0]))


def test_ping_needs_no_password(guarded: Server) -> None:
    assert httpx.get(guarded.url + "ping").text == "Ok.\n"


def test_credentials_may_come_in_three_ways_but_one_at_a_time(guarded: Server) -> None:
    assert httpx.post(guarded.url, content=b"SELECT 1", auth=("writer", "w")).status_code == 200
    headers = {"X-ClickHouse-User": "writer", "X-ClickHouse-Key": "w"}
    assert httpx.post(guarded.url, content=b"SELECT 1", headers=headers).status_code == 200
    params = {"user": "writer", "password": "w"}
    assert httpx.post(guarded.url, content=b"SELECT 1", params=params).status_code == 200
    assert httpx.post(guarded.url, content=b"SELECT 1", params=params, headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"X-ClickHouse-User": "writer"}, 403),
        ({"X-ClickHouse-User": "writer", "X-ClickHouse-Key": "wrong"}, 403),
        ({"X-ClickHouse-User": "nobody", "X-ClickHouse-Key": "w"}, 403),
        ({"Authorization": "Bearer x"}, 403),
        ({"Authorization": "Basic !"}, 403),
    ],
)
def test_without_them_nobody_gets_in(guarded: Server, headers: dict[str, str], status: int) -> None:
    response = httpx.post(guarded.url, content=b"SELECT 1", headers=headers)
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (status, "516")
    assert ("WWW-Authenticate" in response.headers) == (status == 401)


@pytest.mark.parametrize("user", ["reader", "analyst"])
@pytest.mark.parametrize("session", [{}, {"session_id": "s"}])
def test_read_only_users_read_and_don_t_write(guarded: Server, user: str, session: dict[str, str]) -> None:
    for _ in range(2):
        assert ask(guarded, user, "SELECT count() FROM t", **session).text == "0\n"
        for sql in (
            "INSERT INTO t VALUES (1)",
            "DROP TABLE t",
            "CREATE TABLE u (n Int8) ENGINE = Memory",
            "SET readonly = 0",
        ):
            response = ask(guarded, user, sql, **session)
            assert response.headers["X-ClickHouse-Exception-Code"] == "164", sql
        assert (
            ask(guarded, user, "INSERT INTO t SELECT 1", **session).headers["X-ClickHouse-Exception-Code"]
            == "164"
        )
        assert ask(guarded, user, "SELECT 1", readonly="0", **session).status_code >= 400
    assert ask(guarded, user, "USE system", **session).status_code == 200
    expected = "system\n" if session else "default\n"
    assert ask(guarded, user, "SELECT currentDatabase()", **session).text == expected
    assert ask(guarded, "writer", "SELECT count() FROM t").text == "0\n"


def test_only_readonly_2_may_change_settings(guarded: Server) -> None:
    assert ask(guarded, "analyst", "SELECT getSetting('max_threads')", max_threads="3").text == "3\n"
    assert ask(guarded, "analyst", "SET max_threads = 3", session_id="a").status_code == 200
    assert ask(guarded, "reader", "SELECT 1", max_threads="3").headers["X-ClickHouse-Exception-Code"] == "164"


@pytest.mark.parametrize("user", ["reader", "analyst"])
def test_read_only_users_can_use_clickhouse_connect(guarded: Server, user: str) -> None:
    client = clickhouse_connect.get_client(
        host="127.0.0.1", port=guarded.port, username=user, password=user[0]
    )
    assert client.query("SELECT number FROM numbers(3)").result_rows == [(0,), (1,), (2,)]
    with pytest.raises(DatabaseError, match="READONLY"):
        client.command("CREATE TABLE x (n Int8) ENGINE = Memory")
    client.close()


def test_one_cannot_enter_anothers_session(guarded: Server) -> None:
    ask(guarded, "writer", "CREATE TEMPORARY TABLE mine (n Int8)", session_id="shared")
    response = ask(guarded, "analyst", "SELECT * FROM mine", session_id="shared")
    assert response.headers["X-ClickHouse-Exception-Code"] == "60"

"""What a session keeps between requests, and what stays with one request."""

import threading
import time
import uuid

import httpx
import pytest

from .conftest import Server, until


@pytest.fixture
def session() -> dict[str, str]:
    return {"session_id": str(uuid.uuid4())}


def test_a_session_keeps_settings_database_and_temporary_tables(
    server: Server, session: dict[str, str]
) -> None:
    server.sql("SET max_threads = 7", **session)
    server.sql("USE system", **session)
    server.sql("CREATE TEMPORARY TABLE kept (x Int8)", **session)
    server.sql("INSERT INTO kept VALUES (1), (2)", **session)
    assert (
        server.sql("SELECT getSetting('max_threads'), currentDatabase(), sum(x) FROM kept", **session)
        == "7\tsystem\t3\n"
    )
    assert server.post(b"SELECT * FROM kept").headers["X-ClickHouse-Exception-Code"] == "60"
    assert server.sql("SELECT currentDatabase()") == "default\n"


def test_a_requests_own_settings_and_database_don_t_stay(server: Server, session: dict[str, str]) -> None:
    server.sql("SET max_threads = 7, max_block_size = 1000", **session)
    own = {"max_threads": "3", "max_insert_threads": "2", "database": "system"}
    question = "SELECT getSetting('max_threads'), getSetting('max_insert_threads'), currentDatabase()"
    assert server.sql(question, **session, **own) == "3\t2\tsystem\n"
    default = server.sql("SELECT getSetting('max_insert_threads')").strip()
    after = server.sql(question + ", getSetting('max_block_size')", **session)
    assert after == f"7\t{default}\tdefault\t1000\n"


def test_a_failed_statement_leaves_the_session_usable(server: Server, session: dict[str, str]) -> None:
    assert server.post(b"SELECT throwIf(1)", max_threads="2", **session).status_code == 500
    assert server.post(b"SELECT 1", max_threads="x", **session).status_code == 400
    assert server.sql("SELECT changed FROM system.settings WHERE name = 'max_threads'", **session) == "0\n"
    assert server.sql("SELECT 1", session_check="1", **session) == "1\n"


def test_a_session_takes_one_statement_at_a_time(server: Server, session: dict[str, str]) -> None:
    answers: list[str] = []
    busy = threading.Thread(target=lambda: answers.append(server.sql("SELECT sleep(0.8)", **session)))
    busy.start()
    until(lambda: server.sql("SELECT count() FROM system.processes WHERE query LIKE '%sleep(0.8%'") == "2\n")
    response = server.post(b"SELECT 1", **session)
    busy.join()
    assert response.headers["X-ClickHouse-Exception-Code"] == "373"
    assert f"Session {session['session_id']} is locked by a concurrent client" in response.text
    assert answers == ["0\n"]
    assert server.sql("SELECT 1", **session) == "1\n"


def test_a_session_ends_with_its_timeout(server: Server, session: dict[str, str]) -> None:
    server.sql("CREATE TEMPORARY TABLE kept (x Int8)", session_timeout="1", **session)
    time.sleep(2.5)
    response = server.post(b"SELECT 1", session_check="1", **session)
    assert response.headers["X-ClickHouse-Exception-Code"] == "372"
    assert server.post(b"SELECT * FROM kept", **session).headers["X-ClickHouse-Exception-Code"] == "60"


def test_a_get_request_of_a_session_only_reads(server: Server, session: dict[str, str], table: str) -> None:
    def get(query: str) -> httpx.Response:
        return httpx.get(server.url, params={"query": query, **session})

    assert get("USE system").status_code == 200
    assert get("SELECT currentDatabase()").text == "system\n"
    for query in (
        f"DROP TABLE default.{table}",
        f"INSERT INTO default.{table} (id) VALUES (1)",
        "KILL QUERY WHERE 1",
    ):
        assert get(query).headers["X-ClickHouse-Exception-Code"] == "164"
    assert server.sql(f"INSERT INTO default.{table} (id) VALUES (1)", **session) == ""

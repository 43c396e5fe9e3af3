"""What curl sees: paths, methods, formats, headers, errors before and in the middle of a result."""

import gzip
import json
import re
import socket
import zlib

import httpx
import lz4.frame
import pytest
from backports import zstd

from .conftest import Server


def get(server: Server, path: str = "", **options: object) -> httpx.Response:
    return httpx.get(server.url + path, timeout=30, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["ping", "", "replicas_status"])
def test_says_ok_without_a_query(server: Server, path: str) -> None:
    response = get(server, path)
    assert (response.status_code, response.text) == (200, "Ok.\n")
    assert httpx.head(server.url + path).status_code == 200


def test_unknown_path_has_no_handle(server: Server) -> None:
    response = get(server, "nowhere")
    assert response.status_code == 404
    assert response.text.startswith("There is no handle /nowhere")


def test_other_methods_are_refused(server: Server) -> None:
    assert httpx.put(server.url, content=b"SELECT 1").status_code == 405


@pytest.mark.parametrize(
    ("parameters", "body", "expected"),
    [
        ({"query": "SELECT 1"}, None, "1\n"),
        ({}, b"SELECT 2", "2\n"),
        ({"query": "SELECT 1,"}, b"3", "1\t3\n"),
        ({"query": "SELECT 1 AS a FORMAT JSONEachRow"}, None, '{"a":1}\n'),
        ({"query": "SELECT 1 AS a", "default_format": "CSVWithNames"}, None, '"a"\n1\n'),
        ({"query": "SELECT 1; ;  -- the end"}, None, "1\n"),
        ({"query": "SELECT 'a;b' FORMAT TSV SETTINGS max_threads = 1"}, None, "a;b\n"),
        ({"query": "(SELECT 1) UNION ALL (SELECT 1)"}, None, "1\n1\n"),
        ({"query": "WITH 4 AS x SELECT x"}, None, "4\n"),
        ({"query": "EXISTS TABLE system.one"}, None, "1\n"),
        ({"query": "SELECT 1 AS format, 2 AS values"}, None, "1\t2\n"),
        ({"query": "SELECT {a:UInt8} + 1", "param_a": "41"}, None, "42\n"),
        ({"query": "SELECT {a:String}", "param_a": "x' OR 1 \\\\ \\t"}, None, "x\\' OR 1 \\\\ \\t\n"),
        ({"query": "SELECT length({a:Array(String)})", "param_a": "['x','y']"}, None, "2\n"),
        ({"query": "SELECT count() FROM {d:Identifier}.one", "param_d": "system"}, None, "1\n"),
        ({"query": "SELECT currentDatabase()", "database": "system"}, None, "system\n"),
        ({"query": "SELECT getSetting('max_threads')", "max_threads": "3"}, None, "3\n"),
        ({"query": "SELECT 'ü', 'ü'"}, None, "ü\tü\n"),
    ],
)
def test_answers(server: Server, parameters: dict[str, str], body: bytes | None, expected: str) -> None:
    response = server.post(body, **parameters)
    assert (response.status_code, response.text) == (200, expected)


def test_a_get_request_answers_too_and_only_reads(server: Server, table: str) -> None:
    assert get(server, params={"query": "SELECT 5"}).text == "5\n"
    response = get(server, params={"query": f"DROP TABLE {table}"})
    assert response.headers["X-ClickHouse-Exception-Code"] == "164"
    assert server.sql(f"EXISTS TABLE {table}") == "1\n"


def test_headers_tell_about_the_query(server: Server) -> None:
    response = server.post(
        b"SELECT number, number FROM numbers(10) WHERE number % 3 = 0 FORMAT JSONCompactEachRow",
        query_id="mine",
    )
    assert response.headers["X-ClickHouse-Query-Id"] == "mine"
    assert response.headers["X-ClickHouse-Format"] == "JSONCompactEachRow"
    assert response.headers["X-ClickHouse-Timezone"] == server.sql("SELECT timezone()").strip()
    assert response.headers["X-ClickHouse-Server-Display-Name"] == "reelgraph"
    assert response.headers["Content-Type"] == "application/x-ndjson; charset=UTF-8"
    summary = json.loads(response.headers["X-ClickHouse-Summary"])
    assert (summary["read_rows"], summary["result_rows"], summary["written_rows"]) == ("10", "4", "0")


def test_summary_of_an_insert_counts_what_was_written(server: Server, table: str) -> None:
    response = server.post(b"1\n2\n3\n", query=f"INSERT INTO {table} (id) FORMAT TSV")
    summary = json.loads(response.headers["X-ClickHouse-Summary"])
    assert (summary["written_rows"], summary["read_rows"], summary["result_rows"]) == ("3", "3", "3")
    response = server.post(f"INSERT INTO {table} (id) SELECT number FROM numbers(7)")
    summary = json.loads(response.headers["X-ClickHouse-Summary"])
    assert (summary["written_rows"], summary["read_rows"]) == ("7", "7")


@pytest.mark.parametrize(
    ("statement", "status", "code", "name"),
    [
        ("SELEC 1", 400, 62, "SYNTAX_ERROR"),
        ("SELECT 1 1", 400, 62, "SYNTAX_ERROR"),
        ("", 400, 62, "SYNTAX_ERROR"),
        ("  -- nothing\n", 400, 62, "SYNTAX_ERROR"),
        (";", 400, 62, "SYNTAX_ERROR"),
        ("SELECT 1; SELECT 2", 400, 62, "SYNTAX_ERROR"),
        ("SELECT * FROM nowhere", 404, 60, "UNKNOWN_TABLE"),
        ("SELECT * FROM nodb.nowhere", 404, 81, "UNKNOWN_DATABASE"),
        ("SELECT nope", 404, 47, "UNKNOWN_IDENTIFIER"),
        ("SELECT nofunction(1)", 404, 46, "UNKNOWN_FUNCTION"),
        ("SELECT 1 FORMAT Nope", 404, 73, "UNKNOWN_FORMAT"),
        ("SELECT {a:UInt8}", 400, 456, "UNKNOWN_QUERY_PARAMETER"),
        ("SELECT throwIf(1)", 500, 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("INSERT INTO nowhere VALUES (1)", 404, 60, "UNKNOWN_TABLE"),
        ("SELECT 1 INTO OUTFILE 'x'", 501, 48, "NOT_IMPLEMENTED"),
        ("INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV", 501, 48, "NOT_IMPLEMENTED"),
    ],
)
def test_errors_have_status_code_and_text(
    server: Server, statement: str, status: int, code: int, name: str
) -> None:
    response = server.post(statement.encode())
    assert response.status_code == status, response.text
    assert response.headers["X-ClickHouse-Exception-Code"] == str(code)
    version = server.sql("SELECT version()").strip()
    assert response.text.startswith(f"Code: {code}. DB::Exception: ")
    assert response.text.endswith(f"({name}) (version {version} (official build))\n")
    assert "/dev/fd" not in response.text
    assert "OUTFILE '/" not in response.text


def test_syntax_error_names_the_place_in_the_clients_text(server: Server) -> None:
    text = server.post(b"SELECT 1\nFROM FROM x").text
    assert text.startswith(
        "Code: 62. DB::Exception: Syntax error: failed at position 20 (x) (line 2, col 11): x"
    )


@pytest.mark.parametrize(
    ("parameters", "status", "code"),
    [
        ({"nosuchsetting": "1"}, 404, 115),
        ({"max_threads": "many"}, 400, 27),
        ({"database": "nodb"}, 404, 81),
        ({"compress": "1"}, 501, 48),
        ({"decompress": "1"}, 501, 48),
        ({"role": "admin"}, 501, 48),
        ({"max_threads`=1, readonly": "0"}, 404, 115),
        ({"session_id": "s", "session_timeout": "x"}, 400, 374),
        ({"session_id": "s", "session_timeout": "3601"}, 400, 374),
        ({"session_id": "never seen", "session_check": "1"}, 404, 372),
    ],
)
def test_parameters_that_cannot_be_are_refused(
    server: Server, parameters: dict[str, str], status: int, code: int
) -> None:
    response = server.post(b"SELECT 1", **parameters)
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (status, str(code))


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip", "deflate"])
def test_responses_are_encoded_as_accepted(server: Server, encoding: str) -> None:
    with httpx.stream(
        "POST",
        server.url,
        content=b"SELECT repeat('x', 100) FROM numbers(1000)",
        headers={"Accept-Encoding": f"br, {encoding}"},
    ) as response:
        assert response.headers["Content-Encoding"] == encoding
        raw = b"".join(response.iter_raw())
    decode = {
        "lz4": lz4.frame.decompress,
        "zstd": zstd.decompress,
        "gzip": gzip.decompress,
        "deflate": zlib.decompress,
    }[encoding]
    assert decode(raw) == (b"x" * 100 + b"\n") * 1000


def test_encoding_can_be_declined(server: Server) -> None:
    response = httpx.post(
        server.url,
        params={"enable_http_compression": "0"},
        content=b"SELECT 1",
        headers={"Accept-Encoding": "lz4"},
    )
    assert "Content-Encoding" not in response.headers
    response = httpx.post(server.url, content=b"SELECT 1", headers={"Accept-Encoding": "lz4;q=0, br"})
    assert "Content-Encoding" not in response.headers


@pytest.mark.parametrize("encoding", ["identity", "lz4"])
def test_error_in_the_middle_of_a_result_is_marked_and_breaks_off(server: Server, encoding: str) -> None:
    sql = b"SELECT throwIf(number = 2000000, 'late') FROM numbers(3000000) SETTINGS max_threads = 1"
    body = b""
    with (  # noqa: PT012
        pytest.raises(httpx.RemoteProtocolError),
        httpx.stream("POST", server.url, content=sql, headers={"Accept-Encoding": encoding}) as response,
    ):
        assert response.status_code == 200
        tag = response.headers["X-ClickHouse-Exception-Tag"]
        for chunk in response.iter_raw():
            body += chunk
    if encoding == "lz4":
        body = lz4.frame.decompress(body)
    rows, block = body.split(b"\r\n__exception__\r\n", 1)
    assert set(rows) == set(b"0\n")
    match = re.fullmatch(
        rb"(\w{16})\r\n(Code: 395\. .*\n)(\d+) (\w{16})\r\n__exception__\r\n", block, re.DOTALL
    )
    assert match is not None
    assert match[1] == match[4] == tag.encode()
    assert len(match[2]) == int(match[3])


def test_wait_end_of_query_gives_such_an_error_its_status(server: Server) -> None:
    sql = b"SELECT throwIf(number = 2000000, 'late') FROM numbers(3000000)"
    response = server.post(sql, wait_end_of_query="1")
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (500, "395")


def test_large_results_stream_in_any_format(server: Server) -> None:
    for format, expected in (("TSV", None), ("JSON", 2_000_000), ("Parquet", None)):
        sql = f"SELECT number FROM numbers(2000000) FORMAT {format}"
        with httpx.stream("POST", server.url, content=sql, timeout=60) as response:
            body = b"".join(response.iter_bytes())
        if expected:
            assert json.loads(body)["rows"] == expected
        elif format == "TSV":
            assert body.count(b"\n") == 2_000_000
            assert body.endswith(b"1999999\n")
        else:
            assert body[:4] == body[-4:] == b"PAR1"


def test_query_id_runs_once_at_a_time(server: Server) -> None:
    with httpx.stream(
        "POST", server.url, params={"query_id": "twice"}, content=b"SELECT sleep(1)", timeout=30
    ):
        pass
    assert server.sql("SELECT 1", query_id="twice") == "1\n"


def test_a_request_head_that_is_no_http_is_refused_and_the_server_lives(server: Server) -> None:
    for junk in (
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/1.1\r\nX: " + b"a" * (2 << 20),
        b"POST / HTTP/9.9\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            try:
                connection.sendall(junk)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(1000)
            except OSError:  # it may have hung up while we were still talking
                answer = b""
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert server.sql("SELECT 1") == "1\n"


def test_a_url_with_too_many_or_broken_parameters_is_refused(server: Server) -> None:
    many = "&".join(f"a{number}=1" for number in range(2001))
    response = get(server, f"?{many}")
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (400, "36")
    response = get(server, "?query=SELECT+{a:String}&param_a=%ff")
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (400, "36")


def test_bytes_that_are_no_utf8_come_back_as_they_are(server: Server) -> None:
    assert server.post(b"SELECT '\xff\xfe'").content == b"\xff\xfe\n"
    response = server.post(b"SELECT \xff FROM")
    assert response.status_code == 400
    assert response.headers["X-ClickHouse-Exception-Code"] == "62"


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM default.`/etc/passwd`",
        "SELECT * FROM `f\\x69le`('/etc/passwd', 'LineAsString')",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT file('/etc/passwd')",
        "SELECT * FROM url('file:///etc/passwd', 'LineAsString')",
        "SELECT * FROM executable('id', 'TSV', 's String')",
        "CREATE TABLE f (a Int8) ENGINE = File(CSV)",
        "CREATE DATABASE f ENGINE = Filesystem",
        "CREATE DICTIONARY d (k UInt64) PRIMARY KEY k SOURCE(FILE(path '/etc/passwd' format 'CSV')) LAYOUT(FLAT())",
        "INSERT INTO FUNCTION file('x.csv', 'CSV') VALUES (1)",
        "BACKUP TABLE system.one TO Disk('default', 'x')",
        "SYSTEM SHUTDOWN",
        "SYSTEM KILL",
    ],
)
def test_the_servers_own_files_and_process_are_out_of_reach(server: Server, statement: str) -> None:
    response = server.post(statement)
    assert response.status_code in (404, 500), response.text
    assert response.headers["X-ClickHouse-Exception-Code"] in ("60", "344")
    assert server.sql("SELECT 1") == "1\n"


def test_dropping_the_default_database_does_not_break_the_server(server: Server) -> None:
    server.sql("CREATE DATABASE other")
    server.sql("DROP DATABASE default SYNC")
    assert server.sql("SELECT engine FROM system.databases WHERE name = 'default'") == "Atomic\n"
    server.sql("DROP DATABASE other")

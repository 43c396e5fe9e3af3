"""The parts of the server by themselves: texts cut up, errors taken apart, forms and folders that are not right."""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.clickhouse import default_database
from stack.clickhouse.codecs import accepted_encoding
from stack.clickhouse.errors import ClickHouseError, from_engine
from stack.clickhouse.external import read_form
from stack.clickhouse.lexer import plain_text, quote_identifier, quote_string, sql_text, tokens, unquote
from stack.clickhouse.request import parse
from stack.clickhouse.statement import Undecided, analyse, replace_strings

from .conftest import Server


@given(st.text())
def test_quoting_and_unquoting_are_inverse(value: str) -> None:
    text = sql_text(value)
    assert plain_text(text) == value
    assert unquote(quote_string(text)) == text
    assert unquote(quote_identifier(text)) == text
    assert [token.kind for token in tokens(quote_string(text) + quote_identifier(text))] == [
        "string",
        "quoted",
    ]


@given(st.text(alphabet="'\"`\\-/*#$ \n;ab1()[]"))
def test_any_text_is_cut_into_tokens_that_cover_it(text: str) -> None:
    position = 0
    for token in tokens(text):
        assert text[token.start : token.end] == token.text
        assert token.start >= position
        position = token.end


@pytest.mark.parametrize(
    ("sql", "kind", "format"),
    [
        ("select 1", "query", None),
        ("select 1 format JSON settings max_threads=1", "query", "JSON"),
        ("select format from t", "query", None),
        ("select 'x format JSON'", "query", None),
        ("select 1 -- format JSON", "query", None),
        ("select * from format(JSON, '{}')", "query", None),
        ("$a$ format $a$", "command", None),
        ("create view v as select 1 format Null", "command", "Null"),
        ("kill query where 1 format CSV", "kill", "CSV"),
        ("use db", "use", None),
        ("insert into t select 1 format CSV", "command", "CSV"),
        ("insert into t format CSV", "insert", "CSV"),
    ],
)
def test_statements_are_recognised(sql: str, kind: str, format: str | None) -> None:
    statement = analyse(sql)
    assert (statement.kind, statement.format) == (kind, format)


@pytest.mark.parametrize(
    "beginning",
    ["", "INS", "INSERT INTO t", "INSERT INTO t (a, b", "INSERT INTO t FORM", "INSERT INTO t FORMAT",
     "INSERT INTO t FORMAT CS", "INSERT INTO t VALUES", "INSERT INTO t /* FORMAT CSV", "INSERT INTO `t FORMAT CSV",
     "SELECT 1"],
)  # fmt: skip
def test_a_beginning_decides_nothing_too_early(beginning: str) -> None:
    with pytest.raises(Undecided):
        analyse(beginning, complete=False)


def test_only_whole_literals_are_replaced() -> None:
    assert replace_strings("KILL QUERY WHERE a = 'x' AND b = 'xx' -- 'x'", {"x": "y'z"}.get) == (
        "KILL QUERY WHERE a = 'y\\'z' AND b = 'xx' -- 'x'"
    )


@pytest.mark.parametrize(
    ("text", "code", "name", "message"),
    [
        ("Code: 60. DB::Exception: No table. (UNKNOWN_TABLE)", 60, "UNKNOWN_TABLE", "No table."),
        (
            "Code: 33. DB::Exception: Code: 33. DB::Exception: Cannot read: (in file/uri /dev/fd/30): "
            "While executing Native: "
            "While executing File: data for INSERT was parsed from file. (CANNOT_READ_ALL_DATA) (version 26.9.2.1). "
            "(CANNOT_READ_ALL_DATA)",
            33,
            "CANNOT_READ_ALL_DATA",
            "Cannot read: While executing Native.",
        ),
        ("something else", 1002, "UNKNOWN_EXCEPTION", "something else"),
    ],
)
def test_the_engines_errors_are_taken_apart(text: str, code: int, name: str, message: str) -> None:
    error = from_engine(RuntimeError(text))
    assert (error.code, error.name, error.message) == (code, name, message)


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        ("", ""),
        ("br", ""),
        ("gzip, deflate, br, zstd", "zstd"),
        ("lz4;q=0.5", "lz4"),
        ("lz4;q=0, gzip", "gzip"),
        ("*", ""),
    ],
)
def test_an_encoding_is_chosen(accept: str, encoding: str) -> None:
    assert accepted_encoding(accept) == encoding


def form(content_type: str, body: bytes, query: bytes = b"", piece: int = 3) -> Any:
    scope = {
        "method": "POST",
        "path": "/",
        "query_string": query,
        "headers": [(b"content-type", content_type.encode())],
    }
    chunks = [body[start : start + piece] for start in range(0, len(body), piece)]

    async def receive() -> dict[str, Any]:
        chunk = chunks.pop(0) if chunks else b""
        return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

    async def read() -> Any:
        request = parse(scope, receive)
        with ExitStack() as files:
            tables = await read_form(request, files, Path("/tmp"))
            return request, [(table, Path(table.path).read_bytes()) for table in tables]

    return asyncio.run(read())


PART = 'Content-Disposition: form-data; name="{}"{}\r\n\r\n{}'


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_a_form_is_cut_at_its_boundaries(piece: int) -> None:
    body = (
        "preamble\r\n--b\r\n" + PART.format("query", "", "SELECT\r\n-- b\r\n--")
        + "\r\n--b\r\n" + PART.format("t", '; filename="f"', "1\r\n--\r\n2") + "\r\n--b--\r\nepilogue"
    )  # fmt: skip
    request, tables = form(
        "multipart/form-data; boundary=b", body.encode(), b"t_types=Int8,Map(String,Int8)", piece
    )
    assert request.protocol["query"] == "SELECT\r\n-- b\r\n--"
    [(table, data)] = tables
    assert (table.name, table.structure, table.format) == (
        "t",
        "_1 Int8, _2 Map(String,Int8)",
        "TabSeparated",
    )
    assert data == b"1\r\n--\r\n2"
    assert not Path(table.path).exists()


@pytest.mark.parametrize(
    ("content_type", "body", "query"),
    [
        ("multipart/form-data", "", ""),
        ("multipart/form-data; boundary=b", "", ""),
        ("multipart/form-data; boundary=b", "--b\r\n" + PART.format("query", "", "SELECT 1"), ""),
        ("multipart/form-data; boundary=b", "--b\r\nX: y\r\n\r\n1\r\n--b--", ""),
        ("multipart/form-data; boundary=b", "--b\r\n" + "X: " + "y" * 20_000, ""),
        (
            "multipart/form-data; boundary=b",
            "--b\r\n" + PART.format("t", '; filename="f"', "1") + "\r\n--b--",
            "",
        ),
    ],
)
def test_a_malformed_form_is_refused(server: Server, content_type: str, body: str, query: str) -> None:
    with pytest.raises(ClickHouseError) as refused:
        form(content_type, body.encode(), query.encode(), 1000)
    assert refused.value.code == 36
    response = httpx.post(server.url, content=body.encode(), headers={"Content-Type": content_type})
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (400, "36")


def test_the_default_database_is_found_again_whatever_a_crash_left(tmp_path: Path) -> None:
    metadata = tmp_path / "metadata"
    metadata.mkdir()
    default_database.align(tmp_path)
    assert list(metadata.iterdir()) == []
    first, second = "11111111-aaaa-4aaa-8aaa-111111111111", "22222222-aaaa-4aaa-8aaa-222222222222"
    (metadata / "default").symlink_to(f"../store/111/{first}")
    default_database.align(tmp_path)
    assert f"UUID '{first}'" in (metadata / "default.sql").read_text()
    (metadata / "default.sql").write_text(f"ATTACH DATABASE _ UUID '{second}'\nENGINE = Atomic\n")
    default_database.align(tmp_path)
    assert str((metadata / "default").readlink()) == f"../store/222/{second}"
    assert (metadata / "default").is_dir()

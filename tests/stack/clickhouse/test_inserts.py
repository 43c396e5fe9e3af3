"""An insert arrives whole or is reported as failed, whatever the chunks, frames and formats."""

import gzip
import json
import random
import socket
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import lz4.frame
import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import Server, until

ENCODE: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "lz4": lz4.frame.compress,
    "zstd": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
    "gzip": lambda data: gzip.compress(data, 1),
    "deflate": zlib.compress,
}


def send(server: Server, statement: str, chunks: list[bytes], encoding: str = "identity") -> httpx.Response:
    def body() -> Iterator[bytes]:
        yield from chunks

    headers = {"Content-Encoding": encoding}
    return httpx.post(server.url, params={"query": statement}, content=body(), headers=headers, timeout=60)


@pytest.mark.parametrize(
    "format", ["Native", "Parquet", "JSONEachRow", "CSV", "TSV", "RowBinary", "Arrow", "ArrowStream"]
)
def test_every_format_goes_out_and_comes_back_in(server: Server, table: str, format: str) -> None:
    data = server.post(
        f"SELECT number AS id, toString(number) AS name FROM numbers(3000) FORMAT {format}"
    ).content
    assert send(server, f"INSERT INTO {table} (id, name) FORMAT {format}", [data]).status_code == 200
    assert (
        server.sql(f"SELECT count(), sum(id), uniqExact(name), sum(double) FROM {table}")
        == "3000\t4498500\t3000\t8997000\n"
    )


@pytest.mark.parametrize("encoding", ENCODE)
def test_many_concatenated_frames_lose_no_row(server: Server, table: str, encoding: str) -> None:
    block = server.post("SELECT number AS id FROM numbers(20000) FORMAT Native").content
    frames = [ENCODE[encoding](block) for _ in range(16)]
    statement = f"INSERT INTO {table} (id) FORMAT Native"
    assert send(server, statement, frames, encoding).status_code == 200
    assert send(server, statement, [b"".join(frames)], encoding).status_code == 200
    assert server.sql(f"SELECT count() FROM {table}") == f"{2 * 16 * 20000}\n"


def test_the_statement_may_be_the_first_line_of_an_encoded_body(server: Server, table: str) -> None:
    block = server.post("SELECT number AS id FROM numbers(1000) FORMAT Native").content
    body = f"INSERT INTO {table} (id) FORMAT Native\n".encode() + block
    for encoding, encode in ENCODE.items():
        response = httpx.post(
            server.url, content=encode(body[:50]) + encode(body[50:]), headers={"Content-Encoding": encoding}
        )
        assert response.status_code == 200, response.text
    assert server.sql(f"SELECT count() FROM {table}") == "5000\n"


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("INSERT INTO {t} VALUES (1, 'x', 'a b'), (1 + 1, lower('Y'), 2)", "1\tx\ta b\t2\n2\ty\tc\t4\n"),
        ("INSERT INTO {t} (id) VALUES (1)", "1\tnone\tc\t2\n"),
        ("insert into {t}(id)values(1),(2)", "1\tnone\tc\t2\n2\tnone\tc\t4\n"),
        ("INSERT INTO TABLE {t} (* EXCEPT(kind)) FORMAT CSV\n1,q", "1\tq\tc\t2\n"),
        ("INSERT INTO {t} (id, name) SETTINGS format_csv_delimiter = '|' FORMAT CSV 1|q", "1\tq\tc\t2\n"),
        ("INSERT INTO {t} (id, name) SETTINGS max_insert_block_size = 1 VALUES (1, 'q')", "1\tq\tc\t2\n"),
        (
            "/* FORMAT x */ INSERT INTO {t} -- VALUES\n (id, name) FORMAT TSV\r\n1\tFORMAT CSV;\n",
            "1\tFORMAT CSV;\tc\t2\n",
        ),
        (
            'INSERT INTO {t} FORMAT JSONEachRow {{"id": 1, "kind": "a b"}}\n{{"id": 2}}',
            "1\tnone\ta b\t2\n2\tnone\tc\t4\n",
        ),
        ("INSERT INTO {t} (id, name) SELECT 1, 'VALUES FORMAT CSV'", "1\tVALUES FORMAT CSV\tc\t2\n"),
        ("INSERT INTO {t} (id) WITH 3 AS x SELECT x", "3\tnone\tc\t6\n"),
        ("INSERT INTO {t} (id) (SELECT 1)", "1\tnone\tc\t2\n"),
        ("INSERT INTO FUNCTION merge(currentDatabase(), '^{t}$') (id) VALUES (1)", None),
        ("INSERT INTO {t} (id, name) VALUES (1, 'a;b'); ", "1\ta;b\tc\t2\n"),
        ("INSERT INTO {t} VALUES FORMAT Values (1, 'x', 'c')", "1\tx\tc\t2\n"),
        ("INSERT INTO {t} (id) SETTINGS async_insert = 0 VALUES FORMAT Values (1)", "1\tnone\tc\t2\n"),
        ("INSERT INTO {t} (id) FORMAT CSV", ""),
        ("INSERT INTO {t} (id) VALUES", ""),
    ],
)
def test_inserts_in_one_text(server: Server, table: str, statement: str, expected: str | None) -> None:
    response = server.post(statement.format(t=table))
    if expected is None:
        assert response.status_code >= 400
        return
    assert response.status_code == 200, response.text
    assert server.sql(f"SELECT *, double FROM {table} ORDER BY id") == expected


@pytest.mark.parametrize("name", ["values", "format", "select"])
def test_a_table_may_have_a_keyword_for_a_name(server: Server, name: str) -> None:
    server.sql(f"CREATE OR REPLACE TABLE {name} (a Int8) ENGINE = Memory")
    server.sql(f"INSERT INTO {name} (a) VALUES (1)")
    server.sql(f"INSERT INTO {name} FORMAT CSV 2")
    assert server.sql(f"SELECT sum(a) FROM {name}") == "3\n"
    server.sql(f"DROP TABLE {name}")


def test_inserts_can_have_parameters(server: Server, table: str) -> None:
    response = server.post(
        b"INSERT INTO {t:Identifier} (id, name) VALUES (1, {v:String})", param_t=table, param_v="x'y"
    )
    assert response.status_code == 200, response.text
    assert server.sql(f"SELECT name FROM {table}") == "x\\'y\n"


def test_materialized_columns_cannot_be_given(server: Server, table: str) -> None:
    response = server.post(f"INSERT INTO {table} (id, double) VALUES (1, 2)")
    assert response.headers["X-ClickHouse-Exception-Code"] == "44"


@pytest.mark.parametrize("at", [0, 500_000, 1_999_999])
def test_a_bad_row_fails_the_insert_wherever_it_is(server: Server, numbers: str, at: int) -> None:
    rows = [b"7\n"] * 2_000_000
    rows[at] = b"seven\n"
    response = send(server, f"INSERT INTO {numbers} FORMAT TSV", [b"".join(rows)])
    assert response.headers["X-ClickHouse-Exception-Code"] == "27"
    assert f"(at row {at + 1})" in response.text
    assert "/dev/fd" not in response.text
    # As on a server, whole blocks of a million rows before the bad one may stay; never a part of one.
    assert server.sql(f"SELECT count() % 1048449 FROM {numbers}") == "0\n"


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip", "deflate"])
@pytest.mark.parametrize("rows", [10, 300_000])
def test_a_frame_cut_off_inserts_nothing(server: Server, numbers: str, encoding: str, rows: int) -> None:
    rng = random.Random(1)
    data = b"".join(b"%d\n" % rng.getrandbits(60) for _ in range(rows))
    whole = ENCODE[encoding](data)
    for cut in (len(whole) - 1, len(whole) // 2, 1):
        response = send(
            server, f"INSERT INTO {numbers} FORMAT TSV", [ENCODE[encoding](b"1\n"), whole[:cut]], encoding
        )
        assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (400, "271")
        assert response.text.startswith("Code: 271. DB::Exception: Cannot decompress the request's body as ")
    assert server.sql(f"SELECT count() FROM {numbers}") == "0\n"


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip", "deflate"])
def test_corrupt_frames_insert_nothing(server: Server, numbers: str, encoding: str) -> None:
    data = b"".join(b"%d\n" % number for number in range(100_000))
    broken = bytearray(ENCODE[encoding](data))
    broken[len(broken) // 2 : len(broken) // 2 + 8] = b"\xff" * 8
    for body in (bytes(broken), b"no frame at all", ENCODE[encoding](data) + b"junk"):
        response = send(server, f"INSERT INTO {numbers} FORMAT TSV", [body], encoding)
        assert response.status_code == 400, response.text
    assert server.sql(f"SELECT count() FROM {numbers}") == "0\n"


@pytest.mark.parametrize("encoding", ["br", "snappy", "x"])
def test_unknown_encodings_are_refused(server: Server, numbers: str, encoding: str) -> None:
    response = send(server, f"INSERT INTO {numbers} FORMAT TSV", [b"1\n"], encoding)
    assert response.status_code == 415
    assert f"Unknown Content-Encoding '{encoding}'" in response.text


def test_truncated_native_blocks_insert_nothing(server: Server, numbers: str) -> None:
    block = server.post("SELECT number AS n FROM numbers(1000) FORMAT Native").content
    for body in (block + block[:-3], block + b"INTERNAL EXCEPTION WHILE SERIALIZING", block[:5]):
        assert send(server, f"INSERT INTO {numbers} FORMAT Native", [body]).status_code >= 400
    assert server.sql(f"SELECT count() FROM {numbers}") == "0\n"


def _begin(server: Server, statement: str, query_id: str = "") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port))
    path = f"/?query_id={query_id}&query={statement.replace(' ', '+')}"
    connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    return connection


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.parametrize("rows", [0, 1, 1000, 400_000])
def test_a_client_that_disappears_inserts_nothing(server: Server, numbers: str, rows: int) -> None:
    for attempt in range(10):
        query_id = f"gone-{rows}-{attempt}"
        with _begin(server, f"INSERT INTO {numbers} FORMAT TSV", query_id) as connection:
            if rows:
                connection.sendall(_chunk(b"1\n" * rows))
    running = "SELECT count() FROM system.processes WHERE Settings['log_comment'] LIKE 'gone-%'"
    until(lambda: server.sql(running) == "0\n")
    assert server.sql(f"SELECT count() FROM {numbers}") == "0\n"


def test_a_length_that_the_body_does_not_reach_inserts_nothing(server: Server, numbers: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        head = f"POST /?query=INSERT+INTO+{numbers}+FORMAT+TSV HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n1\n2\n"
        connection.sendall(head.encode())
    until(lambda: server.sql("SELECT count() FROM system.processes WHERE query LIKE 'INSERT%'") == "0\n")
    assert server.sql(f"SELECT count() FROM {numbers}") == "0\n"


def test_an_insert_streams_in_bounded_memory(server: Server, numbers: str) -> None:
    def rss() -> int:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    before = rss()
    piece = b"".join(b"%d\n" % number for number in range(100_000))
    frame = lz4.frame.compress(piece * 20)  # 2 million rows, 14 MB in little
    assert send(server, f"INSERT INTO {numbers} FORMAT TSV", [frame] * 8, "lz4").status_code == 200
    assert server.sql(f"SELECT count() FROM {numbers}") == "16000000\n"
    assert rss() - before < 400e6


def test_a_long_head_is_bounded(server: Server) -> None:
    response = send(server, "", [b"INSERT INTO t (" + b"a, " * (1 << 20)])
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (413, "62")
    response = send(server, "", [b"SELECT 1 + " * (1 << 19)])
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (413, "62")


def test_out_of_memory_fails_the_insert(server: Server, numbers: str) -> None:
    response = httpx.post(
        server.url,
        params={"query": f"INSERT INTO {numbers} FORMAT TSV", "max_memory_usage": "20000000"},
        content=b"1\n" * 5_000_000,
        timeout=60,
    )
    assert response.headers["X-ClickHouse-Exception-Code"] == "241"
    assert server.sql(f"SELECT count() FROM {numbers}") == "0\n"


rows = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.text(max_size=20)), max_size=30)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=rows, data=st.data(), encoding=st.sampled_from(sorted(ENCODE)), inline=st.booleans())
def test_any_rows_in_any_pieces_round_trip(
    server: Server, table: str, rows: list[tuple[int, str]], data: st.DataObject, encoding: str, inline: bool
) -> None:
    server.sql(f"TRUNCATE TABLE {table}")
    statement = f"INSERT INTO {table} (id, name) FORMAT JSONEachRow"
    body = "".join(json.dumps({"id": number, "name": name}) + "\n" for number, name in rows).encode()
    text = statement.encode() + b"\n" + body if inline else body

    def cut(whole: bytes, what: str) -> list[bytes]:
        places = data.draw(st.lists(st.integers(0, len(whole)), max_size=6), label=what)
        ends = [0, *sorted(places), len(whole)]
        return [whole[a:b] for a, b in pairwise(ends)]

    frames = b"".join(ENCODE[encoding](piece) for piece in cut(text, "frames"))
    chunks = [chunk for chunk in cut(frames, "chunks") if chunk]
    response = send(server, "" if inline else statement, chunks, encoding)
    assert response.status_code == 200, response.text
    answer = server.post(
        f"SELECT id, name FROM {table} FORMAT JSONCompactEachRow", output_format_json_quote_64bit_integers="0"
    )
    assert sorted(json.loads(line) for line in answer.text.split("\n") if line) == sorted(
        [list(row) for row in rows]
    )

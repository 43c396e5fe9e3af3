"""clickhouse-connect's public surface, against our server as against any other."""

import datetime as dt
import ipaddress
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError
from clickhouse_connect.driver.external import ExternalData

from .conftest import Server

EVENTS = "CREATE TABLE {} (id UInt64, name String, at DateTime64(3, 'UTC')) ENGINE = MergeTree ORDER BY id"


@pytest.fixture
def events(client: Client, server: Server) -> str:
    client.command("DROP TABLE IF EXISTS events SYNC")
    client.command(EVENTS.format("events"))
    return "events"


def test_it_knows_the_server(client: Client, server: Server) -> None:
    assert client.ping() is True
    assert client.server_version == server.sql("SELECT version()").strip()
    assert client.min_version("24.1")
    assert not client.min_version("99.1")
    assert client.server_settings["max_threads"].readonly == 0


def test_queries_in_every_shape(client: Client) -> None:
    sql = "SELECT number AS n, toString(number) AS s FROM numbers(5)"
    result = client.query(sql)
    assert result.result_rows == [(0, "0"), (1, "1"), (2, "2"), (3, "3"), (4, "4")]
    assert result.column_names == ("n", "s")
    assert result.summary["read_rows"] == "5"
    assert result.query_id
    assert client.query("SELECT 1 AS a WHERE 0").result_rows == []
    limited = client.query(f"SELECT * FROM ({sql}) LIMIT 0")
    assert (limited.result_rows, limited.column_names) == ([], ("n", "s"))
    pd.testing.assert_frame_equal(
        client.query_df(sql),
        pd.DataFrame({"n": np.arange(5, dtype="uint64"), "s": list("01234")}),
        check_dtype=False,
    )
    assert client.query_np("SELECT number FROM numbers(5)").tolist() == [[0], [1], [2], [3], [4]]
    assert client.query_arrow(sql).to_pydict() == {"n": [0, 1, 2, 3, 4], "s": ["0", "1", "2", "3", "4"]}
    assert client.query_df_arrow(sql)["n"].tolist() == [0, 1, 2, 3, 4]
    assert client.raw_query(sql, fmt="CSV") == b'0,"0"\n1,"1"\n2,"2"\n3,"3"\n4,"4"\n'
    with client.raw_stream(sql, fmt="TSV") as stream:
        assert stream.read() == b"0\t0\n1\t1\n2\t2\n3\t3\n4\t4\n"


def test_streams(client: Client) -> None:
    sql = "SELECT number AS n, toString(number) AS s FROM numbers(300000)"
    with client.query_row_block_stream(sql) as blocks:
        assert sum(len(block) for block in blocks) == 300_000
    with client.query_column_block_stream(sql) as blocks:
        assert sum(sum(block[0]) for block in blocks) == 300_000 * 299_999 // 2
    with client.query_rows_stream(sql) as rows:
        assert next(iter(rows)) == (0, "0")
    with client.query_df_stream(sql) as frames:
        assert sum(len(frame) for frame in frames) == 300_000
    with client.query_np_stream(sql) as arrays:
        assert sum(len(array) for array in arrays) == 300_000
    with client.query_arrow_stream(sql) as batches:
        assert sum(batch.num_rows for batch in batches) == 300_000


def test_errors(client: Client, server: Server) -> None:
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE") as caught:
        client.query("SELECT * FROM nowhere")
    assert (caught.value.code, caught.value.name) == (60, "UNKNOWN_TABLE")
    with pytest.raises(DatabaseError, match="Database nodb does not exist") as caught:
        server.client(database="nodb").query("SELECT 1")
    assert caught.value.code == 81
    with (
        pytest.raises(StreamFailureError, match="Code: 395"),
        client.query_row_block_stream(
            "SELECT throwIf(number = 3000000), number FROM numbers(4000000)"
        ) as blocks,
    ):
        for _ in blocks:
            pass
    assert client.command("SELECT 1") == 1


@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", False])
def test_inserts_in_every_compression(
    server: Server, client: Client, events: str, compress: str | bool
) -> None:
    writer = server.client(compress=compress)
    at = dt.datetime(2024, 5, 6, 7, 8, 9, 123000, tzinfo=dt.UTC)
    summary = writer.insert(events, [[1, "a", at], [2, "ü", at]], column_names=["id", "name", "at"])
    assert summary.written_rows == 2
    frame = pd.DataFrame({"id": np.arange(100_000, dtype="uint64"), "name": "n", "at": pd.Timestamp(at)})
    assert writer.insert_df(events, frame).written_rows == 100_000
    table = pa.table(
        {"id": pa.array([7], pa.uint64()), "name": ["x"], "at": pa.array([at], pa.timestamp("ms", "UTC"))}
    )
    assert writer.insert_arrow(events, table).written_rows == 1
    assert writer.raw_insert(events, ["id", "name"], "8,x\n9,y\n", fmt="CSV").written_rows == 2
    assert client.query(
        f"SELECT id, name, at FROM {events} WHERE name IN ('a', 'ü', 'x') AND id < 8 ORDER BY id"
    ).result_rows == [
        (1, "a", at),
        (2, "ü", at),
        (7, "x", at),
    ]
    assert client.command(f"SELECT count() FROM {events}") == 100_005
    writer.close()


def test_raw_inserts_stream_and_compress(client: Client, events: str) -> None:
    import gzip

    client.raw_insert(events, ["id"], (b"%d\n" % number for number in range(1000)), fmt="TSV")
    client.raw_insert(events, ["id"], gzip.compress(b"5\n6\n"), fmt="TSV", compression="gzip")
    assert client.command(f"SELECT count(), sum(id) FROM {events}") == ["1002", str(499_500 + 11)]


def test_an_insert_that_cannot_be_serialized_inserts_nothing(client: Client, events: str) -> None:
    with pytest.raises(Exception, match=r"str"):
        client.insert(events, [[1, "a", "no time"]], column_names=["id", "name", "at"])
    assert client.command(f"SELECT count() FROM {events}") == 0


def test_parameters_are_bound_on_the_server(client: Client) -> None:
    nasty = 'it\'s \\ \t \n "x" `y` {z:Int8} %s ü'
    moment = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    values = {"s": nasty, "a": [1, 2], "t": moment, "n": None, "d": Decimal("1.50")}
    sql = "SELECT {s:String}, {a:Array(Int32)}, {t:DateTime('UTC')}, {n:Nullable(Int8)}, {d:Decimal(9, 2)}"
    assert client.query(sql, parameters=values).result_rows == [
        (nasty, [1, 2], moment, None, Decimal("1.50"))
    ]
    assert client.command("SELECT count() FROM system.{t:Identifier}", parameters={"t": "one"}) == 1
    assert client.query("SELECT %(x)s", parameters={"x": nasty}).result_rows == [(nasty,)]


def test_forms_carry_long_parameters_and_external_data(server: Server) -> None:
    client = server.client(form_encode_query_params=True)
    long = "x" * 3_000_000
    assert client.query("SELECT length({s:String})", parameters={"s": long}).result_rows == [(3_000_000,)]
    external = ExternalData(
        file_name="people.csv", data=b"1,ann\n2,bob\n", fmt="CSV", structure=["id UInt8", "name String"]
    )
    external.add_file(file_name="more.tsv", data=b"3\n4\n", fmt="TSV", types="Int8")
    sql = "SELECT name, id IN (SELECT id FROM people), (SELECT sum(_1) FROM more) FROM people ORDER BY id"
    assert client.query(sql, external_data=external).result_rows == [("ann", 1, 7), ("bob", 1, 7)]
    assert client.raw_query("SELECT count() FROM people", external_data=external) == b"2\n"
    with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
        client.query("SELECT * FROM people")
    client.close()


def test_settings_go_with_the_client_and_with_the_query(server: Server) -> None:
    client = server.client(settings={"max_threads": 3})
    assert client.command("SELECT getSetting('max_threads')") == 3
    assert client.command("SELECT getSetting('max_threads')", settings={"max_threads": 5}) == 5
    client.set_client_setting("max_block_size", 1234)
    assert client.command("SELECT getSetting('max_block_size'), getSetting('max_threads')") == ["1234", "3"]
    client.close()


def test_commands(client: Client) -> None:
    assert client.command("SELECT 'a', 'b'") == ["a", "b"]
    assert client.command("CREATE OR REPLACE TABLE c (x Int8) ENGINE = Memory").written_rows == 0
    assert client.command("INSERT INTO c VALUES", data="(1), (2)").written_rows == 2
    assert client.command("SELECT sum(x) FROM c") == 3
    assert client.command("EXISTS TABLE c") == 1
    client.command("DROP TABLE c")


def test_a_client_is_a_session(server: Server) -> None:
    client = server.client(session_id=str(uuid.uuid4()))
    client.command("CREATE TEMPORARY TABLE picked (id UInt8)")
    client.insert("picked", [[1], [2]], column_names=["id"], column_type_names=["UInt8"])
    client.command("SET max_threads = 6")
    assert client.command("SELECT sum(id), getSetting('max_threads') FROM picked") == ["3", "6"]
    client.close()


TYPES: list[tuple[str, list[object]]] = [
    ("Nullable(Int32)", [1, None, -3]),
    ("LowCardinality(String)", ["a", "b", "a"]),
    ("LowCardinality(Nullable(String))", ["a", None, "a"]),
    ("Array(Nullable(String))", [["a", None], [], ["ü"]]),
    ("Map(String, UInt64)", [{"a": 1}, {}, {"b": 2**63}]),
    ("Tuple(Int8, String)", [(1, "a"), (2, "b"), (3, "")]),
    ("Enum8('wifi' = 1, '4g' = 2)", ["wifi", "4g", "wifi"]),
    ("UUID", [uuid.UUID(int=1), uuid.UUID(int=2**127), uuid.UUID(int=0)]),
    (
        "DateTime64(3, 'UTC')",
        [dt.datetime(2024, 1, 2, 3, 4, 5, ms * 1000, tzinfo=dt.UTC) for ms in (0, 1, 999)],
    ),
    ("Date", [dt.date(1970, 1, 1), dt.date(2024, 2, 29), dt.date(2149, 6, 6)]),
    ("Decimal(18, 4)", [Decimal("1.2345"), Decimal("-0.0001"), Decimal("99999999999999.9999")]),
    (
        "IPv4",
        [
            ipaddress.IPv4Address("127.0.0.1"),
            ipaddress.IPv4Address("0.0.0.0"),
            ipaddress.IPv4Address("255.255.255.255"),
        ],
    ),
    (
        "IPv6",
        [ipaddress.IPv6Address("::1"), ipaddress.IPv6Address("2001:db8::1"), ipaddress.IPv6Address("::")],
    ),
    ("Bool", [True, False, True]),
    ("Float32", [0.5, -1.25, 1e30]),
    ("UInt256", [0, 2**255, 1]),
    ("FixedString(3)", [b"abc", b"\x00\x01\x02", b"xyz"]),
    ("Array(Tuple(String, Array(UInt8)))", [[("a", [1, 2])], [], [("b", [])]]),
]


@pytest.mark.parametrize(("kind", "values"), TYPES, ids=[kind for kind, _ in TYPES])
def test_types_round_trip(client: Client, kind: str, values: list[object]) -> None:
    client.command(f"CREATE OR REPLACE TABLE typed (i UInt8, v {kind}) ENGINE = MergeTree ORDER BY i")
    client.insert("typed", [[number, value] for number, value in enumerate(values)], column_names=["i", "v"])
    found = [value for (value,) in client.query("SELECT v FROM typed ORDER BY i").result_rows]
    if kind == "Float32":
        assert found == pytest.approx(values, rel=1e-6)
    else:
        assert found == values
    client.command("DROP TABLE typed")

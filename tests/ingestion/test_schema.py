"""The schema of both stores: as the contract has it, made once however often and by how many it is asked for."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import psycopg2
import pytest
from clickhouse_connect.driver.client import Client
from sqlalchemy import text

from data_quality.contracts import ARRIVAL, EVENTS, USERS, VIDEOS, Gender
from ingestion.clickhouse import identifier, literal
from ingestion.clickhouse_schema import define_collection
from ingestion.errors import NamedCollectionDeniedError, StoreRefusedError, StoreUnreachableError
from ingestion.load import load_users, load_videos
from ingestion.postgres_schema import connect, downgrade, upgrade
from ingestion.schema import bootstrap
from ingestion.simulator import Simulator
from stack.clients import clickhouse_client
from stack.health import HttpProbe
from stack.settings import PROJECT_ROOT, Settings, child_environment

pytestmark = pytest.mark.stack
COLLECTION = "ingestion_tests_postgres"
NewSettings = Callable[..., Settings]


def query(settings: Settings, sql: str) -> list[tuple[object, ...]]:
    with connect(settings) as connection:
        return [tuple(row) for row in connection.execute(text(sql))]


def test_the_event_table_is_the_contracts(client: Client) -> None:
    found = client.query(
        "SELECT name, type FROM system.columns "
        "WHERE table = 'playback_events' AND database = currentDatabase() AND default_kind != 'MATERIALIZED' "
        "ORDER BY position"
    ).result_rows
    wanted = [(field.name, field.clickhouse) for field in EVENTS.fields]
    assert found == [*wanted, ("created_at", "DateTime64(3, 'UTC')")]
    assert ARRIVAL.clickhouse.startswith("DateTime64(3, 'UTC') ")
    engine, partition, order = client.query(
        "SELECT engine, partition_key, sorting_key FROM system.tables "
        "WHERE name = 'playback_events' AND database = currentDatabase()"
    ).result_rows[0]
    assert (engine, partition) == ("ReplacingMergeTree", "toYYYYMM(impression_timestamp)")
    assert order == "user_id, impression_timestamp, event_id"


def test_users_and_videos_have_the_columns_of_requirement_r1_3(schema: Settings) -> None:
    def columns(table: str) -> str:
        sql = "SELECT column_name FROM information_schema.columns WHERE table_name = '{}' ORDER BY ordinal_position"
        return " ".join(str(name) for (name,) in query(schema, sql.format(table)))

    assert columns("users") == (
        "user_id created_at age gender language interested_categories avg_daily_watch_time_ms device_type "
        "preferred_creators engagement_score region updated_at"
    )
    assert columns("videos") == (
        "video_id creator_id title description upload_time duration_ms category tags language sound_id "
        "thumbnail_url is_trending view_count like_count peertube_uuid updated_at"
    )
    assert set(USERS.names) <= set(columns("users").split())
    assert set(VIDEOS.names) <= set(columns("videos").split())


def test_the_indexes_are_those_of_requirement_r1_3(schema: Settings) -> None:
    found = query(schema, "SELECT indexname, indexdef FROM pg_indexes WHERE indexname LIKE 'ix_%'")
    indexes = {name: str(definition).split(" USING ")[1] for name, definition in found}
    assert indexes == {
        "ix_users_region": "btree (region)",
        "ix_users_language": "btree (language)",
        "ix_users_engagement_score": "btree (engagement_score DESC)",
        "ix_users_interested_categories": "gin (interested_categories)",
        "ix_videos_creator_id": "btree (creator_id)",
        "ix_videos_category": "btree (category)",
        "ix_videos_upload_time": "btree (upload_time DESC)",
        "ix_videos_tags": "gin (tags)",
        "ix_videos_trending": "btree (video_id) WHERE is_trending",
        "ix_videos_language": "btree (language)",
        "ix_videos_sound_id": "btree (sound_id)",
    }


@pytest.mark.parametrize("gender", [*Gender, "robot"])
def test_the_gender_is_one_of_the_contracts(stores: Settings, gender: str) -> None:
    allowed = gender in set(Gender)
    refused = contextlib.nullcontext() if allowed else pytest.raises(psycopg2.errors.CheckViolation)
    with connect(stores) as connection, refused:
        cursor = connection.connection.cursor()
        cursor.execute("INSERT INTO users (user_id, gender) VALUES ('u', %s)", (gender,))


def test_clickhouse_reads_users_and_videos_through_the_collection(stores: Settings, client: Client) -> None:
    source = Simulator(scale=0.02)
    load_users(stores, source)
    load_videos(stores, source)
    found = client.query(
        f"SELECT user_id, age, gender, interested_categories, preferred_creators, engagement_score "
        f"FROM postgresql({COLLECTION}, table = 'users') ORDER BY user_id"
    ).result_rows
    wanted = source.users().to_pylist()
    assert found == [
        (u["user_id"], u["age"], u["gender"], u["interested_categories"], u["preferred_creators"], 0.0)
        for u in wanted
    ]
    videos = client.query(
        f"SELECT video_id, tags, duration_ms, toUnixTimestamp64Milli(upload_time::DateTime64(3, 'UTC')) "
        f"FROM postgresql({COLLECTION}, table = 'videos') ORDER BY video_id"
    ).result_rows
    assert videos == [
        (v["video_id"], v["tags"], v["duration_ms"], round(v["upload_time"].timestamp() * 1000))
        for v in source.videos().to_pylist()
    ]


def test_an_empty_table_still_shows_its_lists_as_lists(stores: Settings, client: Client) -> None:
    found = client.query(f"DESCRIBE TABLE postgresql({COLLECTION}, table = 'users')").result_rows
    types = {row[0]: row[1] for row in found}
    assert types["interested_categories"].startswith("Array(")
    assert types["engagement_score"] == "Float64"


def test_a_query_cannot_send_the_collections_password_elsewhere(client: Client) -> None:
    with pytest.raises(Exception, match="not allowed"):
        client.command(f"SELECT 1 FROM postgresql({COLLECTION}, host = '127.0.0.2', table = 'users')")


def test_the_collection_follows_the_address(stores: Settings, client: Client) -> None:
    elsewhere = stores.model_copy(update={"postgres_from_clickhouse": "127.0.0.1:1"})
    count = f"SELECT count() FROM postgresql({COLLECTION}, table = 'users')"
    try:
        define_collection(elsewhere, COLLECTION)
        with pytest.raises(Exception, match="Connection refused"):
            client.query(count)
    finally:
        define_collection(stores, COLLECTION)
    assert client.query(count).result_rows == [(0,)]


def test_a_password_with_quotes_reaches_postgres_as_it_is(stores: Settings, client: Client) -> None:
    """Checked through the database's name, which trust authentication does compare."""
    name = 'it\'s a \\ "test"'
    with connect(stores) as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(
            text(f'CREATE DATABASE "{name.replace(chr(34), chr(34) * 2)}"')
        )
    there = stores.model_copy(
        update={
            "database_url_override": f"postgresql://reelgraph:p%27w%5C@127.0.0.1:{stores.postgres_port}/"
            "it's%20a%20%5C%20%22test%22"
        }
    )
    try:
        bootstrap(there, collection=f"{COLLECTION}_2")
        found = client.query(f"SELECT count() FROM postgresql({COLLECTION}_2, table = 'users')")
        assert found.result_rows == [(0,)]
    finally:
        client.command(f"DROP NAMED COLLECTION IF EXISTS {COLLECTION}_2")


def test_quoting_leaves_no_way_out() -> None:
    assert identifier("a`b\\") == "`a\\`b\\\\`"
    assert literal("a'b\\") == "'a\\'b\\\\'"


def test_bootstrap_again_and_at_once_changes_nothing(stores: Settings, client: Client) -> None:
    load_users(stores, Simulator(scale=0.02))
    client.command("INSERT INTO quarantined_events (source) VALUES ('kept')")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: bootstrap(stores, collection=COLLECTION), range(4)))
    assert query(stores, "SELECT count(*) FROM users") == [(40,)]
    assert client.query("SELECT source FROM quarantined_events").result_rows == [("kept",)]


def test_events_from_before_the_inbox_are_in_it_once_until_sessions_are_built(
    stores: Settings, client: Client
) -> None:
    client.command(
        "INSERT INTO playback_events (event_id, user_id, video_id, session_id) "
        "SELECT generateUUIDv4(), 'u', toString(number % 2), 's' FROM numbers(4)"
    )
    waiting = "SELECT count(), uniqExact(session_key) FROM session_inbox"
    client.command("TRUNCATE TABLE session_inbox")  # as if the events had come before the table
    bootstrap(stores, collection=COLLECTION)
    bootstrap(stores, collection=COLLECTION)
    assert client.query(waiting).result_rows == [(2, 2)]
    client.command("TRUNCATE TABLE session_inbox")
    client.command("CREATE TABLE int_session_states (user_id String) ENGINE = MergeTree ORDER BY user_id")
    try:
        bootstrap(stores, collection=COLLECTION)
        assert client.query(waiting).result_rows == [(0, 0)]
    finally:
        client.command("DROP TABLE int_session_states")


def test_many_at_once_make_a_new_schema_together(stores: Settings) -> None:
    name = "ingestion_tests_new"
    with connect(stores) as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text(f"CREATE DATABASE {name}"))
    fresh = stores.model_copy(
        update={
            "database_url_override": f"postgresql://reelgraph@127.0.0.1:{stores.postgres_port}/{name}",
            "clickhouse_url_override": f"http://default@127.0.0.1:{stores.clickhouse_port}/{name}",
        }
    )
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: bootstrap(fresh, collection=f"{COLLECTION}_3"), range(4)))
        assert query(fresh, "SELECT version_num FROM alembic_version") == [("0004",)]
    finally:
        with clickhouse_client(stores) as client:
            client.command(f"DROP NAMED COLLECTION IF EXISTS {COLLECTION}_3")
            client.command(f"DROP DATABASE IF EXISTS {name}")


def test_migrations_go_down_and_up_again(stores: Settings) -> None:
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    with connect(stores) as connection:
        downgrade(connection, "base")
        assert query(stores, tables) == [("alembic_version",)]
        upgrade(connection)
    names = [
        "alembic_version",
        "erased_users",
        "erasure_key",
        "loaded_sources",
        "users",
        "video_uploads",
        "videos",
    ]
    assert query(stores, tables) == [(name,) for name in names]


def test_a_schema_of_a_newer_release_is_refused_clearly(stores: Settings) -> None:
    with connect(stores) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.commit()
    try:
        with pytest.raises(StoreRefusedError, match=r"Postgres migration to head: .*9999"):
            bootstrap(stores, collection=COLLECTION)
    finally:
        with connect(stores) as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '0004'"))
            connection.commit()


def test_a_store_that_is_down_is_named_in_one_line(stores: Settings, new_settings: NewSettings) -> None:
    nowhere = new_settings()
    with pytest.raises(StoreUnreachableError) as caught:
        bootstrap(nowhere)
    assert f"Postgres at 127.0.0.1:{nowhere.postgres_port}, database reelgraph, is not reachable" in str(
        caught.value
    )
    half = stores.model_copy(
        update={"clickhouse_url_override": f"http://127.0.0.1:{nowhere.clickhouse_port}/x"}
    )
    with pytest.raises(StoreUnreachableError) as caught:
        bootstrap(half)
    assert f"ClickHouse at 127.0.0.1:{nowhere.clickhouse_port} is not reachable" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_command_says_what_is_wrong_and_fails(new_settings: NewSettings) -> None:
    done = _command(new_settings())
    assert done.returncode == 1
    assert done.stderr.startswith("bootstrap: Postgres at 127.0.0.1:")
    assert len(done.stderr.splitlines()) == 1


def test_the_command_makes_the_schema(stores: Settings) -> None:
    done = _command(stores)
    assert (done.returncode, done.stdout) == (0, "bootstrap: schema is up to date\n")


def _command(settings: Settings) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ingestion.schema", "bootstrap", "--collection", COLLECTION]
    return subprocess.run(
        command,
        env=child_environment(settings),
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def strict_server(new_settings: NewSettings, postgres: Settings, tmp_path: Path) -> Iterator[Settings]:
    """A ClickHouse with a `reader` who may not define anything and an `admin` who may."""
    users = {
        "reader": {"password_sha256": sha256(b"r").hexdigest(), "readonly": 2},
        "admin": {"password_sha256": sha256(b"a").hexdigest()},
    }
    (tmp_path / "users.json").write_text(json.dumps(users))
    settings = new_settings("strict")
    port = settings.clickhouse_port
    command = [
        sys.executable,
        "-m",
        "stack.clickhouse",
        "--path",
        str(tmp_path / "data"),
        "--port",
        str(port),
    ]
    process = subprocess.Popen(
        [*command, "--users-file", str(tmp_path / "users.json")],
        cwd=PROJECT_ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        probe = HttpProbe("127.0.0.1", port, "/ping")
        for _ in range(400):
            if probe.check() is None:
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        yield settings.model_copy(
            update={
                "clickhouse_url_override": f"http://reader:r@127.0.0.1:{port}/default",
                "database_url_override": postgres.database_url,
            }
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_without_the_right_to_define_the_collection_the_administrator_is_asked(
    strict_server: Settings, schema: Settings
) -> None:
    reader = strict_server.model_copy(update={"database_url_override": schema.database_url})
    with pytest.raises(
        NamedCollectionDeniedError, match=r"user reader may not .* GRANT NAMED COLLECTION ON shared"
    ):
        define_collection(reader, "shared")

    admin_url = f"http://admin:a@127.0.0.1:{strict_server.clickhouse_port}/default"
    define_collection(reader.model_copy(update={"clickhouse_url_override": admin_url}), "shared")
    define_collection(reader, "shared")  # there is one that works: nothing to complain about

    wrong = f"http://reader:wrong@127.0.0.1:{strict_server.clickhouse_port}/default"
    with pytest.raises(StoreRefusedError, match="refuses user reader"):
        define_collection(reader.model_copy(update={"clickhouse_url_override": wrong}), "shared")

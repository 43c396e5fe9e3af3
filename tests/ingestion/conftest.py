"""Stores of ingestion's own: a database each on the session's servers, empty before every test."""

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from clickhouse_connect.driver.client import Client

from ingestion.journal import DAYS, SESSIONS
from ingestion.schema import bootstrap
from stack.clients import clickhouse_client
from stack.settings import Settings

DATABASE = "ingestion_tests"
COLLECTION = "ingestion_tests_postgres"


@pytest.fixture(scope="session")
def own_stores(clickhouse: Settings, postgres: Settings) -> Settings:
    """Settings of databases nobody else uses; the schema is not there yet."""
    with closing(
        psycopg2.connect(host="127.0.0.1", port=postgres.postgres_port, user="reelgraph", dbname="postgres")
    ) as server:
        server.autocommit = True
        with server.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {DATABASE}")
    return clickhouse.model_copy(
        update={
            "clickhouse_url_override": f"http://default@127.0.0.1:{clickhouse.clickhouse_port}/{DATABASE}",
            "database_url_override": f"postgresql://reelgraph@127.0.0.1:{postgres.postgres_port}/{DATABASE}",
        }
    )


@pytest.fixture(scope="session")
def schema(own_stores: Settings) -> Settings:
    bootstrap(own_stores, collection=COLLECTION)
    return own_stores


@pytest.fixture
def stores(schema: Settings) -> Settings:
    """Both stores with the schema, and empty."""
    with closing(psycopg2.connect(schema.database_url.replace("+psycopg2", ""))) as connection, connection:
        connection.cursor().execute("TRUNCATE users, videos, loaded_sources")
    with clickhouse_client(schema) as client:
        for table in ("watch_sessions", "int_session_states"):  # what a test has made to be dbt's
            client.command(f"DROP TABLE IF EXISTS {table}")
        # The journal too, or one test's sessions wait in another's inbox.
        for table in ("playback_events", "quarantined_events", "ingestion_ledger", *SESSIONS, *DAYS):
            client.command(f"TRUNCATE TABLE {table}")
    return schema


@pytest.fixture
def client(stores: Settings) -> Iterator[Client]:
    with clickhouse_client(stores) as connected:
        yield connected

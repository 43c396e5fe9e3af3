"""The databases of the dbt tests, made once in the session's servers."""

from collections.abc import Iterator

import psycopg2
import pytest

from ingestion.schema import bootstrap
from stack.clients import clickhouse_client
from stack.settings import Settings

from .warehouse import COLLECTION, NAME, Warehouse


@pytest.fixture(scope="session")
def shared_warehouse(
    clickhouse: Settings, postgres: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Warehouse]:
    connection = psycopg2.connect(
        host="127.0.0.1", port=postgres.postgres_port, user="reelgraph", dbname="postgres"
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {NAME}")
    connection.close()
    home = tmp_path_factory.mktemp("dbt")
    settings = clickhouse.model_copy(
        update={
            "home": home,
            "clickhouse_url_override": clickhouse.clickhouse_url.rsplit("/", 1)[0] + f"/{NAME}",
            "database_url_override": f"postgresql://reelgraph@127.0.0.1:{postgres.postgres_port}/{NAME}",
        }
    )
    bootstrap(settings, collection=COLLECTION)
    client = clickhouse_client(settings)
    warehouse = Warehouse(settings, client)
    warehouse.dbt("run", "-s", "staging", "intermediate", "watch_sessions", "interactions")
    yield warehouse
    client.close()


@pytest.fixture
def warehouse(shared_warehouse: Warehouse) -> Warehouse:
    """The warehouse, empty."""
    shared_warehouse.clear()
    return shared_warehouse

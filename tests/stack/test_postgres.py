"""The embedded Postgres: one role that owns three databases, no superuser at the door, repairs."""

import psycopg2
import pytest
from sqlalchemy import create_engine, text

from stack.postgres import ensure_databases
from stack.settings import Settings


def test_our_role_owns_each_of_the_three_databases(postgres: Settings) -> None:
    for url in (postgres.database_url, postgres.dagster_database_url, postgres.mlflow_database_url):
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE owned_check (name text)"))
            connection.execute(text("INSERT INTO owned_check VALUES ('ünïcode ✓')"))
            assert connection.execute(text("SELECT name FROM owned_check")).scalar() == "ünïcode ✓"
            connection.execute(text("DROP TABLE owned_check"))
        engine.dispose()


def test_the_superuser_cannot_log_in(postgres: Settings) -> None:
    with pytest.raises(psycopg2.OperationalError, match=r"no pg_hba\.conf entry"):
        psycopg2.connect(host="127.0.0.1", port=postgres.postgres_port, user="postgres", dbname="postgres")


def test_existing_databases_are_left_alone(postgres: Settings) -> None:
    assert ensure_databases(postgres) == []

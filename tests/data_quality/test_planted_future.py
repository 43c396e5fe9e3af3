"""Planted future events change no training row; and where a feature does see them, the check says which."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from data_quality.planted_events import KINDS
from data_quality.planted_future import (
    DbtRunFailedError,
    PlantedFuture,
    _dbt,
    planted_future,
)
from data_quality.training_rows import NoEventsError, TrainingSetEmptyError
from ingestion.load import load
from ingestion.schema import bootstrap
from ingestion.simulator import Simulator
from stack.clients import clickhouse_client
from stack.settings import Settings
from tests.dbt_project.warehouse import JOURNAL, Event, Warehouse

NAME = "planted_tests"
COLLECTION = f"{NAME}_postgres"
MODELS = "models/training"


@pytest.fixture(scope="module")
def warehouse(
    clickhouse: Settings, postgres: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Warehouse]:
    """Five days of a few hundred simulated people, and their training rows."""
    with closing(
        psycopg2.connect(host="127.0.0.1", port=postgres.postgres_port, user="reelgraph", dbname="postgres")
    ) as server:
        server.autocommit = True
        server.cursor().execute(f"CREATE DATABASE {NAME}")
    settings = clickhouse.model_copy(
        update={
            "home": tmp_path_factory.mktemp("planted"),
            "clickhouse_url_override": clickhouse.clickhouse_url.rsplit("/", 1)[0] + f"/{NAME}",
            "database_url_override": f"postgresql://reelgraph@127.0.0.1:{postgres.postgres_port}/{NAME}",
        }
    )
    bootstrap(settings, collection=COLLECTION)
    made = Warehouse(settings, clickhouse_client(settings))
    load(settings, Simulator(scale=0.1))
    made.dbt("run", "-s", "+tag:training", "stg_users", postgres_collection=COLLECTION)
    yield made
    made.client.close()


def scratch_databases(warehouse: Warehouse) -> list[str]:
    found = warehouse.rows(f"SELECT name FROM system.databases WHERE startsWith(name, '{NAME}_planted_')")
    return [name for (name,) in found]


def leaking(warehouse: Warehouse, model: str, change: Callable[[str], str]) -> PlantedFuture:
    """The check's verdict, where this model is built by another SQL than its own."""

    def build(environment: dict[str, str], arguments: list[str]) -> None:
        _dbt(environment, arguments)
        [compiled] = (Path(environment["DBT_TARGET_PATH"]) / "compiled").glob(f"**/{MODELS}/{model}.sql")
        sql = compiled.read_text()
        changed = change(sql)
        assert changed != sql
        with closing(
            clickhouse_client(warehouse.settings, database=environment["DBT_CLICKHOUSE_DATABASE"])
        ) as client:
            client.command(f"TRUNCATE TABLE {model}")
            client.command(f"INSERT INTO {model} {changed}", settings={"join_use_nulls": 1})

    return planted_future(warehouse.settings, build)


@pytest.fixture(scope="module")
def verdict(warehouse: Warehouse) -> PlantedFuture:
    return planted_future(warehouse.settings)


def test_no_row_of_the_training_set_sees_what_was_planted_after_it(verdict: PlantedFuture) -> None:
    assert verdict.passed, verdict.examples
    assert (verdict.differences, verdict.examples) == (0, ())
    assert verdict.rows > 300
    assert 0 < verdict.whole_rows < verdict.rows
    assert set(verdict.planted) == set(KINDS)
    assert min(verdict.planted.values()) > 10
    assert verdict.sessions > 50
    assert verdict.cut < verdict.as_of


def test_nothing_is_left_and_the_main_warehouse_is_as_it_was(
    warehouse: Warehouse, verdict: PlantedFuture
) -> None:
    assert verdict.passed
    assert scratch_databases(warehouse) == []
    assert warehouse.rows("SELECT count() FROM playback_events WHERE startsWith(user_id, 'b|')") == [(0,)]


ITS_OWN_HOUR = ("unbounded preceding and 1 preceding\n    )", "unbounded preceding and current row\n    )")
ITS_OWN_DAY = ("29 preceding and 1 preceding", "29 preceding and current row")


@pytest.mark.parametrize(
    ("entity", "leak"),
    [("user", ITS_OWN_HOUR), ("video", ITS_OWN_HOUR), ("video", ITS_OWN_DAY)],
    ids=["the hour of the user", "the hour of the video", "the day of the video"],
)
def test_features_that_see_too_far_fail_and_are_named(
    warehouse: Warehouse, entity: str, leak: tuple[str, str]
) -> None:
    found = leaking(warehouse, f"{entity}_features_hourly", lambda sql: sql.replace(*leak))
    assert not found.passed
    assert found.differences > 0
    assert len(found.examples) == min(found.differences, 5)
    for example in found.examples:
        assert re.match(rf"session '.+', user '.+', video '.+': {entity}_\w+ was \S+ and became \S+", example)


def test_features_that_see_how_sessions_ended_fail(warehouse: Warehouse) -> None:
    """Each session as it is now, at the hour it began in: what joining watch_sessions by started_at would do."""

    def as_they_ended(sql: str) -> str:
        return re.sub(
            r"select \* from (\S+int_session_changes`?)",
            r"select c.* replace (toDateTime64(toStartOfHour(s.started_at), 3, 'UTC') as hour,"
            r" toDate32(s.started_at) as activity_date)"
            r" from \1 as c inner join int_session_states as s on c.session_key = s.session_key and c.hour = s.hour"
            r" where c.sign = 1 and s.is_latest = 1",
            sql,
        )

    found = leaking(warehouse, "user_features_hourly", as_they_ended)
    assert not found.passed
    assert found.differences > 0


def test_when_dbt_fails_nothing_is_left(warehouse: Warehouse) -> None:
    def without_a_table(environment: dict[str, str], arguments: list[str]) -> None:
        assert len(scratch_databases(warehouse)) == 1
        _dbt(environment, [*arguments[:1], "run", "-s", "no_such_model", "--no-such-option"])

    with pytest.raises(DbtRunFailedError, match="no-such-option"):
        planted_future(warehouse.settings, without_a_table)
    assert scratch_databases(warehouse) == []


def test_what_a_killed_run_left_goes_after_an_hour(warehouse: Warehouse) -> None:
    old, young = (f"{NAME}_planted_{int(time.time()) - age}_0123abcd" for age in (3700, 3500))
    other = f"{NAME}_planted_by_hand"
    for name in (old, young, other):
        warehouse.client.command(f"CREATE DATABASE {name}")

    def look(environment: dict[str, str], arguments: list[str]) -> None:
        assert set(scratch_databases(warehouse)) == {young, other, environment["DBT_CLICKHOUSE_DATABASE"]}
        raise DbtRunFailedError("seen enough")

    try:
        with pytest.raises(DbtRunFailedError, match="seen enough"):
            planted_future(warehouse.settings, look)
    finally:
        for name in (young, other):
            warehouse.client.command(f"DROP DATABASE {name}")


def test_one_user_is_enough_if_it_has_rows(warehouse: Warehouse) -> None:
    found = planted_future(warehouse.settings, users=1, events=30)
    assert found.users == 1
    assert found.passed


@pytest.fixture
def empty(warehouse: Warehouse) -> Iterator[Warehouse]:
    """The same tables, with nothing in them."""
    name = f"{NAME}_empty"
    warehouse.client.command(f"CREATE DATABASE {name}")
    url = warehouse.settings.clickhouse_url.replace(f"/{NAME}", f"/{name}")
    settings = warehouse.settings.model_copy(update={"clickhouse_url_override": url})
    with closing(clickhouse_client(settings)) as client:
        for table in ("playback_events", "stg_users", "stg_videos", "training_interactions", *JOURNAL):
            client.command(f"CREATE TABLE {table} AS {NAME}.{table}")
        try:
            yield Warehouse(settings, client)
        finally:
            warehouse.client.command(f"DROP DATABASE {name}")


def test_without_a_training_row_there_is_nothing_to_compare(empty: Warehouse) -> None:
    empty.add([Event("passed over", "scroll_pass", 0)])
    with pytest.raises(TrainingSetEmptyError, match="training_interactions has no row"):
        planted_future(empty.settings)
    assert scratch_databases(empty) == []


def test_rows_whose_events_are_gone_are_no_sample(warehouse: Warehouse, empty: Warehouse) -> None:
    empty.client.command(
        f"INSERT INTO training_interactions SELECT * FROM {NAME}.training_interactions LIMIT 9"
    )
    with pytest.raises(NoEventsError):
        planted_future(empty.settings)

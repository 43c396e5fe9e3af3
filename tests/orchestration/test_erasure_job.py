"""The job and the command that erase a user: what they leave behind, and that a remnant fails them."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import psycopg2
import pytest
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from sqlalchemy import text
from typer.testing import CliRunner, Result

from ingestion.postgres_schema import connect
from ingestion.schema import bootstrap
from orchestration.cli import app
from orchestration.defs.erasure import JOB, RunRecords, configured_user, erase_user_job, run_config
from orchestration.pools import MODELS, WAREHOUSE
from orchestration.resources import Stores
from stack.settings import Settings, child_environment, variables
from tests.conftest import free_ports

pytestmark = pytest.mark.stack
DATABASE = "erasure_job_tests"
ERASED, OTHER = 'zoë\'s "50%" *\\', 'zoë\'s "50%" *\\:x'


@pytest.fixture(scope="module")
def schema(clickhouse: Settings, postgres: Settings) -> Settings:
    with closing(
        psycopg2.connect(host="127.0.0.1", port=postgres.postgres_port, user="reelgraph", dbname="postgres")
    ) as server:
        server.autocommit = True
        with server.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {DATABASE}")
    own = clickhouse.model_copy(
        update={
            "clickhouse_url_override": f"http://default@127.0.0.1:{clickhouse.clickhouse_port}/{DATABASE}",
            "database_url_override": f"postgresql://reelgraph@127.0.0.1:{postgres.postgres_port}/{DATABASE}",
        }
    )
    bootstrap(own, collection=f"{DATABASE}_postgres")
    return own


@pytest.fixture
def stores(schema: Settings, redis: Settings, tmp_path: Path) -> Settings:
    settings = schema.model_copy(update={"home": tmp_path / "home", "endpoint_port": free_ports(1)[0]})
    settings.home.mkdir()
    with connect(settings) as connection:
        connection.execute(text("TRUNCATE users, erased_users, erasure_key"))
        connection.execute(text("INSERT INTO users (user_id) VALUES (:a), (:b)"), {"a": ERASED, "b": OTHER})
        connection.commit()
    return settings


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def run(settings: Settings, instance: dg.DagsterInstance, user: str) -> dg.ExecuteInProcessResult:
    class StoresOf(Stores):
        @property
        def settings(self) -> Settings:
            return settings

    return erase_user_job.execute_in_process(
        run_config=run_config(user),
        instance=instance,
        resources={"stores": StoresOf()},
        raise_on_error=False,
    )


def users(settings: Settings) -> list[str]:
    with connect(settings) as connection:
        return list(connection.execute(text("SELECT user_id FROM users")).scalars())


def everything_stored(instance: dg.DagsterInstance) -> str:
    """All that Dagster's storage holds of the runs: bodies, tags, event logs."""
    storage = instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    with storage.connect() as connection:
        bodies = [tuple(row) for row in connection.execute(text("SELECT run_body FROM runs"))]
        tags = [tuple(row) for row in connection.execute(text("SELECT key, value FROM run_tags"))]
    logs = [str(record) for run in instance.get_runs() for record in instance.all_logs(run.run_id)]
    return f"{bodies} {tags} {logs}"


def test_the_user_is_erased_and_dagster_forgets_the_id(
    stores: Settings, instance: dg.DagsterInstance
) -> None:
    result = run(stores, instance, ERASED)

    assert result.success
    assert users(stores) == [OTHER]
    [stored] = instance.get_runs()
    assert str(configured_user(stored.run_config)).startswith("erased:")
    assert stored.status is dg.DagsterRunStatus.SUCCESS
    said = everything_stored(instance)
    assert "50%" not in said
    assert [form for form in ("zoë", "zo\\u00eb", "zo\\xeb") if form in said] == []
    assert result.run_id in said


def test_the_receipt_is_in_the_run_and_in_the_catalogue(
    stores: Settings, instance: dg.DagsterInstance
) -> None:
    run(stores, instance, ERASED)
    event = instance.get_latest_materialization_event(dg.AssetKey("erasure_receipts"))
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["still there"].value == 0
    assert metadata["complete"].value is True
    assert "| Postgres users | gone | 1 | 0 |" in str(metadata["places"].value)
    assert "| Dagster run records | gone | 1 | 0 |" in str(metadata["places"].value)


def test_earlier_runs_that_named_the_user_are_cleaned_too_and_those_of_others_are_not(
    stores: Settings, instance: dg.DagsterInstance
) -> None:
    for user in (ERASED, OTHER):
        instance.create_run_for_job(erase_user_job, run_config=run_config(user))
    run(stores, instance, ERASED)
    named = [configured_user(each.run_config) for each in instance.get_runs(dg.RunsFilter(job_name=JOB))]
    assert ERASED not in named
    assert named.count(OTHER) == 1


def test_a_store_that_is_down_fails_the_run_and_says_which(
    stores: Settings, instance: dg.DagsterInstance
) -> None:
    nowhere = stores.model_copy(update={"redis_url_override": f"redis://127.0.0.1:{free_ports(1)[0]}/0"})
    result = run(nowhere, instance, ERASED)
    assert not result.success
    failure = result.failure_data_for_node("erase_user")
    assert failure is not None
    assert "not erased: Redis keys of the user; run it again" in str(failure.user_failure_data)
    assert run(stores, instance, ERASED).success


def test_a_run_started_again_from_a_cleaned_one_says_what_to_do(
    stores: Settings, instance: dg.DagsterInstance
) -> None:
    run(stores, instance, ERASED)
    [first] = instance.get_runs()
    again = run(stores, instance, str(configured_user(first.run_config)))
    assert not again.success
    failure = again.failure_data_for_node("erase_user")
    assert "start a new run with the user's id" in str(failure)
    assert users(stores) == [OTHER]


def test_it_waits_for_runs_that_write_the_warehouse_or_train() -> None:
    assert {pool for op in erase_user_job.graph.node_defs for pool in op.pools} == {WAREHOUSE, MODELS}


def test_runs_of_other_jobs_are_none_of_its_business(instance: dg.DagsterInstance) -> None:
    from ingestion.erasure.book import User

    user = User(ERASED, "0" * 64)
    assert RunRecords(instance).look(user).left == 0
    assert configured_user({}) is None
    assert configured_user({"ops": {"erase_user": {"config": {"user_id": {"env": "X"}}}}}) is None


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`reelgraph users ...` with given settings."""

    def invoke(settings: Settings, *arguments: str, answer: str | None = None) -> Result:
        for name in variables():
            monkeypatch.delenv(name, raising=False)
        environment = child_environment(settings)
        for name in variables():
            if name in environment:
                monkeypatch.setenv(name, environment[name])
        return CliRunner().invoke(app, ["users", *arguments], input=answer)

    return invoke


def test_the_command_asks_first_and_a_no_erases_nothing(
    stores: Settings, command: Callable[..., Result]
) -> None:
    refused = command(stores, "erase", ERASED, answer="n\n")
    assert refused.exit_code == 1
    assert "nothing erased" in refused.stderr
    assert sorted(users(stores)) == sorted([ERASED, OTHER])
    assert command(stores, "erase", ERASED, answer="y\n").exit_code == 0
    assert users(stores) == [OTHER]


def test_the_command_prints_the_receipt_as_a_table_or_json(
    stores: Settings, command: Callable[..., Result]
) -> None:
    shown = command(stores, "erase", ERASED, "--yes")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[-1] == "erased everywhere it can be"
    assert "Postgres users" in shown.stdout
    receipt = json.loads(command(stores, "receipt", ERASED, "--json").stdout)
    assert receipt["completed_at"] is not None
    assert [p["erased"] for p in receipt["places"] if p["place"] == "Postgres users"] == [1]


def test_a_store_that_is_down_ends_the_command_with_1_until_it_is_up_again(
    stores: Settings, command: Callable[..., Result]
) -> None:
    nowhere = stores.model_copy(update={"redis_url_override": f"redis://127.0.0.1:{free_ports(1)[0]}/0"})
    first = command(nowhere, "erase", ERASED, "--yes")
    assert first.exit_code == 1
    assert first.stdout.splitlines()[-1] == "not erased: Redis keys of the user; run it again"
    assert command(nowhere, "receipt", ERASED).exit_code == 1
    assert command(stores, "erase", ERASED, "--yes").exit_code == 0
    assert command(stores, "receipt", ERASED).exit_code == 0


def test_without_postgres_nothing_can_be_recorded_and_the_command_says_so(
    stores: Settings, command: Callable[..., Result]
) -> None:
    url = f"postgresql://reelgraph@127.0.0.1:{free_ports(1)[0]}/x"
    done = command(stores.model_copy(update={"database_url_override": url}), "erase", ERASED, "--yes")
    assert done.exit_code == 1
    assert done.stderr.startswith("not erased: Postgres at 127.0.0.1:")
    assert done.stdout == ""


def test_an_id_that_begins_with_a_dash_and_a_user_never_erased(
    stores: Settings, command: Callable[..., Result]
) -> None:
    unknown = command(stores, "receipt", "--", "--yes")
    assert unknown.exit_code == 1
    assert "no erasure of this user is on record" in unknown.stderr
    done = command(stores, "erase", "--yes", "--", "--yes")
    assert done.exit_code == 0
    assert "no trace of this user was found" in done.stdout
    assert sorted(users(stores)) == sorted([ERASED, OTHER])

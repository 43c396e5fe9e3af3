"""The schedules of sessions and features, asking a real journal."""

from collections.abc import Iterator

import dagster as dg
import pytest
from clickhouse_connect.driver.client import Client
from dagster._core.utils import make_new_run_id

from ingestion.clickhouse_schema import create_tables
from orchestration.defs.feature_jobs import features_wanted, online_features_wanted, sessions_wanted
from orchestration.resources import Stores
from stack.clients import clickhouse_client
from stack.settings import Settings
from tests.dbt_project.warehouse import COLUMNS, T0, Event

NAME = "schedule_tests"


@pytest.fixture
def at(clickhouse: Settings) -> Settings:
    url = clickhouse.clickhouse_url.rsplit("/", 1)[0] + f"/{NAME}"
    return clickhouse.model_copy(update={"clickhouse_url_override": url})


@pytest.fixture
def client(at: Settings) -> Iterator[Client]:
    """The schema, empty."""
    create_tables(at)
    with clickhouse_client(at) as connected:
        yield connected
        connected.command(f"DROP DATABASE {NAME} SYNC")


@pytest.fixture
def stores(at: Settings) -> Stores:
    class At(Stores):
        @property
        def settings(self) -> Settings:
            return at

    return At()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as made:
        yield made


def reason(found: dg.RunRequest | dg.SkipReason) -> str:
    """Why it runs, or, after "no run: ", why it does not."""
    if isinstance(found, dg.SkipReason):
        return f"no run: {found.skip_message}"
    return found.tags["reelgraph/reason"]


def sessions(instance: dg.DagsterInstance, stores: Stores) -> str:
    return reason(sessions_wanted(dg.build_schedule_context(instance=instance), stores))


def features(instance: dg.DagsterInstance, stores: Stores) -> str:
    return reason(features_wanted(dg.build_schedule_context(instance=instance), stores))


def deliver(client: Client) -> None:
    client.insert("playback_events", [Event("s1", "view_start", at=0).row()], COLUMNS)


def built(client: Client) -> None:
    """What a features run leaves: the features as of the newest event, an empty journal."""
    client.command(
        "CREATE OR REPLACE TABLE user_features (as_of DateTime64(3, 'UTC')) ENGINE = MergeTree ORDER BY ()"
    )
    client.insert("user_features", [[T0]], ["as_of"])
    for name in ("session_inbox", "touched_sessions", "activity_inbox", "touched_days"):
        client.command(f"TRUNCATE TABLE {name}")


def ran(instance: dg.DagsterInstance, job: str, status: dg.DagsterRunStatus) -> None:
    instance.add_run(dg.DagsterRun(job_name=job, run_id=make_new_run_id(), status=status))


def test_sessions_wait_for_an_arrival_and_for_what_a_killed_run_left(
    client: Client, stores: Stores, instance: dg.DagsterInstance
) -> None:
    assert sessions(instance, stores) == "no run: nothing has arrived"
    deliver(client)
    assert sessions(instance, stores) == "1 entries of touched sessions wait"
    client.command("ALTER TABLE session_inbox MOVE PARTITION tuple() TO TABLE touched_sessions")
    assert sessions(instance, stores) == "1 entries of touched sessions wait"
    ran(instance, "sessions_job", dg.DagsterRunStatus.STARTED)
    assert sessions(instance, stores) == "no run: the last run is still under way"


def test_features_wait_for_anything_that_would_change_them(
    client: Client, stores: Stores, instance: dg.DagsterInstance
) -> None:
    deliver(client)
    assert features(instance, stores) == "no features yet"
    built(client)
    ran(instance, "features_job", dg.DagsterRunStatus.SUCCESS)
    assert features(instance, stores).startswith("no run: nothing has arrived")
    client.insert("activity_inbox", [["int_daily_user_activity", T0.date()]], ["model", "activity_date"])
    assert features(instance, stores) == "1 entries of touched sessions and days wait"
    built(client)
    client.insert("playback_events", [Event("s2", "view_start", at=60).row()], COLUMNS)
    client.command("TRUNCATE TABLE session_inbox")  # a 5-minute run took it
    assert "clock moved" in features(instance, stores)


def test_features_are_built_again_after_a_backfill(
    client: Client, stores: Stores, instance: dg.DagsterInstance
) -> None:
    deliver(client)
    built(client)
    ran(instance, "features_job", dg.DagsterRunStatus.SUCCESS)
    instance.report_runless_asset_event(dg.AssetMaterialization("rebuilt_days", partition="2022-05-01"))
    assert features(instance, stores) == "days were rebuilt since"


def test_the_online_copy_waits_for_features(client: Client, stores: Stores) -> None:
    assert isinstance(online_features_wanted(stores), dg.SkipReason)
    built(client)
    assert isinstance(online_features_wanted(stores), dg.RunRequest)

"""Days rebuilt by partition: the same rows, whatever was wrong with them, however often, and after a kill."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import dagster as dg
import psycopg2
import pytest

from ingestion.rebuild import Asked, NoSessionsYetError, ask_for_days, portions
from ingestion.schema import bootstrap
from orchestration.dbt import PROJECT_DIR, dbt_resource, variables
from orchestration.defs.backfill import rebuilt_days_from
from orchestration.resources import Stores
from stack.clients import clickhouse_client
from stack.dbt_environment import dbt_environment
from stack.settings import Settings, child_environment
from stack.settings import variables as variables_read
from tests.dbt_project.warehouse import T0, Event, Warehouse

NAME = "backfill_tests"
COLLECTION = f"{NAME}_postgres"
TABLES = ("int_session_states", "int_daily_user_activity", "int_daily_video_activity", "watch_sessions")
DAY = 86_400
REBUILT_DAYS = rebuilt_days_from("2022-04-01")


@pytest.fixture(scope="module")
def warehouse(
    clickhouse: Settings, postgres: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Warehouse]:
    """Four days of sessions, some across midnight, some of one user in two days; built once."""
    with closing(
        psycopg2.connect(host="127.0.0.1", port=postgres.postgres_port, user="reelgraph", dbname="postgres")
    ) as server:
        server.autocommit = True
        server.cursor().execute(f"CREATE DATABASE {NAME}")
    settings = clickhouse.model_copy(
        update={
            "home": tmp_path_factory.mktemp("backfill"),
            "clickhouse_url_override": clickhouse.clickhouse_url.rsplit("/", 1)[0] + f"/{NAME}",
            "database_url_override": f"postgresql://reelgraph@127.0.0.1:{postgres.postgres_port}/{NAME}",
        }
    )
    bootstrap(settings, collection=COLLECTION)
    made = Warehouse(settings, clickhouse_client(settings))
    made.add(plays())
    build(made)
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**dbt_environment(settings), "DBT_INDIRECT_SELECTION": ""}.items():
            environment.setenv(name, value)
        for name, value in child_environment(settings).items():
            if name in variables_read():
                environment.setenv(name, value)
        yield made
    made.client.close()


def plays() -> list[Event]:
    """T0 is 20 s before midnight: a play of 40 s that begins there ends on the next day."""
    made = []
    for day in range(3):
        for user in range(5):
            at = day * DAY + user * 7
            for kind, after in (("view_start", 0), ("like", 3), ("view_end", 40)):
                made.append(Event(f"s{day}", kind, at + after, user=f"u{user}", video=f"v{(day + user) % 3}"))
    return made


def build(warehouse: Warehouse) -> None:
    built = ["stg_playback_events", "stg_videos", "int_session_changes", *TABLES]
    warehouse.dbt("run", "-s", *built, postgres_collection=COLLECTION)


def rows(warehouse: Warehouse) -> dict[str, list]:
    found = {table: warehouse.everything(table) for table in TABLES if "video" not in table}
    measures = warehouse.rows("SELECT * FROM int_daily_video_activity ORDER BY ALL")
    return {**found, "int_daily_video_activity": measures}


@pytest.fixture(scope="module")
def whole(warehouse: Warehouse) -> dict[str, list]:
    """What the first build, of everything, made."""
    made = rows(warehouse)
    assert [len(made[table]) for table in ("watch_sessions", "int_session_states")] == [15, 24]
    return made


def waiting(warehouse: Warehouse) -> list[int]:
    names = ("session_inbox", "touched_sessions", "activity_inbox", "touched_days")
    return [warehouse.rows(f"SELECT count() FROM {name}")[0][0] for name in names]


def day(number: int) -> datetime:
    """The start of a day, counted from T0's."""
    return datetime.combine(T0.date(), datetime.min.time(), UTC) + timedelta(days=number)


def backfill(warehouse: Warehouse, *numbers: int) -> list[Asked]:
    """What the runs of these days do, without a process for each dbt."""
    asked = []
    for number in numbers:
        asked.append(ask_for_days(warehouse.client, day(number), day(number + 1)))
        warehouse.dbt("run", "--selector", "rebuild", postgres_collection=COLLECTION)
    return asked


def test_rebuilding_a_range_changes_nothing_and_counts_nothing_twice(
    warehouse: Warehouse, whole: dict
) -> None:
    asked = backfill(warehouse, 0, 1, 1)
    assert rows(warehouse) == whole
    assert waiting(warehouse) == [0, 0, 0, 0]
    assert asked == [Asked(6, 3, 0), Asked(15, 8, 0), Asked(15, 8, 0)]


def test_several_days_can_be_asked_for_at_once_also_such_without_events(
    warehouse: Warehouse, whole: dict
) -> None:
    assert ask_for_days(warehouse.client, day(-2), day(2)) == Asked(21, 8, 0)
    assert waiting(warehouse) == [8, 0, 8, 0]
    warehouse.dbt("run", "--selector", "rebuild", postgres_collection=COLLECTION)
    assert rows(warehouse) == whole


def test_what_is_built_at_once_is_bounded_by_events_but_at_least_a_day(
    warehouse: Warehouse, whole: dict
) -> None:
    """6, 15, 15 and 9 events on the days 0 to 3."""

    def turns(most: int) -> list[tuple[int, int]]:
        found = portions(warehouse.client, day(-1), day(5), most_events=most)
        return [((start - day(0)).days, (end - day(0)).days) for start, end in found]

    assert turns(1000) == [(-1, 5)]
    assert turns(21) == [(-1, 2), (2, 3), (3, 5)]
    assert turns(5) == [(-1, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]


def test_the_asset_rebuilds_its_partition_and_says_what_it_did(warehouse: Warehouse, whole: dict) -> None:
    resources = {"dbt": dbt_resource(warehouse.settings), "stores": Stores()}
    partition = day(1).date().isoformat()
    with dg.instance_for_test() as instance:
        done = dg.materialize([REBUILT_DAYS], partition_key=partition, resources=resources, instance=instance)
    [event] = done.get_asset_materialization_events()
    said = {name: entry.value for name, entry in event.materialization.metadata.items()}
    assert said == {
        "days": 1,
        "events": 15,
        "sessions": 8,
        "sessions without events, removed": 0,
        "builds": 1,
    }
    assert rows(warehouse) == whole


def test_its_partitions_are_the_days_up_to_today() -> None:
    keys = REBUILT_DAYS.partitions_def.get_partition_keys()  # type: ignore[union-attr]
    assert (keys[0], keys[-1]) == ("2022-04-01", datetime.now(UTC).date().isoformat())


def test_damaged_rows_are_as_a_full_rebuild_has_them_again(warehouse: Warehouse, whole: dict) -> None:
    run, settings = warehouse.client.command, {"lightweight_deletes_sync": 2, "mutations_sync": 2}
    damaged = day(1).date()
    run("DELETE FROM int_session_states WHERE session_id = 's1' AND user_id = 'u0'", settings=settings)
    run(
        f"ALTER TABLE int_session_states UPDATE num_likes = 99 WHERE toDate(hour) = '{damaged}' AND user_id = 'u1'",
        settings=settings,
    )
    run("INSERT INTO int_session_states SELECT * FROM int_session_states WHERE user_id = 'u2'")  # doubled
    run(f"DELETE FROM int_daily_user_activity WHERE activity_date = '{damaged}'", settings=settings)
    run(
        f"ALTER TABLE int_daily_video_activity UPDATE plays = 1000 WHERE activity_date = '{damaged}'",
        settings=settings,
    )
    assert rows(warehouse) != whole
    backfill(warehouse, 0, 1, 2)
    assert rows(warehouse) == whole


def test_rows_of_sessions_whose_events_are_gone_leave_with_them_also_on_other_days(
    warehouse: Warehouse, whole: dict
) -> None:
    warehouse.client.command(
        "INSERT INTO int_session_states SELECT * REPLACE ("
        "cityHash64(user_id, 'ghost', video_id) AS session_key, 'ghost' AS session_id) "
        "FROM (SELECT * FROM int_session_states WHERE session_id = 's1' AND user_id = 'u0')"
    )
    before = warehouse.rows("SELECT count() FROM int_session_states WHERE session_id = 'ghost'")
    assert before == [(2,)]
    [asked] = backfill(warehouse, 1)
    assert asked == Asked(15, 8, 1)
    assert rows(warehouse) == whole


def test_a_backfill_killed_while_it_builds_is_finished_by_running_it_again(
    warehouse: Warehouse, whole: dict
) -> None:
    ask_for_days(warehouse.client, day(1), day(2))
    folder = ["--project-dir", str(PROJECT_DIR), "--profiles-dir", str(PROJECT_DIR)]
    process = subprocess.Popen(
        ["dbt", "run", "--selector", "rebuild", *folder, *variables(warehouse.settings)],
        env={**os.environ, **dbt_environment(warehouse.settings)},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not waiting(warehouse)[1]:  # until it has taken its work
        assert process.poll() is None
        assert time.monotonic() < deadline
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert waiting(warehouse)[1] > 0  # which nobody has forgotten
    backfill(warehouse, 1)
    assert rows(warehouse) == whole
    assert waiting(warehouse) == [0, 0, 0, 0]


def test_before_anything_was_built_it_says_what_to_do(warehouse: Warehouse, whole: dict) -> None:
    warehouse.client.command("RENAME TABLE int_session_states TO elsewhere")
    try:
        with pytest.raises(NoSessionsYetError, match="materialize watch_sessions"):
            ask_for_days(warehouse.client, day(1), day(2))
    finally:
        warehouse.client.command("RENAME TABLE elsewhere TO int_session_states")

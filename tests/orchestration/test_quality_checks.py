"""An error of a suite stops what is built from the table; a warning and an anomaly show, and stop nothing."""

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ingestion import ledger
from ingestion.clickhouse_schema import create_tables
from orchestration.defs.data_quality import TABLES, anomaly_check, suite_check
from orchestration.defs.ingestion import ledger_balances
from orchestration.resources import Stores
from stack.clients import clickhouse_client
from stack.settings import Settings

NOON = datetime(2022, 5, 2, 12, tzinfo=UTC)  # a Monday
DATABASE = "quality_checks_test"


class StoresAt(Stores):
    """The stores at a ClickHouse database, with a home of their own."""

    home: str
    url: str

    @property
    def settings(self) -> Settings:
        return Settings(_env_file=None, home=Path(self.home), CLICKHOUSE_URL=self.url)  # type: ignore[call-arg]


@pytest.fixture
def stores(clickhouse: Settings, tmp_path: Path) -> Iterator[StoresAt]:
    server = clickhouse_client(clickhouse, database="default")
    server.command(f"CREATE DATABASE {DATABASE}")
    made = StoresAt(home=str(tmp_path), url=clickhouse.clickhouse_url.rsplit("/", 1)[0] + f"/{DATABASE}")
    create_tables(made.settings)
    try:
        yield made
    finally:
        server.command(f"DROP DATABASE {DATABASE}")
        server.close()


def event(number: int, **change: Any) -> dict[str, Any]:
    at = change.get("impression_timestamp", NOON)
    return {
        **{"event_id": f"00000000-0000-0000-0000-{number:012}", "user_id": "u", "video_id": "v"},
        **{"session_id": "s", "event_type": "view_start", "position_index": 0, "impression_timestamp": at},
        **{
            "scroll_speed_ms": 0.0,
            "playback_position_ms": None,
            "device_type": "ios",
            "network_type": "wifi",
        },
        **{"geo_location": "", "time_of_day": at.hour, "day_of_week": at.isoweekday(), "request_id": ""},
        **change,
    }


@pytest.fixture
def run(stores: StoresAt) -> Callable[..., dg.ExecuteInProcessResult]:
    """Fill the table of events, then run it, its two checks and an asset built from it."""

    def materialize(*events: dict[str, Any]) -> dg.ExecuteInProcessResult:
        @dg.asset
        def playback_events(stores: Stores) -> None:
            with stores.clickhouse() as client:
                client.insert("playback_events", [list(e.values()) for e in events], list(events[0]))

        @dg.asset(deps=[playback_events])
        def sessions() -> None: ...

        @dg.asset(deps=[sessions])
        def training_set() -> None: ...

        checks = [suite_check("playback_events"), anomaly_check("playback_events")]
        with dg.instance_for_test() as instance:
            return dg.materialize(
                [playback_events, *checks, sessions, training_set],
                resources={"stores": stores},
                instance=instance,
                raise_on_error=False,
            )

    return materialize


def started(result: dg.ExecuteInProcessResult) -> set[str | None]:
    return {event.step_key for event in result.all_events if event.event_type_value == "STEP_START"}


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


def test_an_error_stops_everything_downstream(run: Callable, stores: StoresAt) -> None:
    result = run(*(event(i) for i in range(9)), event(9, time_of_day=24))
    assert not result.success
    assert not {"sessions", "training_set"} & started(result)
    check = checks(result)["playback_events_are_valid"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert check.description == "time_of_day_is_an_hour: 1 of 10 rows"
    assert check.metadata["errors"].value == 1
    assert "| error | time_of_day_is_an_hour | time_of_day | 1 of 10 rows | 24 |" in str(
        check.metadata["result"].value
    )
    page = Path(str(check.metadata["data docs"].value))
    assert page.parent == stores.settings.home / "data_docs" / "playback_events"
    assert "time of day is an hour" in page.read_text()


def test_a_warning_shows_and_stops_nothing(run: Callable) -> None:
    result = run(*(event(i) for i in range(9)), event(9, geo_location="48.8566, 2.3522"))
    assert result.success
    assert {"sessions", "training_set"} <= started(result)
    check = checks(result)["playback_events_are_valid"]
    assert (check.passed, check.severity) == (True, dg.AssetCheckSeverity.WARN)
    assert check.description == "locations_are_coarse: 1 of 10 rows"
    assert (check.metadata["errors"].value, check.metadata["warnings"].value) == (0, 1)


def test_a_good_table_passes_without_a_remark(run: Callable) -> None:
    result = run(event(1))
    assert result.success
    found = checks(result)
    assert {name: (c.passed, c.description) for name, c in found.items()} == {
        "playback_events_are_valid": (True, None),
        "playback_events_has_no_anomaly": (True, None),
    }
    assert found["playback_events_are_valid"].metadata["checked on"].value == "all 1 rows"


def test_an_anomaly_shows_and_stops_nothing(run: Callable) -> None:
    days = [5, *[40] * 8, 1, 5]
    events = [
        event(1000 * day + i, impression_timestamp=NOON + timedelta(days=day, seconds=i))
        for day, rows in enumerate(days)
        for i in range(rows)
    ]
    result = run(*events)
    assert result.success
    assert {"sessions", "training_set"} <= started(result)
    check = checks(result)["playback_events_has_no_anomaly"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.metadata["anomalies"].value == 1
    assert "| rows | 2022-05-11 | 1.0000 | 40.0000 |" in str(check.metadata["found"].value)


@pytest.mark.parametrize("table", TABLES)
def test_every_table_has_a_suite_that_blocks_and_a_watch_that_does_not(table: str) -> None:
    [valid] = suite_check(table).check_specs
    [watched] = anomaly_check(table).check_specs
    assert (valid.name, valid.asset_key, valid.blocking) == (f"{table}_are_valid", dg.AssetKey(table), True)
    assert (watched.name, watched.asset_key, watched.blocking) == (
        *(f"{table}_has_no_anomaly", dg.AssetKey(table)),
        False,
    )


def test_what_a_run_of_the_features_needs_to_know_is_checked_before_it() -> None:
    """The events arrive without a run of their own: the job that builds on them checks them first."""
    from orchestration.defs.data_quality import SOURCE_CHECKS

    done: list[str] = []

    @dg.asset
    def playback_events() -> None:
        done.append("events")

    @dg.asset_check(asset=playback_events, name="playback_events_are_valid", blocking=True)
    def valid() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False)

    @dg.asset_check(asset=playback_events, name="playback_events_has_no_anomaly")
    def quiet() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    @dg.asset(deps=[playback_events])
    def sessions() -> None:
        done.append("sessions")

    job = dg.define_asset_job("features", dg.AssetSelection.assets("sessions") | SOURCE_CHECKS)
    definitions = dg.Definitions([playback_events, sessions], asset_checks=[valid, quiet], jobs=[job])
    with dg.instance_for_test() as instance:
        result = definitions.resolve_job_def("features").execute_in_process(
            instance=instance, raise_on_error=False
        )
    assert not result.success
    assert done == []
    assert set(checks(result)) == {"playback_events_are_valid", "playback_events_has_no_anomaly"}


def test_the_ledger_is_held_against_the_table(stores: StoresAt) -> None:
    now = datetime.now(UTC)
    load = ledger.LedgerRow(
        *(uuid.uuid4(), "simulator", "f", now),
        rows_read=3,
        sent=3,
        stored=3,
        finished_at=now + timedelta(seconds=1),
    )
    events = [event(1), event(1), event(2), event(3, user_id="another")]  # delivered twice, it counts once
    with stores.clickhouse() as client:
        ledger.write(client, load)
        client.insert("playback_events", [list(e.values()) for e in events], list(events[0]))
        found = ledger_balances(stores)
        assert (found.passed, found.metadata["events in the table"].value) == (True, 3)
        client.command("DELETE FROM playback_events WHERE user_id = 'another'")
        assert not ledger_balances(stores).passed


def test_tracked_events_that_a_killed_endpoint_has_not_counted_yet_are_no_imbalance(stores: StoresAt) -> None:
    now = datetime.now(UTC)
    load = ledger.LedgerRow(uuid.uuid4(), "endpoint", "f", now, finished_at=now + timedelta(seconds=1))
    with stores.clickhouse() as client:
        ledger.write(client, load)
        client.insert("playback_events", [list(event(1).values())], list(event(1)))
        assert not ledger_balances(stores).passed
        planned = ["one-00000001", str(load.batch_id), 1, 1, 0, 0, 1, now, []]
        client.insert("shipped_segments", [planned])
        assert ledger_balances(stores).passed

"""The decision log on a real ClickHouse: nothing recorded is lost, nothing counts twice, and no request waits."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import numpy as np
import orjson
import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from ingestion.clickhouse_schema import create_tables
from serving.decisions.log import DecisionLog
from serving.decisions.row import COLUMNS, UnrecordableDecisionError, line_of
from serving.decisions.shipping import DecisionShipper, StoreFailedError
from serving.spool.spool import SegmentRefusedError, ShipReport
from stack.clients import clickhouse_client
from stack.settings import Settings
from tests.conftest import free_ports
from tests.serving.conftest import wait_for

from .conftest import AT_MS, decision

pytestmark = pytest.mark.stack


def lines(*numbers: int, **changes: object) -> bytes:
    return b"".join(line_of(decision(number, **changes)) + b"\n" for number in numbers)


def record_and_close(settings: Settings, count: int, registry: CollectorRegistry | None = None) -> None:
    async def run() -> None:
        log = DecisionLog(settings, registry or CollectorRegistry())
        log.start()
        for number in range(count):
            log.record(decision(number))
        await log.close()

    asyncio.run(run())


def files(settings: Settings) -> list[Path]:
    return sorted(settings.spool_dir.rglob("*.jsonl"))


def test_a_decision_becomes_a_row_with_all_it_says(store: Settings, client: Client) -> None:
    DecisionShipper(store).ship(lines(7), "s-1")
    result = client.query(f"SELECT {', '.join(COLUMNS)} FROM feed_decisions", tz_mode="aware")
    [row] = result.named_results()
    assert row == {
        "request_id": UUID(int=7),
        "user_id": "ann",
        "decided_at": datetime.fromtimestamp((AT_MS + 7) // 1000, UTC).replace(microsecond=130_000),
        "route": "/api/v1/recommendations/feed",
        "bundle": "5d0c1a2b3c4d5e6f",
        "model_kind": "two-tower",
        "model_version": 4,
        "source": "personal",
        "ranks": [1, 2],
        "video_ids": ["v7", "v1"],
        "scores": [0.5, 0.25],
        "propensities": [1.0, 0.1],
        "item_sources": ["two-tower", "exploration"],
        "latency_ms": 3.5,
        "cached": False,
        "degraded": [],
        "variants": {"diversity": "more"},
        "forced": False,
    }


def test_numbers_may_come_from_numpy_and_ids_from_its_arrays() -> None:
    of_numpy = decision(
        ranks=np.array([1, 2]),
        video_ids=np.array(["v7", "v1"]),
        scores=np.array([0.5, 0.25], np.float32),
        propensities=(np.float64(1), 0.1),
    )
    assert orjson.loads(line_of(of_numpy)) == orjson.loads(line_of(decision()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"request_id": "no-uuid"},
        {"user_id": "\ud800"},
        {"propensities": [1.0]},
        {"variants": {"diversity": object()}},
    ],
)
def test_what_cannot_be_a_row_is_counted_and_fails_no_request(home: Settings, wrong: dict) -> None:
    registry = CollectorRegistry()
    log = DecisionLog(home, registry)
    log.record(decision(**wrong))
    assert registry.get_sample_value("reelgraph_decisions_unrecordable_total") == 1
    assert registry.get_sample_value("reelgraph_decisions_recorded_total") == 0
    with pytest.raises(UnrecordableDecisionError):
        line_of(decision(**wrong))


@hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    user=st.text(st.characters(codec="utf-8"), max_size=20),
    videos=st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=5),
    score=st.floats(width=32, allow_nan=False, allow_infinity=False),
    at_ms=st.integers(AT_MS, AT_MS + 10_000_000),
)
def test_any_ids_and_numbers_come_back_as_they_were(
    store: Settings, client: Client, user: str, videos: list[str], score: float, at_ms: int
) -> None:
    client.command("TRUNCATE TABLE feed_decisions")
    n = len(videos)
    made = decision(
        user_id=user, video_ids=videos, ranks=range(n), scores=[score] * n, propensities=[score] * n,
        sources=["trending"] * n, at_ms=at_ms,
    )  # fmt: skip
    DecisionShipper(store).ship(line_of(made) + b"\n", "s-1")
    sql = "SELECT user_id, video_ids, scores, propensities, toUnixTimestamp64Milli(decided_at) FROM feed_decisions"
    [row] = client.query(sql).result_rows
    assert row == (user, videos, [score] * n, [score] * n, at_ms)


def test_a_batch_that_is_sent_twice_counts_once(store: Settings, stored: Callable[[], int]) -> None:
    shipper = DecisionShipper(store)
    for _ in range(2):
        assert shipper.ship(lines(1, 2, 3), "s-1") == ShipReport(3, 3)
    assert stored() == 3


def test_a_clean_stop_loses_nothing(store: Settings, stored: Callable[[], int]) -> None:
    registry = CollectorRegistry()
    record_and_close(store, 5_000, registry)
    assert stored() == 5_000
    assert registry.get_sample_value("reelgraph_decisions_recorded_total") == 5_000
    assert registry.get_sample_value("reelgraph_spool_waiting_lines", {"spool": "decisions"}) == 0
    assert registry.get_sample_value("reelgraph_spool_lost_total", {"spool": "decisions"}) in (None, 0)
    assert files(store) == []


def test_with_clickhouse_down_decisions_wait_on_disk_for_the_next_start(
    store: Settings, stored: Callable[[], int]
) -> None:
    nowhere = f"http://default@127.0.0.1:{free_ports(1)[0]}/nothing"

    async def run() -> None:
        log = DecisionLog(store.model_copy(update={"clickhouse_url_override": nowhere}), CollectorRegistry())
        log.start()
        for number in range(100):
            log.record(decision(number))
        await log.close(timeout_s=0.5)

    asyncio.run(run())
    assert len(files(store)) == 1
    record_and_close(store, 0)
    assert stored() == 100
    assert files(store) == []


def test_rows_wait_for_a_table_that_is_not_there_yet(settings_of_log: Settings) -> None:
    shipper = DecisionShipper(settings_of_log)
    with pytest.raises(StoreFailedError, match="code 60"):
        shipper.ship(lines(1), "s-1")
    create_tables(settings_of_log)
    assert shipper.ship(lines(1), "s-1") == ShipReport(1, 1)


@pytest.mark.parametrize("change", [{"latency_ms": "slow"}, {"ranks": [-1, 2]}, {"variants": ["more"]}])
def test_rows_that_can_never_be_stored_are_refused(store: Settings, change: dict) -> None:
    with pytest.raises(SegmentRefusedError, match="segment s-1"):
        DecisionShipper(store).ship(lines(1, **change), "s-1")


@pytest.mark.parametrize("line", [b"\xff", b"{", b"3", b"{}", b""])
def test_lines_that_are_no_decisions_are_refused(home: Settings, line: bytes) -> None:
    with pytest.raises(SegmentRefusedError, match="segment s-1: a line is no decision"):
        DecisionShipper(home).ship(lines(1) + line + b"\n", "s-1")


def test_what_waited_while_clickhouse_could_not_take_it_is_shipped_by_itself(
    settings_of_log: Settings,
) -> None:
    registry = CollectorRegistry()

    def failures() -> float:
        return registry.get_sample_value("reelgraph_spool_ship_failures_total", {"spool": "decisions"}) or 0

    async def run() -> None:
        log = DecisionLog(settings_of_log, registry)
        log.start()
        log.record(decision(1))
        await asyncio.to_thread(wait_for, lambda: failures() > 0, "a failed attempt")
        log.record(decision(2))
        create_tables(settings_of_log)
        await asyncio.to_thread(wait_for, lambda: log.spool.waiting()[0] == 0, "an empty spool")
        await log.close()

    asyncio.run(run())
    with clickhouse_client(settings_of_log) as client:
        assert client.query("SELECT count() FROM feed_decisions").result_rows == [(2,)]


def test_rows_of_a_user_who_was_erased_meanwhile_are_not_stored(store: Settings, client: Client) -> None:
    shipper = DecisionShipper(store, lambda user_id: user_id == "bob")
    content = lines(1) + lines(2, user_id="bob")
    assert shipper.ship(content, "s-1") == ShipReport(2, 1, quarantined=1)
    assert shipper.ship(lines(3, user_id="bob"), "s-2") == ShipReport(1, 0, quarantined=1)
    assert client.query("SELECT user_id FROM feed_decisions").result_rows == [("ann",)]


@pytest.mark.parametrize("odd", [lines(2, latency_ms="slow"), b"{\n"])
def test_of_a_refused_segment_nothing_of_erased_users_is_kept(store: Settings, odd: bytes) -> None:
    shipper = DecisionShipper(store, lambda user_id: user_id == "bob")
    with pytest.raises(SegmentRefusedError) as refused:
        shipper.ship(odd + lines(3, user_id="bob") + lines(1), "s-1")
    assert refused.value.kept == odd + lines(1)


def test_an_erasure_covers_the_table(store: Settings) -> None:
    from ingestion.erasure.book import User
    from ingestion.erasure.clickhouse_places import clickhouse_places

    DecisionShipper(store).ship(lines(1) + lines(2, user_id="bob"), "s-1")
    with clickhouse_client(store) as client:
        [place] = [p for p in clickhouse_places(client) if p.name == "ClickHouse feed_decisions"]
        assert place.erase(User("bob", "hash")) == 1
        assert place.look(User("bob", "hash")).left == 0
        assert client.query("SELECT user_id FROM feed_decisions").result_rows == [("ann",)]

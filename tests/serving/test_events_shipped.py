"""Tracked events on their way to a real ClickHouse that is stopped and started, from processes that are killed."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from clickhouse_connect.driver.client import Client

from ingestion import ledger
from ingestion.clickhouse_http import RowsRefusedError
from ingestion.clickhouse_schema import create_tables
from ingestion.errors import LedgerImbalanceError, StoreRefusedError, StoreUnreachableError
from ingestion.event_stream import REFUSED_LINE
from ingestion.postgres_schema import LockHeldError, locked
from ingestion.segment_book import Counts
from serving.api.state import State
from serving.events import shipping
from serving.events.intake import EventIntake
from serving.events.schemas import TrackRequest
from serving.events.shipping import TURN, EventShipper
from serving.spool.spool import SegmentDeclinedError, SegmentRefusedError, ShipReport
from stack.clients import clickhouse_client
from stack.erased_users import ErasedUsers, pseudonym, write_opt_out
from stack.health import HttpProbe
from stack.settings import PROJECT_ROOT, Settings, child_environment
from tests.conftest import _serve

from .conftest import wait_for

pytestmark = pytest.mark.stack


@contextmanager
def clickhouse_of(settings: Settings) -> Iterator[None]:
    """The embedded ClickHouse of `settings`, with our tables in it."""
    command = [sys.executable, "-m", "stack.clickhouse", "--path", str(settings.home / "clickhouse")]
    command += ["--host", "127.0.0.1", "--port", str(settings.clickhouse_port)]
    server = _serve(
        settings, "clickhouse", command, HttpProbe("127.0.0.1", settings.clickhouse_port, "/ping")
    )
    next(server)
    try:
        create_tables(settings)
        yield
    finally:
        server.close()


@pytest.fixture
def own(new_settings: Callable[..., Settings]) -> Settings:
    """A home of its own: no server runs, and Postgres never does."""
    settings = new_settings()
    settings.home.mkdir()
    return settings


def intake_of(settings: Settings) -> EventIntake:
    state = State()
    state.settings = settings
    intake = EventIntake(settings, state)
    intake.start()
    return intake


async def track(intake: EventIntake, numbers: range) -> None:
    for number in numbers:
        asked = TrackRequest(user_id=f"u{number % 7}", video_id=f"v{number}", event_type="like")
        await intake.take([intake.enriched(asked)])


async def shipped(intake: EventIntake) -> None:
    await asyncio.to_thread(wait_for, lambda: intake.waiting()[0] == 0, "all events in ClickHouse", 60)


async def tried_in_vain(intake: EventIntake) -> None:
    registry = intake._state.metrics.registry

    def failures() -> float:
        return registry.get_sample_value("reelgraph_spool_ship_failures_total", {"spool": "events"}) or 0

    before = failures()
    await asyncio.to_thread(wait_for, lambda: failures() > before, "an attempt that fails", 30)


def count(client: Client, what: str = "count()") -> int:
    return int(client.query(f"SELECT {what} FROM playback_events").result_rows[0][0])


def booked(client: Client) -> Counts:
    return sum((Counts(r.sent, r.stored, r.duplicate, r.quarantined) for r in ledger.read(client)), Counts())


def test_events_are_taken_while_clickhouse_is_down_and_stored_once_when_it_is_back(own, caplog):
    async def run() -> None:
        intake = intake_of(own)
        started = time.perf_counter()
        await track(intake, range(40))
        assert time.perf_counter() - started < 10  # nobody waited for ClickHouse
        assert intake.waiting()[0] == 40
        await tried_in_vain(intake)
        with clickhouse_of(own):
            await shipped(intake)
            await track(intake, range(40, 60))
            await shipped(intake)
        await track(intake, range(60, 90))  # it is down again
        assert intake.waiting()[0] == 30
        await tried_in_vain(intake)
        with clickhouse_of(own):
            await shipped(intake)
            await intake.close()
            with clickhouse_client(own) as client:
                assert (count(client), count(client, "uniqExact(event_id)")) == (90, 90)
                assert booked(client) == Counts(90, 90, 0, 0)
                assert (
                    int(client.query("SELECT uniqExact(session_key) FROM session_inbox").result_rows[0][0])
                    == 90
                )

    asyncio.run(run())
    assert caplog.text.count("events are kept on disk") == 2


_WRITER = """
import asyncio, sys
from serving.api.state import State
from serving.events.intake import EventIntake
from serving.events.schemas import TrackRequest
from stack.settings import load_settings

async def run():
    settings = load_settings()
    intake = EventIntake(settings, State())
    intake.start()
    async def write(worker):
        while True:
            asked = TrackRequest(user_id=f"u{worker}", video_id="v", event_type="like")
            event = intake.enriched(asked)
            await intake.take([event])
            print(event.event_id, flush=True)
    await asyncio.gather(*(write(worker) for worker in range(8)))

asyncio.run(run())
"""


def test_what_was_accepted_before_a_kill_is_stored_once_by_the_next_process(own):
    promised: list[str] = []
    with clickhouse_of(own):
        for lives_s in (0.3, 1.2, 1.9):  # before, while and after a segment is shipped
            process = subprocess.Popen(
                [sys.executable, "-c", _WRITER],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=PROJECT_ROOT,
                env=child_environment(own),
                text=True,
            )
            assert process.stdout is not None
            promised.append(process.stdout.readline().strip())
            time.sleep(lives_s)
            process.send_signal(signal.SIGKILL)
            lines = process.stdout.read().splitlines(keepends=True)
            promised += [line.strip() for line in lines if line.endswith("\n")]
            process.wait()

        async def run() -> None:
            intake = intake_of(own)
            await asyncio.sleep(0.2)
            await shipped(intake)
            await intake.close()

        asyncio.run(run())
        with clickhouse_client(own) as client:
            found = {str(row[0]) for row in client.query("SELECT event_id FROM playback_events").result_rows}
            stored = count(client)
            assert set(promised) <= found
            assert len(promised) > 100
            assert stored == len(found)
            assert booked(client) == Counts(stored, stored, 0, 0)
            assert client.query("SELECT count() FROM shipped_segments FINAL WHERE state = 1").result_rows == [
                (0,)
            ]


def test_a_clean_stop_ships_what_is_there_or_leaves_it_for_the_next_start(own):
    async def stopped(number: int) -> None:
        intake = intake_of(own)
        await track(intake, range(number, number + 1))
        await intake.close()

    asyncio.run(stopped(0))
    [left] = own.spool_dir.rglob("*.jsonl")
    assert len(left.read_bytes().splitlines()) == 1
    with clickhouse_of(own):
        asyncio.run(stopped(1))
        with clickhouse_client(own) as client:
            assert count(client) == 2
    assert list(own.spool_dir.rglob("*.jsonl")) == []


def line(user_id: str) -> bytes:
    event = {
        "event_id": "0b8b1a52-6f0e-4c1c-9a43-5b7f1f1c2d3e", "user_id": user_id, "video_id": "v", "session_id": "s",
        "event_type": "like", "position_index": 0, "impression_timestamp": 1_714_564_800_000, "scroll_speed_ms": 0,
        "playback_position_ms": None, "device_type": "ios", "network_type": "wifi", "geo_location": "",
        "time_of_day": 12, "day_of_week": 3, "request_id": "", "created_at": 1_714_564_800_000,
    }  # fmt: skip
    return json.dumps(event).encode() + b"\n"


def test_who_was_erased_while_an_event_waited_is_not_stored(own):
    key = b"k" * 32
    with clickhouse_of(own):
        write_opt_out(own, ErasedUsers(key, frozenset({pseudonym(key, "bob")})))
        shipper = EventShipper(own)
        assert shipper.ship(line("bob"), "one-00000001") == ShipReport(1, 0, 0, 1)
        shipper.close()
        with clickhouse_client(own) as client:
            assert count(client) == 0


def test_a_load_or_an_erasure_under_way_has_its_turn_first(postgres, monkeypatch):
    shipped: list[str] = []

    def store(client: object, content: bytes, segment_id: str, erased: object) -> Counts:
        shipped.append(segment_id)
        return Counts(1, 1, 0, 0)

    monkeypatch.setattr(shipping, "store_segment", store)
    monkeypatch.setattr(shipping, "TURN_TIMEOUT_S", 0.1)
    shipper = EventShipper(postgres)
    with locked(postgres, TURN), pytest.raises(LockHeldError):
        shipper.ship(b"{}\n", "one-00000001")
    assert shipped == []
    assert shipper.ship(b"{}\n", "one-00000001") == ShipReport(1, 1, 0, 0)
    shipper.close()


def test_a_segment_that_clickhouse_will_never_take_is_quarantined(own, monkeypatch):
    """Or it would stop the others for ever."""
    monkeypatch.setattr("ingestion.event_stream.fault", lambda event: None)
    monkeypatch.setattr("ingestion.event_stream._MOST_REFUSED", 0)
    with clickhouse_of(own):
        shipper, odd = EventShipper(own), line("ann").replace(b'"like"', b'"stare"')
        report = shipper.ship(odd + odd.replace(b"0b8b1a52", b"0b8b1a53"), "one-00000001")
        assert report == ShipReport(2, 0, 0, 2)
        shipper.close()


def failing_with(error: Exception) -> Callable[..., Counts]:
    def store(*_: object) -> Counts:
        raise error

    return store


def test_of_a_refused_segment_nothing_of_erased_users_is_kept(own, monkeypatch):
    key = b"k" * 32
    write_opt_out(own, ErasedUsers(key, frozenset({pseudonym(key, "bob")})))
    monkeypatch.setattr(shipping, "store_segment", failing_with(RowsRefusedError("code 27")))
    shipper = EventShipper(own)
    with pytest.raises(SegmentRefusedError) as refused:
        shipper.ship(line("ann") + line("bob") + REFUSED_LINE + b"\nno JSON\n", "one-00000001")
    assert refused.value.kept == line("ann") + REFUSED_LINE + b"\nno JSON\n"
    shipper.close()


@pytest.mark.parametrize(
    ("met", "told"),
    [
        (StoreRefusedError("code 252"), SegmentDeclinedError),
        (LedgerImbalanceError("3 sent, 2 stored"), SegmentDeclinedError),
        (KeyError("a mistake of ours"), SegmentDeclinedError),
        (StoreUnreachableError("down"), StoreUnreachableError),
    ],
)
def test_what_is_wrong_with_one_segment_is_told_from_a_store_that_is_away(own, monkeypatch, met, told):
    monkeypatch.setattr(shipping, "store_segment", failing_with(met))
    shipper = EventShipper(own)
    with pytest.raises(told):
        shipper.ship(line("ann"), "one-00000001")
    shipper.close()

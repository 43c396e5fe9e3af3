"""Loading into real stores: every event once, whatever is repeated, killed, replaced or at once."""

import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from clickhouse_connect.driver.client import Client
from sqlalchemy import text

from data_quality.contract_checks import check_batch
from data_quality.contracts import EVENTS
from ingestion import ledger
from ingestion.errors import ForeignDataError, LedgerImbalanceError, SourceError
from ingestion.event_load import load_events
from ingestion.kuairand import KuaiRand
from ingestion.load import load, load_users, load_videos
from ingestion.postgres_schema import connect, locked
from ingestion.simulator import Simulator
from ingestion.source import Source
from stack.settings import PROJECT_ROOT, Settings, child_environment

from .kuairand_folder import USERS, log_row, write_folder

pytestmark = pytest.mark.stack
SMALL = 0.02


def simulator() -> Simulator:
    return Simulator(scale=SMALL)


def kuairand(folder: Path, **changes: Any) -> KuaiRand:
    """Two impressions, of four events: a play, and a like on one that did not play."""
    return KuaiRand(
        write_folder(folder, [log_row(play_time_ms=9000), log_row(user_id=2, is_like=1)], **changes)
    )


def expected(source: Source) -> tuple[int, int, int]:
    """(stored, duplicate, quarantined) as the batches themselves have it."""
    checked = [check_batch(EVENTS, batch) for batch in source.events()]
    ids = pa.Table.from_batches([each.valid for each in checked])["event_id"]
    distinct = len(ids.unique())
    return distinct, len(ids) - distinct, sum(len(each.rejected) for each in checked)


def count(client: Client, table: str, what: str = "count()") -> int:
    return int(client.query(f"SELECT {what} FROM {table}").result_rows[0][0])


def rows(settings: Settings, sql: str) -> list[Any]:
    with connect(settings) as connection:
        return [tuple(row) for row in connection.execute(text(sql))]


def ledger_of(client: Client) -> list[tuple[Any, ...]]:
    return [(row.source, row.finished, row.stored) for row in ledger.read(client)]


def test_each_event_is_stored_once_and_the_ledger_proves_it(stores: Settings, client: Client) -> None:
    source = simulator()
    stored, duplicate, quarantined = expected(source)
    assert min(stored, duplicate, quarantined) > 0

    report = load_events(stores, source)

    assert (report.stored, report.duplicate, report.quarantined) == (stored, duplicate, quarantined)
    assert report.sent == stored + duplicate + quarantined == report.rows_read
    assert count(client, "playback_events") == stored == report.table_rows
    assert count(client, "playback_events", "uniqExact(event_id)") == stored
    (row,) = ledger.read(client)
    assert (row.source, row.fingerprint, row.finished) == ("simulator", source.fingerprint(), True)
    assert (row.rows_read, row.sent, row.stored) == (report.sent, report.sent, stored)
    assert (row.duplicate, row.quarantined) == (duplicate, quarantined)
    assert client.query("SHOW TABLES LIKE '%staging%'").result_rows == []


def test_what_is_stored_is_what_was_sent(stores: Settings, client: Client) -> None:
    source = simulator()
    load_events(stores, source)
    sent = pa.Table.from_batches([check_batch(EVENTS, batch).valid for batch in source.events()])
    by_id = {row["event_id"]: row for row in sent.to_pylist()}
    columns = ", ".join(EVENTS.names)
    found = client.query(f"SELECT {columns} FROM playback_events ORDER BY event_id LIMIT 500")
    for values in found.result_rows:
        row = dict(zip(EVENTS.names, values, strict=True))
        row["event_id"] = str(row["event_id"])
        row["impression_timestamp"] = row["impression_timestamp"].replace(tzinfo=UTC)
        assert row == by_id[row["event_id"]]


def test_bad_events_are_kept_with_field_and_reason(stores: Settings, client: Client) -> None:
    report = load_events(stores, simulator())
    found = client.query(
        "SELECT field, any(reason), any(event), count() FROM quarantined_events GROUP BY field"
    )
    by_field = {field: (reason, event, number) for field, reason, event, number in found.result_rows}
    assert sum(number for *_, number in by_field.values()) == report.quarantined
    assert by_field["position_index"][0] == "position_index must be from 0 to 2147483647, got '-1'"
    assert '"position_index": -1' in by_field["position_index"][1]


def test_arrival_is_when_the_event_was_stored(stores: Settings, client: Client) -> None:
    before = datetime.now(UTC)
    load_events(stores, simulator())
    first, last = client.query("SELECT min(created_at), max(created_at) FROM playback_events").result_rows[0]
    assert (first.replace(tzinfo=UTC) - before).total_seconds() > -0.01
    assert last.replace(tzinfo=UTC) <= datetime.now(UTC)


def test_loading_again_changes_nothing_and_is_quick(stores: Settings, client: Client) -> None:
    load(stores, simulator())
    versions = count(client, "playback_events", "max(created_at)::Float64::UInt64")
    told: list[str] = []
    again = load(stores, simulator(), told.append)
    assert [(report.skipped, report.sent) for report in again] == [(True, 0)] * 3
    assert [line.split(" ", 3)[3] for line in told] == ["is loaded already"] * 3
    assert count(client, "playback_events", "max(created_at)::Float64::UInt64") == versions
    assert len(ledger.read(client)) == 1


def test_events_already_stored_are_duplicates(stores: Settings, client: Client) -> None:
    """An event of the source came earlier by another way (here: the first half of a batch)."""
    source = simulator()
    stored, duplicate, quarantined = expected(source)
    first = check_batch(EVENTS, next(iter(source.events()))).valid.slice(0, 100)
    client.insert_arrow("playback_events", pa.Table.from_batches([first]))
    ledger.write(
        client, ledger.LedgerRow(uuid.uuid4(), "api", "1", _now(), 100, 100, 100, finished_at=_now())
    )
    # A load of this source was begun and killed before the other events came.
    ledger.write(client, ledger.LedgerRow(uuid.uuid4(), "simulator", source.fingerprint(), _now()))

    report = load_events(stores, source)

    already = len(first["event_id"].unique())
    assert (report.stored, report.duplicate) == (stored - already, duplicate + already)
    assert report.quarantined == quarantined
    assert count(client, "playback_events", "uniqExact(event_id)") == stored


def test_a_load_touches_its_sessions_also_if_one_that_was_killed_had_stored_them(
    stores: Settings, client: Client
) -> None:
    source = simulator()
    first = next(iter(simulator().events()))
    client.insert_arrow("playback_events", pa.Table.from_batches([check_batch(EVENTS, first).valid]))
    client.command("TRUNCATE TABLE session_inbox")  # it died between storing events and noting their sessions
    ledger.write(client, ledger.LedgerRow(uuid.uuid4(), "simulator", source.fingerprint(), _now()))

    load_events(stores, source)

    sessions = count(client, "playback_events", "uniqExact(session_key)")
    assert sessions > 0
    assert count(client, "session_inbox", "uniqExact(session_key)") == sessions


def test_another_demo_source_takes_the_place_of_the_first(
    stores: Settings, client: Client, tmp_path: Path
) -> None:
    load(stores, simulator())
    client.command("CREATE TABLE int_session_states (user_id String) ENGINE = MergeTree ORDER BY user_id")
    client.command("INSERT INTO int_session_states VALUES ('whose events are going')")
    told: list[str] = []

    reports = load(stores, kuairand(tmp_path), told.append)

    assert [report.replaced for report in reports] == ["simulator"] * 3
    assert "playback_events: the events of simulator make room for kuairand" in told
    assert count(client, "playback_events") == 4
    assert count(client, "quarantined_events") == count(client, "int_session_states") == 0
    assert rows(stores, "SELECT user_id FROM users ORDER BY 1") == [("1",), ("2",)]
    assert rows(stores, "SELECT video_id FROM videos ORDER BY 1") == [("7",), ("8",)]
    assert ledger_of(client) == [("kuairand", True, 4)]


def test_a_changed_data_set_takes_the_place_of_its_old_self(
    stores: Settings, client: Client, tmp_path: Path
) -> None:
    load(stores, kuairand(tmp_path))
    changed = kuairand(tmp_path, users=USERS.replace("full_active,10", "full_active,11") + "3,x,0\n")
    before = dict(rows(stores, "SELECT user_id, updated_at FROM users"))
    users, videos, events = load(stores, changed)
    after = dict(rows(stores, "SELECT user_id, updated_at FROM users"))
    assert (users.sent, users.stored, users.duplicate) == (3, 2, 1)
    assert (videos.sent, videos.stored, videos.duplicate) == (2, 0, 2)
    assert after["1"] > before["1"]
    assert after["2"] == before["2"]
    assert events.stored == 4 == count(client, "playback_events")


def test_what_the_pipeline_writes_survives_a_reload(stores: Settings, tmp_path: Path) -> None:
    load_users(stores, kuairand(tmp_path))
    load_videos(stores, kuairand(tmp_path))
    with connect(stores) as connection:
        connection.execute(text("UPDATE users SET engagement_score = 0.75 WHERE user_id = '1'"))
        connection.execute(text("UPDATE videos SET view_count = 9, is_trending = true WHERE video_id = '7'"))
        connection.commit()
    changed = kuairand(tmp_path, users=USERS.replace("full_active,10", "full_active,11"))
    load_users(stores, changed)
    load_videos(stores, changed)
    assert rows(stores, "SELECT engagement_score FROM users WHERE user_id = '1'") == [(0.75,)]
    assert rows(stores, "SELECT view_count, is_trending FROM videos WHERE video_id = '7'") == [(9, True)]


def test_texts_and_lists_reach_postgres_unchanged(stores: Settings) -> None:
    class Tricky(Simulator):
        def videos(self) -> pa.Table:
            table = super().videos()
            nasty = ['a "quote"', "back\\slash", "comma, {brace}", "line\nbreak", "NULL", "", "naïve ☕"]
            titles = pa.array([nasty[row % len(nasty)] for row in range(table.num_rows)])
            tags = pa.array([nasty[: row % 8] for row in range(table.num_rows)], pa.list_(pa.string()))
            table = table.set_column(table.schema.get_field_index("title"), "title", titles)
            return table.set_column(table.schema.get_field_index("tags"), "tags", tags)

    source = Tricky(scale=SMALL)
    load_videos(stores, source)
    wanted = [(row["video_id"], row["title"], row["tags"]) for row in source.videos().to_pylist()]
    assert rows(stores, "SELECT video_id, title, tags FROM videos ORDER BY video_id") == wanted


def test_events_of_others_are_never_removed(stores: Settings, client: Client, tmp_path: Path) -> None:
    load_events(stores, simulator())
    ledger.write(client, ledger.LedgerRow(uuid.uuid4(), "api", "1", _now(), finished_at=_now()))
    with pytest.raises(
        ForeignDataError, match="ClickHouse holds events of api: kuairand would replace or mix"
    ):
        load_events(stores, kuairand(tmp_path))
    assert load_events(stores, simulator()).skipped


def test_events_nobody_accounts_for_are_never_removed(
    stores: Settings, client: Client, tmp_path: Path
) -> None:
    load_events(stores, simulator())
    event = check_batch(EVENTS, next(iter(kuairand(tmp_path).events()))).valid
    client.insert_arrow("playback_events", pa.Table.from_batches([event]))
    with pytest.raises(ForeignDataError, match="holds 4 events that no load in the ledger accounts for"):
        load_events(stores, kuairand(tmp_path))


def test_users_of_others_are_never_removed(stores: Settings, tmp_path: Path) -> None:
    with connect(stores) as connection:
        connection.execute(text("INSERT INTO users (user_id) VALUES ('a person')"))
        connection.commit()
    with pytest.raises(ForeignDataError, match="Postgres holds 1 users that no demo source brought"):
        load_users(stores, kuairand(tmp_path))
    assert rows(stores, "SELECT user_id FROM users") == [("a person",)]


def test_a_data_set_that_cannot_be_read_writes_nothing(
    stores: Settings, client: Client, tmp_path: Path
) -> None:
    load(stores, simulator())
    before = count(client, "playback_events")
    bad = KuaiRand(write_folder(tmp_path, [log_row(), log_row(play_time_ms="x")]))
    for step in (load, load_users, load_videos, load_events):
        with pytest.raises(SourceError, match="line 3, column play_time_ms"):
            step(stores, bad)
    assert count(client, "playback_events") == before
    assert rows(stores, "SELECT DISTINCT source FROM loaded_sources") == [("simulator",)]
    assert ledger_of(client) == [("simulator", True, before)]


def test_events_that_were_removed_by_hand_come_back(stores: Settings, client: Client) -> None:
    stored = load_events(stores, simulator()).stored
    client.command("TRUNCATE TABLE playback_events")
    assert load_events(stores, simulator()).stored == stored == count(client, "playback_events")
    assert ledger_of(client) == [("simulator", True, stored)]


def test_a_load_that_fails_on_the_way_is_repaired_by_the_next(stores: Settings, client: Client) -> None:
    class Failing(Simulator):
        def events(self) -> Iterator[pa.RecordBatch]:
            yield from super().events()
            raise OSError("the disk went away")

    source = simulator()
    with pytest.raises(OSError, match="the disk went away"):
        load_events(stores, Failing(scale=SMALL))
    assert ledger_of(client) == [("simulator", False, 0)]
    stored, _, quarantined = expected(source)
    assert load_events(stores, source).stored == stored
    assert ledger_of(client) == [("simulator", True, stored)]
    assert count(client, "quarantined_events") == quarantined
    assert (
        count(client, "playback_events", "uniqExact(event_id)") == count(client, "playback_events") == stored
    )


KILLED = """
import sys, time
from stack.settings import load_settings
import ingestion.event_load as loading
from ingestion.simulator import Simulator
{cut}
loading.load_events(load_settings(), Simulator(scale={scale}))
"""
CUTS = {
    # half of the events are in the table, the rest in staging
    "between two flushes": """
loading._FLUSH_ROWS = 1
real = loading._flush
class Halved(Simulator):
    def events(self):
        for batch in super().events():
            half = batch.num_rows // 2
            yield batch.slice(0, half)
            print("now", flush=True); time.sleep(60)
            yield batch.slice(half)
Simulator = Halved
""",
    # everything is in the table, the ledger does not know
    "before the ledger": """
real = loading._flush
def flush(*args):
    done = real(*args)
    print("now", flush=True); time.sleep(60)
    return done
loading._flush = flush
""",
}


@pytest.mark.parametrize("moment", CUTS)
def test_a_load_that_is_killed_is_repaired_by_the_next(stores: Settings, client: Client, moment: str) -> None:
    program = textwrap.dedent(KILLED).format(cut=CUTS[moment], scale=SMALL)
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=child_environment(stores),
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert count(client, "playback_events") > 0
    assert ledger_of(client) == [("simulator", False, 0)]

    source = simulator()
    stored, duplicate, quarantined = expected(source)
    report = load_events(stores, source)

    assert (report.stored, report.duplicate, report.quarantined) == (stored, duplicate, quarantined)
    assert report.replaced is None
    assert (
        count(client, "playback_events", "uniqExact(event_id)") == count(client, "playback_events") == stored
    )
    assert count(client, "quarantined_events") == quarantined
    assert ledger_of(client) == [("simulator", True, stored)]
    assert client.query("SHOW TABLES LIKE '%staging%'").result_rows == []


def test_two_loads_at_once_store_each_event_once(stores: Settings, client: Client) -> None:
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda _: load(stores, simulator()), range(2)))
    assert sorted(report.skipped for report in reports[0] + reports[1]) == [False] * 3 + [True] * 3
    assert count(client, "playback_events") == expected(simulator())[0]
    assert len(ledger.read(client)) == 1


def test_large_sources_go_through_staging_in_pieces(
    stores: Settings, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestion.event_load._FLUSH_ROWS", 1000)

    class InPieces(Simulator):
        def events(self) -> Iterator[pa.RecordBatch]:
            for batch in super().events():
                yield from (batch.slice(start, 700) for start in range(0, batch.num_rows, 700))

    told: list[str] = []
    report = load_events(stores, InPieces(scale=SMALL), told.append)
    assert (report.stored, report.duplicate, report.quarantined) == expected(simulator())
    assert count(client, "playback_events") == report.stored
    assert len(told) == 3


def test_a_ledger_row_that_does_not_add_up_is_not_written(stores: Settings, client: Client) -> None:
    row = ledger.LedgerRow(uuid.uuid4(), "api", "1", _now(), 10, sent=10, stored=8, duplicate=1)
    with pytest.raises(
        LedgerImbalanceError, match=r"api: 10 events sent, but 8 stored \+ 1 duplicate \+ 0 quarant"
    ):
        ledger.write(client, row)
    assert ledger.read(client) == []


def test_a_server_that_loses_rows_is_found_out(
    stores: Settings, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Client.insert_arrow
    monkeypatch.setattr(Client, "insert_arrow", lambda self, table, rows: real(self, table, rows.slice(1)))
    with pytest.raises(LedgerImbalanceError, match=r"\d+ events sent to ClickHouse, \d+ arrived"):
        load_events(stores, simulator())
    assert ledger_of(client) == [("simulator", False, 0)]


def test_waiting_for_a_load_ends(stores: Settings) -> None:
    from ingestion.postgres_schema import LockHeldError

    started = time.monotonic()
    with (
        locked(stores, "a test"),
        pytest.raises(LockHeldError, match="another process is at it"),
        locked(stores, "a test", timeout_s=0.2),
    ):
        pass
    assert time.monotonic() - started < 5
    with locked(stores, "a test", timeout_s=0.2):
        pass


def _now() -> datetime:
    return datetime.now(UTC)

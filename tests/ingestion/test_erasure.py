"""Erasing one of several people whose ids are easily mistaken: they are gone everywhere, the others nowhere."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pyarrow as pa
import pytest
from clickhouse_connect.driver.client import Client
from sqlalchemy import text

from data_quality.contracts import EVENTS, USERS
from ingestion.erasure.erase import NeverErasedError, NotAnIdError, erase_user, recheck
from ingestion.erasure.opted_out import OptOutList
from ingestion.erasure.receipt import Receipt, State
from ingestion.erasure.refusal import REDACTED, erased_users, refuse
from ingestion.event_load import load_events
from ingestion.load import load_users
from ingestion.postgres_schema import connect, locked
from stack.erased_users import ErasedUsers, opt_out_file, pseudonym, read_opt_out
from stack.settings import PROJECT_ROOT, Settings, child_environment
from tests.conftest import free_ports
from tests.ingestion.erasure_world import (
    DAYS,
    DERIVED,
    ERASED,
    EVENTS_EACH,
    EVERYBODY,
    FULL,
    INBOX,
    OTHERS,
    VIEWERS,
    VIEWS,
    Given,
    World,
    event,
    events,
)  # fmt: skip

pytestmark = pytest.mark.stack
VIEWERS_PLACE = f"ClickHouse {VIEWERS}"


@pytest.fixture
def empty(stores: Settings, redis: Settings, client: Client, tmp_path: Path) -> Iterator[World]:
    home = tmp_path / "home"
    home.mkdir()
    made = World(stores.model_copy(update={"home": home, "endpoint_port": free_ports(1)[0]}), client)
    with made.redis as store:
        store.flushdb()
    client.command("TRUNCATE TABLE session_inbox")
    client.command(f"TRUNCATE TABLE {INBOX}")
    yield made
    for view in VIEWS:
        client.command(f"DROP VIEW IF EXISTS {view}")
    for table in (*DERIVED, VIEWERS):
        client.command(f"DROP TABLE IF EXISTS {table} SYNC")
    with connect(stores) as connection:
        connection.execute(text("TRUNCATE erased_users, erasure_key"))
        connection.commit()


@pytest.fixture
def world(empty: World) -> World:
    empty.fill()
    assert [empty.where(user) for user in EVERYBODY] == [FULL] * len(EVERYBODY)
    return empty


def states(receipt: Receipt) -> dict[str, State]:
    return {entry.place: entry.state for entry in receipt.entries}


def others_are_untouched(world: World) -> bool:
    return [world.where(user) for user in OTHERS] == [FULL] * len(OTHERS)


def record_of(world: World) -> list[tuple[bool, bool]]:
    """(completed, has a receipt) of each recorded erasure."""
    with connect(world.settings) as connection:
        found = connection.execute(
            text("SELECT completed_at IS NOT NULL, receipt IS NOT NULL FROM erased_users")
        )
        return [tuple(row) for row in found]


def test_the_erased_user_is_gone_everywhere_and_the_others_nowhere(world: World) -> None:
    receipt = erase_user(world.settings, ERASED)

    assert world.where(ERASED) == {}
    assert others_are_untouched(world)
    assert receipt.held == []
    assert {e.place: e.erased for e in receipt.entries if e.erased} == {
        "Postgres users": 1,
        "ClickHouse playback_events": EVENTS_EACH,
        "ClickHouse session_inbox": 2,
        **{f"ClickHouse {table}": 1 for table in DERIVED},
        "ClickHouse quarantined_events": 1,
        "Redis keys of the user": 5,
    }
    found = states(receipt)
    assert {place for place, state in found.items() if state is State.ABSENT} == set()
    assert {found[f"ClickHouse {view}"] for view in VIEWS} == {State.GONE}


def test_what_cannot_be_deleted_at_once_is_named_with_its_version(world: World) -> None:
    receipt = erase_user(world.settings, ERASED)
    notes = {e.place: (e.state, e.left, e.note.split(": ")[0]) for e in receipt.entries if e.left}
    assert notes == {
        VIEWERS_PLACE: (
            State.PENDING,
            1,
            "a hash of the id in lists of viewers; the next dbt run rebuilds these days",
        ),
        "training set": (State.PENDING, 1, "interactions.parquet"),
        "past training sets (DVC)": (State.KEPT, 1, "abee.dir"),
        "bundles": (State.MASKED, 1, "reelgraph:b1"),
        "models (MLflow, DVC)": (State.KEPT, 1, "m-1"),
    }
    assert receipt.completed_at is None


def test_only_the_days_of_the_user_are_built_again_and_the_receipt_then_completes(world: World) -> None:
    erase_user(world.settings, ERASED)
    assert world.rows(f"SELECT model, activity_date FROM {INBOX}") == [(VIEWERS, DAYS[0])]

    # What the next dbt run and the next training do.
    world.client.command(f"DELETE FROM {VIEWERS} WHERE activity_date = '{DAYS[0]}'")
    world.see(DAYS[0], *OTHERS)
    (world.settings.training_set_dir / "interactions.parquet").unlink()

    hidden = recheck(world.settings, ERASED)
    [replaced] = hidden.waiting  # the old set is only masked
    assert (replaced.place, replaced.left) == (VIEWERS_PLACE, 1)
    assert replaced.note.startswith("rebuilt; the replaced lists")
    receipt = erase_user(world.settings, ERASED)
    assert states(receipt)[VIEWERS_PLACE] is State.GONE
    assert receipt.completed_at is not None
    assert recheck(world.settings, ERASED).completed_at == receipt.completed_at
    assert record_of(world) == [(True, True)]


def test_nothing_of_the_user_is_left_on_disk_under_a_mask(world: World) -> None:
    for table in ("playback_events", "user_features"):
        world.client.command(
            f"DELETE FROM {table} WHERE user_id = {{user:String}}", parameters={"user": ERASED}
        )
    hidden = "SELECT count() FROM {} WHERE user_id = {{user:String}} SETTINGS apply_deleted_mask = 0"
    assert world.count(hidden.format("user_features"), ERASED) == 1
    erase_user(world.settings, ERASED)
    for table in ("playback_events", *DERIVED):
        assert world.count(hidden.format(table), ERASED) == 0
    assert others_are_untouched(world)


def test_neither_record_nor_mutation_names_the_user(world: World) -> None:
    receipt = erase_user(world.settings, ERASED)
    with connect(world.settings) as connection:
        kept = connection.execute(text("SELECT erased_users::text FROM erased_users")).scalars().all()
    mutations = world.rows("SELECT command FROM system.mutations WHERE database = currentDatabase()")
    said = f"{kept} {mutations} {receipt} {opt_out_file(world.settings).read_text()}"
    assert len(mutations) >= len(DERIVED)
    assert "zoë" not in said
    assert "zo\\u00eb" not in said
    assert receipt.user_hash in said


def test_erasing_again_changes_nothing_and_keeps_the_counts(world: World) -> None:
    first = erase_user(world.settings, ERASED)
    mutations = world.rows("SELECT table, mutation_id FROM system.mutations")
    again = erase_user(world.settings, ERASED)
    assert again.requested_at == first.requested_at
    assert [(e.place, e.erased) for e in again.entries] == [(e.place, e.erased) for e in first.entries]
    assert world.rows("SELECT table, mutation_id FROM system.mutations") == mutations
    assert others_are_untouched(world)


def test_an_unknown_user_is_recorded_and_said_to_be_unknown(world: World) -> None:
    receipt = erase_user(world.settings, "nobody")
    assert receipt.found_nothing
    assert receipt.summary().startswith("no trace of this user was found")
    assert receipt.completed_at is not None
    assert [world.where(user) for user in EVERYBODY] == [FULL] * len(EVERYBODY)


def test_who_was_never_erased_has_no_receipt(world: World) -> None:
    with pytest.raises(NeverErasedError):
        recheck(world.settings, ERASED)
    assert world.where(ERASED) == FULL


@pytest.mark.parametrize("user", ["", "x" * 201, "a\0b", "\udcff"])
def test_what_is_no_id_is_refused_before_anything_is_written(world: World, user: str) -> None:
    with pytest.raises(NotAnIdError):
        erase_user(world.settings, user)
    assert record_of(world) == []


def test_events_sent_again_are_refused_without_keeping_them_and_the_ledger_balances(world: World) -> None:
    erase_user(world.settings, ERASED)
    fresh = [event(ERASED, 90), event(ERASED, 91, position_index=-1), event("ann", 92)]

    report = world.deliver(events(*EVERYBODY), pa.RecordBatch.from_pylist(fresh, schema=EVENTS.schema))

    sent = EVENTS_EACH * len(EVERYBODY) + 3
    assert (report.sent, report.stored, report.quarantined) == (sent, 1, EVENTS_EACH + 2)
    assert report.duplicate == EVENTS_EACH * len(OTHERS)
    assert world.where(ERASED) == {}
    kept = "SELECT field, reason, event, count() FROM quarantined_events WHERE source = 'web' GROUP BY ALL"
    assert world.rows(kept) == [("user_id", "erased user", REDACTED, EVENTS_EACH + 2)]
    stored = world.count("SELECT uniqExact(event_id) FROM playback_events")
    assert sum(row[1] for row in world.balance()) == stored


def test_the_ledger_counts_erased_events_as_refused(world: World) -> None:
    total = EVENTS_EACH * len(EVERYBODY)
    assert world.balance() == [(total, total, 0, 0)]
    erase_user(world.settings, ERASED)
    assert world.balance() == [(total, total - EVENTS_EACH, 0, EVENTS_EACH)]
    erase_user(world.settings, ERASED)
    assert world.balance() == [(total, total - EVENTS_EACH, 0, EVENTS_EACH)]


def test_a_demo_source_is_not_loaded_again_because_somebody_was_erased(empty: World) -> None:
    profile = {"user_id": "", "gender": "female", "language": "en", "interested_categories": [], "region": ""}
    rows = [
        {
            **profile,
            "user_id": user,
            "avg_daily_watch_time_ms": 0,
            "device_type": "",
            "preferred_creators": [],
        }
        for user in EVERYBODY
    ]
    source = Given("simulator", [events(*EVERYBODY)], pa.Table.from_pylist(rows, schema=USERS.schema))
    load_users(empty.settings, source)
    load_events(empty.settings, source)

    erase_user(empty.settings, ERASED)

    assert load_users(empty.settings, source).skipped
    assert load_events(empty.settings, source).skipped
    with connect(empty.settings) as connection:
        connection.execute(text("TRUNCATE loaded_sources, users"))
        connection.commit()
    again = load_users(empty.settings, source)
    assert (again.sent, again.stored, again.duplicate, again.quarantined) == (5, 4, 0, 1)
    assert empty.where_stored(ERASED) == {}
    assert load_users(empty.settings, source).skipped


KILLED = """
import sys, time
from stack.settings import load_settings
import ingestion.erasure.erase as erasing
from ingestion.erasure import balance, book, places
{cut}
erasing.erase_user(load_settings(), sys.argv[1])
"""
CUTS = {
    "after the record": ("book", "record", False),
    "before the first deletion in ClickHouse": ("book", "note", False),
    "before the ledger": ("balance", "move", True),
    "after the ledger": ("balance", "move", False),
    "before the receipt": ("book", "close", True),
}


@pytest.mark.parametrize("moment", CUTS)
def test_an_erasure_that_is_killed_is_finished_by_the_next(world: World, moment: str) -> None:
    module, name, before = CUTS[moment]
    cut = f"""
real = {module}.{name}
def cut(*args):
    {"" if before else "real(*args)"}
    print("now", flush=True); time.sleep(60)
{module}.{name} = cut
"""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED).format(cut=cut), ERASED],
        env=child_environment(world.settings),
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert record_of(world) == [(False, False)]
    assert world.deliver(events(ERASED)).quarantined == EVENTS_EACH

    receipt = erase_user(world.settings, ERASED)

    assert receipt.held == []
    assert world.where(ERASED) == {}
    assert others_are_untouched(world)
    total = EVENTS_EACH * len(EVERYBODY)
    assert sorted(world.balance()) == [
        (EVENTS_EACH, 0, 0, EVENTS_EACH),
        (total, total - EVENTS_EACH, 0, EVENTS_EACH),
    ]


def test_redis_down_is_in_the_receipt_and_the_next_run_completes(world: World) -> None:
    nowhere = world.settings.model_copy(
        update={"redis_url_override": f"redis://127.0.0.1:{free_ports(1)[0]}/0"}
    )
    receipt = erase_user(nowhere, ERASED)
    assert [(e.place, e.state) for e in receipt.held] == [("Redis keys of the user", State.FAILED)]
    assert receipt.completed_at is None
    assert world.where(ERASED) == {"redis": 5}
    assert erase_user(world.settings, ERASED).held == []
    assert world.where(ERASED) == {}


def test_clickhouse_down_is_in_the_receipt_and_the_rest_is_erased(world: World) -> None:
    url = f"http://default@127.0.0.1:{free_ports(1)[0]}/x"
    receipt = erase_user(world.settings.model_copy(update={"clickhouse_url_override": url}), ERASED)
    assert [(e.place, e.state) for e in receipt.held] == [("ClickHouse", State.FAILED)]
    assert set(world.where(ERASED)) == set(FULL) - {"users", "redis"}


def test_what_a_run_in_progress_wrote_after_the_deletion_is_erased_too(world: World) -> None:
    def run_ends() -> None:
        world.client.insert("user_features", [[ERASED]], ["user_id"])

    receipt = erase_user(world.settings, ERASED, settle=run_ends)
    assert world.where(ERASED) == {}
    assert {e.place: e.erased for e in receipt.entries}["ClickHouse user_features"] == 2


def test_a_user_who_comes_back_by_another_way_reopens_the_receipt(world: World) -> None:
    erase_user(world.settings, ERASED)
    world.fill_users(ERASED)
    found = recheck(world.settings, ERASED)
    assert [(e.place, e.left) for e in found.held] == [("Postgres users", 1)]
    assert world.where(ERASED) == {"users": 1}  # looking deletes nothing


def test_the_opt_out_list_has_everybody_erased_and_is_made_again_if_lost(world: World) -> None:
    erase_user(world.settings, ERASED)
    erase_user(world.settings, "ann")
    listed = read_opt_out(opt_out_file(world.settings))
    assert [user in listed for user in (ERASED, "ann", OTHERS[0])] == [True, True, False]
    with connect(world.settings) as connection:
        assert erased_users(connection) == listed
    opt_out_file(world.settings).write_text("{")
    assert [e.place for e in recheck(world.settings, "ann").held] == ["endpoint"]
    assert erase_user(world.settings, "ann").held == []
    assert read_opt_out(opt_out_file(world.settings)) == listed


def test_an_erasure_waits_for_a_load_in_progress(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from ingestion.postgres_schema import LockHeldError

    monkeypatch.setitem(locked.__wrapped__.__kwdefaults__, "timeout_s", 0.2)  # type: ignore[attr-defined]
    with locked(world.settings, "load of playback_events"), pytest.raises(LockHeldError):
        erase_user(world.settings, ERASED)
    assert world.where(ERASED)["playback_events"] == EVENTS_EACH
    assert erase_user(world.settings, ERASED).held == []


@contextmanager
def endpoint(settings: Settings, answers: Callable[[], tuple[int, dict[str, str]]]) -> Iterator[None]:
    """Something that answers on the endpoint's port, with what it says of its readiness."""

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers()
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", settings.endpoint_port), Ready)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def test_the_receipt_waits_until_the_endpoint_answers_by_the_new_list(world: World) -> None:
    asked: list[str] = []

    def takes_it_up_at_the_third_look() -> tuple[int, dict[str, str]]:
        asked.append("")
        version = read_opt_out(opt_out_file(world.settings)).version
        return 200, {"opt_out": version if len(asked) > 2 else "an older one"}

    with endpoint(world.settings, takes_it_up_at_the_third_look):
        receipt = erase_user(world.settings, ERASED)
    entry = receipt.entries[0]
    assert (entry.place, entry.state, entry.note) == ("endpoint", State.GONE, "answers as to an unknown user")
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("status", "body", "state"),
    [
        (200, {"opt_out": "another"}, State.HELD),
        (200, {}, State.HELD),  # of an older release
        (503, {}, State.GONE),  # no bundle: it answers nobody
    ],
)
def test_an_endpoint_that_keeps_to_another_list_holds_the_erasure_up(
    world: World, monkeypatch: pytest.MonkeyPatch, status: int, body: dict[str, str], state: State
) -> None:
    monkeypatch.setattr(OptOutList, "wait_s", 0.2)
    erase_user(world.settings, ERASED)
    with endpoint(world.settings, lambda: (status, body)):
        assert recheck(world.settings, ERASED).entries[0].state is state


def test_refusing_hashes_each_id_once_and_costs_nothing_without_erased_users(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashed: list[str] = []
    monkeypatch.setattr(
        "stack.erased_users.pseudonym", lambda key, user: hashed.append(user) or pseudonym(key, user)
    )
    batch = events(*EVERYBODY)
    assert refuse(ErasedUsers(), batch)[0] is batch
    assert hashed == []
    erased = ErasedUsers(b"k", frozenset({pseudonym(b"k", ERASED)}))
    kept, refused = refuse(erased, batch)
    assert (refused, kept.column("user_id").to_pylist()) == (
        EVENTS_EACH,
        [u for u in OTHERS for _ in range(EVENTS_EACH)],
    )
    assert sorted(hashed) == sorted(EVERYBODY)
    nobody = events(user_id=None)
    assert refuse(erased, nobody) == (nobody, 0)

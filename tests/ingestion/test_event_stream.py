"""Segments of tracked events: whatever is sent again, and wherever a sender dies, each event counts once."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from types import ModuleType
from typing import Any
from uuid import UUID, uuid5

import pyarrow as pa
import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from data_quality.contract_checks import check_batch
from data_quality.contracts import EVENTS
from ingestion import event_load, event_stream, ledger, segment_book
from ingestion.clickhouse_http import ClickHouseHttp
from ingestion.erasure import balance
from ingestion.erasure.book import User
from ingestion.errors import ForeignDataError, StoreUnreachableError
from ingestion.event_checks import FIELDS, fault
from ingestion.event_stream import REFUSED_LINE, instant, quarantine_id, store_segment
from ingestion.load import load_events
from ingestion.segment_book import Counts
from ingestion.simulator import Simulator
from orchestration.demo import why_reload
from orchestration.graphql import AssetState
from orchestration.summary import stored_rows
from stack.erased_users import ErasedUsers, pseudonym
from stack.settings import Settings

pytestmark = pytest.mark.stack
NOW = 1_714_564_800_123  # 2024-05-01 12:00:00.123, a Wednesday
NOW_AT = datetime(2024, 5, 2, tzinfo=UTC)
IDS = UUID(int=0)


def event(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "event_id": str(uuid5(IDS, str(number))),
        "user_id": "ann",
        "video_id": f"v{number}",
        "session_id": "s1",
        "event_type": "like",
        "position_index": 3,
        "impression_timestamp": NOW,
        "scroll_speed_ms": 1.5,
        "playback_position_ms": None,
        "device_type": "ios",
        "network_type": "4g",
        "geo_location": "Hanoi, VN",
        "time_of_day": 12,
        "day_of_week": 3,
        "request_id": "",
        "created_at": NOW + 5,
        **changes,
    }


def segment(*events: dict[str, Any] | bytes) -> bytes:
    lines = (line if isinstance(line, bytes) else json.dumps(line).encode() for line in events)
    return b"".join(line + b"\n" for line in lines)


@pytest.fixture
def http(stores: Settings, client: Client) -> Iterator[ClickHouseHttp]:
    client.command("TRUNCATE TABLE shipped_segments")
    with_http = ClickHouseHttp(stores)
    yield with_http
    with_http.close()


def count(client: Client, table: str) -> int:
    return int(client.query(f"SELECT count() FROM {table}").result_rows[0][0])


def book(client: Client) -> list[tuple[int, int, int, int]]:
    return [(row.sent, row.stored, row.duplicate, row.quarantined) for row in ledger.read(client)]


def test_events_are_stored_with_every_field_as_it_was_sent(http, client):
    odd = event(2, user_id="it's \\ ü", playback_position_ms=7, request_id="r1", scroll_speed_ms=0)
    assert store_segment(http, segment(event(1), odd), "one-00000001", set()) == Counts(2, 2, 0, 0)
    names = ", ".join([*FIELDS, "created_at"])
    found = client.query(
        f"SELECT {names} FROM playback_events ORDER BY video_id", column_formats={"event_id": "string"}
    ).named_results()
    for row, sent in zip(found, (event(1), odd), strict=True):
        for name in ("impression_timestamp", "created_at"):
            sent[name] = instant(sent[name])
            row[name] = f"{row[name]:%Y-%m-%d %H:%M:%S}.{row[name].microsecond // 1000:03d}"
        assert {**row, "event_id": str(row["event_id"])} == sent
    assert count(client, "session_inbox") == 2
    assert book(client) == [(2, 2, 0, 0)]


def test_an_event_counts_once_within_a_segment_and_between_them(http, client):
    store_segment(http, segment(event(1), event(2), event(1)), "one-00000001", set())
    again = event(2, event_id=event(2)["event_id"].upper())
    assert store_segment(http, segment(again, event(3)), "two-00000001", set()) == Counts(2, 1, 1, 0)
    assert count(client, "playback_events") == 3
    assert book(client) == [(3, 2, 1, 0), (2, 1, 1, 0)]


def test_segments_of_one_process_and_day_share_a_row_of_the_ledger(http, client):
    for number in range(3):
        store_segment(http, segment(event(number)), f"one-0000000{number}", set())
    assert book(client) == [(3, 3, 0, 0)]
    [row] = ledger.read(client)
    assert (row.source, row.finished, row.finished_at > row.started_at) == ("endpoint", True, True)


def test_a_segment_that_is_sent_again_changes_nothing(http, client):
    content = segment(event(1), event(2), b"not json")
    first = store_segment(http, content, "one-00000001", set())
    assert store_segment(http, content, "one-00000001", set()) == first == Counts(3, 2, 0, 1)
    assert count(client, "playback_events") == 2
    assert count(client, "quarantined_events") == 1
    assert book(client) == [(3, 2, 0, 1)]


class DiedError(Exception):
    """The sender was killed."""


@pytest.mark.parametrize("survives", range(10))
def test_wherever_the_sender_is_killed_the_next_attempt_counts_the_same(http, client, monkeypatch, survives):
    """`survives`: after so many statements that write, the process is gone."""
    store_segment(http, segment(event(3)), "one-00000001", set())
    content = segment(event(1), event(2), event(3), event(1), b"broken")
    left = survives
    post = ClickHouseHttp._post

    def dying(self: ClickHouseHttp, content: bytes, params: dict[str, str] | None = None) -> bytes:
        nonlocal left
        if params is not None or content.startswith(b"INSERT"):
            if left == 0:
                raise DiedError
            left -= 1
        return post(self, content, params)

    with monkeypatch.context() as patch:
        patch.setattr(ClickHouseHttp, "_post", dying)
        try:
            store_segment(http, content, "one-00000002", set())
        except DiedError:
            pass
        else:
            assert survives >= 6  # all there is to write

    assert store_segment(http, content, "one-00000002", set()) == Counts(5, 2, 2, 1)
    assert count(client, "playback_events") == 3
    assert count(client, "quarantined_events") == 1
    assert book(client) == [(6, 3, 2, 1)]
    assert count(client, "session_inbox") >= 3


def test_bad_events_are_quarantined_whole_with_the_field_and_the_reason(http, client):
    bad = event(1, event_type="stare")
    store_segment(http, segment(bad, b"[1]", event(2)), "one-00000001", set())
    found = client.query(
        "SELECT batch_id, source, field, reason, event FROM quarantined_events ORDER BY field"
    ).result_rows
    assert [row[:3] for row in found] == [
        (quarantine_id("one-00000001"), "endpoint", "event"),
        (quarantine_id("one-00000001"), "endpoint", "event_type"),
    ]
    assert found[0][3:] == ("the line is not a JSON object", "[1]")
    assert found[1][3].startswith("event_type must be one of view_start, ")
    assert json.loads(found[1][4]) == bad


def test_whatever_bytes_a_line_holds_it_is_one_line_and_kept_as_far_as_it_is_text(http, client):
    content = segment(b"", b"\xff\x00a\rb", event(1), b"3", b'{"user_id": 3}')
    assert store_segment(http, content, "one-00000001", set()) == Counts(5, 1, 0, 4)
    kept = {row[0] for row in client.query("SELECT event FROM quarantined_events").result_rows}
    assert kept == {"", "\ufffd\x00a\rb", "3", '{"user_id": 3}'}


def test_events_that_only_clickhouse_refuses_are_quarantined_and_block_no_others(http, client, monkeypatch):
    """None that pass our checks are known."""
    monkeypatch.setattr(event_stream, "fault", lambda event: None)
    events = [event(number, event_type="stare" if number in (3, 8) else "like") for number in range(20)]
    for _ in range(2):
        assert store_segment(http, segment(*events), "one-00000001", set()) == Counts(20, 18, 0, 2)
    found = client.query("SELECT reason, event FROM quarantined_events ORDER BY event").result_rows
    assert sorted(json.loads(row[1])["video_id"] for row in found) == ["v3", "v8"]
    assert all("Unknown element 'stare'" in row[0] for row in found)
    assert book(client) == [(20, 18, 0, 2)]


def test_of_a_segment_of_many_such_events_every_one_is_counted_all_the_same(http, client, monkeypatch):
    """Good ones were stored before the others turned out to be too many to be looked for one by one."""
    monkeypatch.setattr(event_stream, "fault", lambda event: None)
    monkeypatch.setattr(event_stream, "_MOST_REFUSED", 3)
    events = [event(n, event_type="stare" if n > 7 else "like") for n in range(16)]
    for _ in range(2):
        assert store_segment(http, segment(*events), "one-00000001", set()) == Counts(16, 8, 0, 8)
    assert count(client, "playback_events") == 8
    kept = [json.loads(row[0]) for row in client.query("SELECT event FROM quarantined_events").result_rows]
    assert sorted(bad["video_id"] for bad in kept) == sorted(f"v{n}" for n in range(8, 16))
    assert book(client) == [(16, 8, 0, 8)]


def test_nothing_of_an_erased_user_is_kept_but_that_there_was_an_event(http, client):
    key = b"k" * 32
    erased = ErasedUsers(key, frozenset({pseudonym(key, "bob")}))
    broken = event(2, user_id="bob", event_type="stare")
    content = segment(event(1), event(3, user_id="bob"), broken, REFUSED_LINE)
    assert store_segment(http, content, "one-00000001", erased) == Counts(4, 1, 0, 3)
    found = client.query("SELECT reason, event, count() FROM quarantined_events GROUP BY ALL").result_rows
    assert found == [("erased user", '{"redacted": "erased user"}', 3)]
    assert client.query("SELECT DISTINCT user_id FROM playback_events").result_rows == [("ann",)]


BOB = User("bob", "hash of bob")


def erase_bob(client: Client) -> list[dict[str, Any]]:
    """As `erase_user` does it, up to what it would then do to the ledger."""
    moves = balance.plan_move(client, balance.counted_events(client, BOB))
    client.command("DELETE FROM playback_events WHERE user_id = 'bob'")
    return moves


def dying(*_: object) -> None:
    raise DiedError


def die_at(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, *segment: Any) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, name, dying)
        with pytest.raises(DiedError):
            store_segment(*segment, set())


@pytest.mark.parametrize(
    ("module", "dies_at"),
    [
        (event_stream, "_insert"),  # before the events are stored
        (event_stream, "_quarantine"),
        (segment_book, "count"),
    ],
)
def test_who_is_erased_between_two_attempts_is_refused_and_the_book_still_balances(
    http, client, monkeypatch, module, dies_at
):
    """Bob has an event that was counted, and three in the segment, one of them for the second time."""
    before = segment(event(0), event(2, user_id="bob"), *(event(n) for n in range(10, 20)))
    store_segment(http, before, "zero-00000001", set())
    mine = [event(n, user_id="bob", created_at=NOW + 9) for n in (2, 3, 4)]
    content = segment(event(1), *mine)
    die_at(monkeypatch, module, dies_at, http, content, "one-00000001")
    balance.move(client, erase_bob(client))
    assert store_segment(http, content, "one-00000001", {"bob"}) == Counts(4, 1, 0, 3)
    assert book(client) == [(12, 11, 0, 1), (4, 1, 0, 3)]
    assert count(client, "playback_events") == 12


def die_before_it_is_marked(monkeypatch: pytest.MonkeyPatch, *segment: Any) -> None:
    """The ledger counts the segment, and the process is gone."""
    write = segment_book._write

    def dying_when_done(client: ClickHouseHttp, entry: segment_book.Entry, state: int) -> None:
        if state == segment_book._DONE:
            raise DiedError
        write(client, entry, state)

    with monkeypatch.context() as patch:
        patch.setattr(segment_book, "_write", dying_when_done)
        with pytest.raises(DiedError):
            store_segment(*segment, set())


def test_a_segment_that_is_counted_but_not_marked_lets_others_be_counted_before_it(http, client, monkeypatch):
    first = segment(event(1), event(1))
    die_before_it_is_marked(monkeypatch, http, first, "one-00000001")
    store_segment(http, segment(event(2), event(3)), "one-00000002", set())
    store_segment(http, first, "one-00000001", set())
    assert book(client) == [(4, 3, 1, 0)]


def test_who_is_erased_when_a_segment_is_counted_but_not_marked_leaves_the_ledger(http, client, monkeypatch):
    content = segment(event(1), event(2, user_id="bob"))
    die_before_it_is_marked(monkeypatch, http, content, "one-00000001")
    balance.move(client, erase_bob(client))
    store_segment(http, content, "one-00000001", {"bob"})
    assert book(client) == [(2, 1, 0, 1)]
    assert count(client, "playback_events") == 1


def test_an_erasure_that_is_resumed_moves_its_events_once_whatever_was_counted_meanwhile(http, client):
    store_segment(http, segment(event(1), event(2, user_id="bob")), "one-00000001", set())
    moves = erase_bob(client)
    store_segment(http, segment(event(3), b"broken"), "one-00000002", {"bob"})
    balance.move(client, moves)
    assert book(client) == [(4, 2, 0, 2)]
    store_segment(http, segment(event(4)), "one-00000003", {"bob"})
    balance.move(client, moves)
    assert book(client) == [(5, 3, 0, 2)]
    assert count(client, "playback_events") == 3


def test_an_event_that_another_endpoint_stored_meanwhile_is_no_longer_this_ones(http, client, monkeypatch):
    """Its client had no answer of the first and sent it to the second."""
    content = segment(event(1), event(2))
    die_at(monkeypatch, event_stream, "_insert", http, content, "one-00000001")
    store_segment(http, segment(event(1, created_at=NOW + 2_000)), "two-00000001", set())
    assert store_segment(http, content, "one-00000001", set()) == Counts(2, 1, 1, 0)
    assert book(client) == [(2, 1, 1, 0), (1, 1, 0, 0)]
    assert count(client, "playback_events") == 2


def test_an_erasure_stays_in_the_ledger_when_more_is_counted(http, client):
    store_segment(http, segment(event(1), event(2)), "one-00000001", set())
    balance.move(client, balance.plan_move(client, 1))
    assert book(client) == [(2, 1, 0, 1)]
    store_segment(http, segment(event(3)), "one-00000002", set())
    assert book(client) == [(3, 2, 0, 1)]


def test_a_large_segment_is_stored_in_steps(http, client, monkeypatch):
    monkeypatch.setattr(event_stream, "_AT_ONCE", 7)
    content = segment(*(event(number, user_id=f"u{number % 5}") for number in range(100)))
    assert store_segment(http, content, "one-00000001", set()) == Counts(100, 100, 0, 0)
    assert count(client, "playback_events") == 100


def test_events_of_more_months_than_clickhouse_takes_at_once_are_stored(http, client):
    """Phones with a wrong clock; one such segment would be refused for ever and hold up those behind it."""
    month_ms = 31 * 86_400_000
    events = [event(n, impression_timestamp=946_684_800_000 + n * month_ms) for n in range(150)]
    assert store_segment(http, segment(*events), "one-00000001", set()) == Counts(150, 150, 0, 0)
    assert book(client) == [(150, 150, 0, 0)]
    assert count(client, "playback_events") == 150


def test_a_store_that_is_down_is_named(stores):
    http = ClickHouseHttp(
        stores.model_copy(update={"clickhouse_url_override": "http://default@127.0.0.1:1/x"})
    )
    with pytest.raises(StoreUnreachableError, match=r"127\.0\.0\.1:1 does not answer"):
        http.rows("SELECT 1")
    http.close()


def test_a_demo_source_finds_its_load_complete_though_the_endpoint_has_stored_more(http, client):
    load = ledger.LedgerRow(UUID(int=1), "simulator", "abc", datetime(2024, 5, 1, tzinfo=UTC))
    ledger.write(client, load)
    ledger.write(client, replace(load, finished_at=datetime(2024, 5, 2, tzinfo=UTC)))
    store_segment(http, segment(event(1)), "one-00000001", set())
    assert ledger.plan(client, "simulator", "abc") == ledger.Plan(skip=True)


def test_the_demo_finds_nothing_changed_after_events_were_tracked(http, client, stores):
    """And loads nothing, and wipes nothing, when it is told to load the same source all the same."""
    source = Simulator(scale=0.02)
    loaded = load_events(stores, source)
    store_segment(http, segment(event(1), event(2)), "one-00000001", set())
    assert stored_rows(stores)["playback_events"] == loaded.table_rows == loaded.stored
    metadata = {"fingerprint": source.fingerprint(), "dagster/row_count": loaded.table_rows}
    assert why_reload([AssetState("playback_events", "FRESH", metadata)], stored_rows(stores)) is None

    again = load_events(stores, source)
    assert (again.skipped, again.table_rows) == (True, loaded.table_rows)
    assert count(client, "playback_events") == loaded.stored + 2

    client.command("TRUNCATE TABLE playback_events")  # another store, to be filled
    assert why_reload([AssetState("playback_events", "FRESH", metadata)], stored_rows(stores)) is not None


def test_a_demo_source_is_loaded_beside_events_that_were_tracked_before(http, client, stores, monkeypatch):
    """Also beside those that a killed endpoint stored and has not counted."""
    store_segment(http, segment(event(1)), "one-00000001", set())
    die_at(monkeypatch, segment_book, "count", http, segment(event(2)), "one-00000002")
    source = Simulator(scale=0.02)
    loaded = load_events(stores, source)
    assert loaded.stored > 0
    assert count(client, "playback_events") == loaded.stored + 2
    assert load_events(stores, source).skipped


def dying_after_a_flush(row: ledger.LedgerRow, **changes: Any) -> ledger.LedgerRow:
    if changes.get("stored"):
        raise DiedError
    return replace(row, **changes)


def test_a_load_that_was_killed_beside_tracked_events_is_counted_whole_by_the_next(
    http, client, stores, monkeypatch
):
    store_segment(http, segment(event(1)), "one-00000001", set())
    die_at(monkeypatch, segment_book, "count", http, segment(event(2)), "one-00000002")
    with monkeypatch.context() as patch:
        patch.setattr(event_load, "_FLUSH_ROWS", 1)
        patch.setattr(event_load, "replace", dying_after_a_flush)
        with pytest.raises(DiedError):
            load_events(stores, Simulator(scale=0.02))
    assert count(client, "playback_events") > 2
    loaded = load_events(stores, Simulator(scale=0.02))
    assert count(client, "playback_events") == loaded.stored + 2
    assert sum(row[1] for row in book(client)) == loaded.stored + 1
    store_segment(http, segment(event(2)), "one-00000002", set())
    assert sum(row[1] for row in book(client)) == loaded.stored + 2


@pytest.mark.parametrize("counted", [True, False])
def test_another_source_never_takes_the_place_of_events_that_people_sent(http, client, monkeypatch, counted):
    """Not even of those that were stored a moment ago and are not counted yet."""
    loaded = datetime(2024, 5, 1, tzinfo=UTC)
    ledger.write(client, ledger.LedgerRow(UUID(int=1), "kuairand", "abc", loaded, finished_at=NOW_AT))
    if counted:
        store_segment(http, segment(event(1)), "one-00000001", set())
    else:
        die_at(monkeypatch, segment_book, "count", http, segment(event(1)), "one-00000001")
    with pytest.raises(ForeignDataError, match=r"people sent to the endpoint.*of kuairand.*make reset"):
        ledger.plan(client, "simulator", "another")


def test_where_the_endpoint_stored_nothing_another_source_takes_the_place_of_the_first(http, client, stores):
    """And the endpoint counts on in the row that it had."""
    load_events(stores, Simulator(scale=0.02))
    store_segment(http, segment(b"broken"), "one-00000001", set())
    again = load_events(stores, Simulator(scale=0.03))
    assert (again.replaced, count(client, "playback_events")) == (None, again.stored)
    reasons = "SELECT count() FROM quarantined_events WHERE source = 'endpoint'"
    assert client.query(reasons).result_rows == [(1,)]
    store_segment(http, segment(event(1)), "one-00000002", set())
    assert (2, 1, 0, 1) in book(client)


WORDS = st.one_of(st.text(max_size=5), st.just("x" * 200), st.just("x" * 201))
NUMBERS = st.one_of(st.integers(-3, 30), st.just(2**31 - 1))


@examples(max_examples=300, deadline=None)
@given(
    changes=st.fixed_dictionaries(
        {},
        optional={
            "event_id": st.one_of(WORDS, st.uuids().map(str)),
            "user_id": WORDS,
            "session_id": st.one_of(st.none(), WORDS),
            "event_type": st.sampled_from(["like", "view_end", "stare", ""]),
            "position_index": st.one_of(st.none(), NUMBERS),
            "impression_timestamp": st.sampled_from(
                [0, 946_684_799_999, 946_684_800_000, 4_102_444_800_000, NOW]
            ),
            "scroll_speed_ms": st.sampled_from([-1.0, 0.0, 1e9, 2e9, 7.5]),
            "playback_position_ms": st.one_of(st.none(), NUMBERS),
            "device_type": st.sampled_from(["ios", "tv"]),
            "network_type": st.sampled_from(["5g", "6g"]),
            "geo_location": st.one_of(st.none(), WORDS),
            "time_of_day": st.integers(-1, 25),
            "day_of_week": st.integers(-1, 9),
            "request_id": WORDS,
        },
    )
)
def test_any_event_is_judged_as_the_contract_judges_it(changes):
    sent = event(1, **changes)
    columns = {
        field.name: pa.array([sent[field.name]], pa.int64()).cast(field.arrow)
        if pa.types.is_timestamp(field.arrow)
        else pa.array([sent[field.name]], field.arrow)
        for field in EVENTS.fields
    }
    rejected = check_batch(EVENTS, pa.RecordBatch.from_pydict(columns, EVENTS.schema)).rejected
    found = fault(sent)
    assert (found and found[0]) == (rejected[0].field if rejected else None)


def test_the_rules_are_those_of_the_contract_in_its_order():
    assert list(FIELDS) == EVENTS.names

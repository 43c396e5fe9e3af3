"""Whatever arrives, however late, often or in pieces: an increment leaves exactly what a full rebuild gives."""

import random
from dataclasses import replace

import pytest

from .warehouse import Event, Warehouse


def build(warehouse: Warehouse) -> list[tuple[object, ...]]:
    warehouse.dbt("run", "-s", "watch_sessions")
    return warehouse.everything("watch_sessions")


def rebuilt(warehouse: Warehouse) -> list[tuple[object, ...]]:
    """The table as a full rebuild makes it."""
    warehouse.dbt("run", "-s", "watch_sessions", "--full-refresh")
    return warehouse.everything("watch_sessions")


def totals(warehouse: Warehouse) -> dict[str, tuple[int, int]]:
    """(total_watch_time_ms, num_events) by session."""
    rows = warehouse.rows("SELECT session_id, total_watch_time_ms, num_events FROM watch_sessions")
    assert len({row[0] for row in rows}) == len(rows)
    return {session: (total, events) for session, total, events in rows}


@pytest.fixture
def started(warehouse: Warehouse) -> Warehouse:
    """Two sessions without an end, arrived in the same millisecond, and built."""
    warehouse.add([Event("a", "view_start", 0, arrived=10), Event("b", "view_start", 0, arrived=10)])
    build(warehouse)
    return warehouse


def test_only_touched_sessions_are_rebuilt_and_the_rest_not_even_read_back(started: Warehouse) -> None:
    # A mark in the untouched row survives, so the row was not written again.
    started.client.command(
        "ALTER TABLE watch_sessions UPDATE num_pauses = 99 WHERE 1 SETTINGS mutations_sync = 2"
    )
    started.add([Event("b", "view_end", 7, arrived=20)])
    build(started)
    assert started.rows("SELECT session_id, num_pauses FROM watch_sessions ORDER BY 1") == [
        ("a", 99),
        ("b", 0),
    ]
    assert totals(started) == {"a": (0, 1), "b": (7000, 2)}


def test_an_event_with_the_created_at_of_the_last_run_is_not_missed(started: Warehouse) -> None:
    started.add([Event("a", "view_end", 5, arrived=10), Event("c", "view_start", 3, arrived=10)])
    build(started)
    assert totals(started) == {"a": (5000, 2), "b": (0, 1), "c": (0, 1)}


def test_an_event_stored_with_an_older_created_at_is_not_missed(started: Warehouse) -> None:
    started.add([Event("b", "view_end", 4, arrived=1), Event("c", "view_start", 3, arrived=2)])
    build(started)
    assert totals(started) == {"a": (0, 1), "b": (4000, 2), "c": (0, 1)}


def test_an_event_from_before_the_start_moves_the_session_to_another_month(started: Warehouse) -> None:
    early = Event("a", "view_start", -86_400 * 40, arrived=30)
    started.add([early])
    build(started)
    assert totals(started) == {"a": (86_400_000 * 40, 2), "b": (0, 1)}
    assert started.everything("watch_sessions") == rebuilt(started)


def test_a_repeated_delivery_counts_once_before_and_after_clickhouse_merges_it(started: Warehouse) -> None:
    started.add([Event("a", "view_start", 0, arrived=50)] * 3)
    after = build(started)
    assert totals(started)["a"] == (0, 1)
    started.client.command("OPTIMIZE TABLE playback_events FINAL")
    assert build(started) == after == rebuilt(started)


def test_a_duration_that_becomes_known_later_reaches_old_sessions(started: Warehouse) -> None:
    started.add([Event("a", "view_end", 30, arrived=20)])
    build(started)
    ratio = "SELECT watch_time_ratio, is_finished FROM watch_sessions WHERE session_id = 'a'"
    assert started.rows(ratio) == [(0.5, 0)]
    started.catalogue("INSERT INTO videos (video_id, creator_id, duration_ms) VALUES ('v1', 'c', 30000)")
    started.dbt("run", "-s", "tag:sessions")  # what runs every 5 minutes reads the durations again
    assert started.rows(ratio) == [(1.0, 1)]


def test_a_crash_between_delete_and_insert_is_repaired(started: Warehouse) -> None:
    started.add([Event("a", "view_end", 5, arrived=20), Event("c", "scroll_pass", 6, arrived=20)])
    expected = build(started)
    # What the table is like after the delete, and after half of the insert: the newest arrival is there, others not.
    started.client.command("DELETE FROM watch_sessions WHERE session_id IN ('a', 'b')")
    assert build(started) == expected


def test_two_runs_at_once_that_inserted_twice_are_repaired(started: Warehouse) -> None:
    expected = started.everything("watch_sessions")
    started.client.command("INSERT INTO watch_sessions SELECT * FROM watch_sessions WHERE session_id = 'a'")
    assert len(started.everything("watch_sessions")) == 3
    assert build(started) == expected


def test_a_temporary_table_that_may_be_in_use_stays(started: Warehouse) -> None:
    leftover = "watch_sessions__dbt_new_data_11111111_2222_3333_4444_555555555555"
    started.client.command(f"CREATE TABLE {leftover} (x Int8) ENGINE = MergeTree ORDER BY x")
    build(started)
    assert started.rows(f"EXISTS TABLE {leftover}") == [(1,)]
    started.client.command(f"DROP TABLE {leftover}")
    assert started.rows("SELECT name FROM system.tables WHERE name LIKE '%dbt_new_data%'") == []


def random_stream(seed: int) -> list[Event]:
    """About 200 events of 25 sessions with every event type, equal times, and ids of sessions used by two users."""
    rng = random.Random(seed)
    kinds = ["view_start", "view_end", "scroll_pass", "like", "pause", "resume", "seek", "replay", "click"]
    events = []
    for n in range(25):
        who, what = f"u{n % 4}", f"v{n % 3}"
        for i in range(rng.randint(1, 16)):
            kind = rng.choice(kinds) if i else rng.choice(["view_start", "view_start", "scroll_pass"])
            position = rng.choice([None, rng.randint(0, 60_000)])
            events.append(
                Event(f"s{n // 2}", kind, rng.randint(0, 40), position, who, what, arrived=0, name=f"{n}.{i}")
            )
    return events


@pytest.mark.parametrize("seed", [1, 2])
def test_any_order_any_batches_any_duplicates_give_the_full_rebuild(warehouse: Warehouse, seed: int) -> None:
    rng = random.Random(seed)
    deliveries = random_stream(seed)
    deliveries += rng.sample(deliveries, len(deliveries) // 3)
    rng.shuffle(deliveries)
    at = 0
    while at < len(deliveries):
        size = rng.randint(30, 150)
        # Arrival times move on, stand still and even go back between batches.
        arrived = float(rng.randint(0, 5))
        warehouse.add([replace(event, arrived=arrived) for event in deliveries[at : at + size]])
        at += size
        incremental = build(warehouse)
    assert len(incremental) == 25
    assert incremental == rebuilt(warehouse)
    # The sums of the reference below, which knows nothing of SQL.
    expected = {key: reference(events) for key, events in by_session(random_stream(seed)).items()}
    rows = warehouse.rows(
        "SELECT session_id, user_id, video_id, total_watch_time_ms, effective_watch_time_ms FROM watch_sessions"
    )
    assert {tuple(row[:3]): tuple(row[3:]) for row in rows} == expected


def by_session(events: list[Event]) -> dict[tuple[str, str, str], list[Event]]:
    sessions: dict[tuple[str, str, str], list[Event]] = {}
    for event in events:
        sessions.setdefault((event.session, event.user, event.video), []).append(event)
    return sessions


TYPES = ["view_start", "view_end", "scroll_pass", "like", "comment", "share", "follow_creator", "save", "report",
         "pause", "resume", "seek", "replay", "click"]  # fmt: skip
ENDS = ("view_end", "scroll_pass", "click")


def reference(events: list[Event]) -> tuple[int, int]:
    """(total_watch_time_ms, effective_watch_time_ms) by a walk over the events, written from the requirement."""

    def order(event: Event) -> tuple[object, ...]:
        tie = 0 if event.type == "view_start" else 2 if event.type in ENDS else 1
        return event.at, tie, TYPES.index(event.type), id_order(event)

    events = sorted(events, key=order)
    starts = [e.at for e in events if e.type == "view_start"]
    if not starts:
        return 0, 0
    start = min(starts)
    ends = [e.at for e in events if e.type in ENDS and e.at >= start]
    end = max(ends) if ends else max(e.at for e in events)
    playing, last, played, again = False, start, 0, 0
    position: int | None = None  # where the player stands
    debt = 0  # what is left of the last jump back
    for event in events:
        if playing:
            step = round(max(0, min(event.at, end) - max(last, start)) * 1000)
            played += step
            repeated = min(step, debt)
            again, debt = again + repeated, debt - repeated
            if position is not None:
                position += step
        if event.type in ("view_start", "replay", "seek"):
            debt = 0
        if event.type == "seek" and position is not None and event.position is not None:
            debt = max(0, position - event.position)
        if event.position is not None:
            position = event.position
        elif event.type in ("view_start", "replay"):
            position = 0
        if event.type in ("view_start", "resume", "replay"):
            playing = True
        elif event.type in (*ENDS, "pause"):
            playing = False
        last = event.at
    return round((end - start) * 1000), played - again


def id_order(event: Event) -> object:
    """ClickHouse compares UUIDs by their two halves, the second first."""
    number = event.row()[0].int
    return number & (2**64 - 1), number >> 64

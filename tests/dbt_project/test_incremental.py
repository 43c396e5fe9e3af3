"""Whatever arrives, however late, often or in pieces: an increment leaves exactly what a full rebuild gives."""

import pytest

from .replay import intercepted
from .warehouse import WORK_LEFT, Event, Warehouse


def build(warehouse: Warehouse) -> list[tuple[object, ...]]:
    """An increment, all of it; the states of the sessions."""
    warehouse.dbt("run", "-s", "int_session_states")
    assert warehouse.rows(WORK_LEFT)[0][:2] == (0, 0)
    return warehouse.everything("int_session_states")


def rebuilt(warehouse: Warehouse) -> list[tuple[object, ...]]:
    """The table as a full rebuild makes it."""
    warehouse.dbt("run", "-s", "int_session_states", "--full-refresh")
    return warehouse.everything("int_session_states")


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
        "ALTER TABLE int_session_states UPDATE num_pauses = 99 WHERE 1 SETTINGS mutations_sync = 2"
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
    assert started.everything("int_session_states") == rebuilt(started)


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


def test_a_video_that_is_only_new_in_the_catalogue_touches_nothing(started: Warehouse) -> None:
    started.catalogue("INSERT INTO videos (video_id, creator_id, duration_ms) VALUES ('new', 'c', 30000)")
    selected: list[list[tuple[object, ...]]] = []

    def look(sql: str, _: object) -> None:
        insert, select, rest = sql.partition("select distinct")
        if "touched_sessions" in insert and "was_used" in rest:
            selected.append(started.rows(select + rest))

    with intercepted(look):
        started.dbt("run", "-s", "tag:sessions")
    assert selected == [[]]
    durations = "SELECT video_id, duration_ms FROM session_durations FINAL ORDER BY ALL"
    assert started.rows(durations) == [("new", 30000), ("v1", 60000)]


class Killed(Exception):
    pass


KILLED_BEFORE = {
    "the new rows are staged": "create table",
    "the old rows are deleted": "delete from",
    "the new rows are inserted": "insert into `dbt_tests`.`int_session_states` ",
    "the durations are remembered": "insert into `dbt_tests`.`session_durations`",
    "the sessions are forgotten": "truncate table `dbt_tests`.`touched_sessions`",
}


@pytest.mark.parametrize("moment", KILLED_BEFORE)
def test_what_a_killed_run_left_is_done_by_the_next(started: Warehouse, moment: str) -> None:
    started.add([Event("a", "view_end", 5, arrived=20), Event("c", "scroll_pass", 6, arrived=20)])

    def kill(sql: str, _: object) -> None:
        if KILLED_BEFORE[moment] in sql:
            raise Killed

    with intercepted(kill):
        _, messages = started.try_dbt("run", "-s", "int_session_states")
    assert len(messages) == 1
    inbox, touched, *_ = started.rows(WORK_LEFT)[0]
    assert (inbox, touched) == (0, 2)
    started.add([Event("b", "view_end", 8, arrived=20)])  # joins what is left
    build(started)
    assert totals(started) == {"a": (5000, 2), "b": (8000, 2), "c": (0, 1)}
    assert started.everything("int_session_states") == rebuilt(started)


def test_a_first_build_that_was_killed_is_made_good_by_the_next(warehouse: Warehouse) -> None:
    warehouse.add([Event("a", "view_start", 0), Event("b", "view_start", 0, user="u2")])
    warehouse.client.command("TRUNCATE TABLE session_inbox")  # built before, and the table was lost

    def kill(sql: str, _: object) -> None:
        if "insert into `dbt_tests`.`int_session_states`" in sql:
            raise Killed

    with intercepted(kill):
        _, messages = warehouse.try_dbt("run", "-s", "int_session_states")
    assert len(messages) == 1
    assert warehouse.everything("int_session_states") == []
    warehouse.add([Event("c", "scroll_pass", 6)])
    build(warehouse)
    assert totals(warehouse) == {"a": (0, 1), "b": (0, 1), "c": (0, 1)}
    assert warehouse.everything("int_session_states") == rebuilt(warehouse)


def test_a_kill_in_the_middle_of_the_insert_is_repaired(started: Warehouse) -> None:
    # An insert stores each month on its own: of a session across two, one state may be there and the other not.
    started.add([Event("a", "view_end", 86_400 * 40, arrived=20)])
    expected = build(started)
    keys = "SELECT user_id, session_key FROM int_session_states WHERE session_id = 'a' AND is_latest = 1"
    started.client.command(f"INSERT INTO touched_sessions {keys}")
    started.client.command("DELETE FROM int_session_states WHERE session_id = 'a' AND is_latest = 1")
    assert len(started.everything("int_session_states")) == len(expected) - 1 == 2
    assert build(started) == expected


def test_what_arrives_during_a_run_is_built_by_the_next(started: Warehouse) -> None:
    started.add([Event("a", "view_end", 5, arrived=20)])
    late = [Event("a", "view_end", 9, arrived=20), Event("c", "scroll_pass", 6, arrived=20)]

    def deliver(sql: str, _: object) -> None:
        if "truncate table" in sql:  # the last step: the rows are written
            started.add(late)

    with intercepted(deliver):
        started.dbt("run", "-s", "int_session_states")
    assert totals(started) == {"a": (5000, 2), "b": (0, 1)}
    assert started.rows(WORK_LEFT)[0][:2] == (2, 0)
    build(started)
    assert totals(started) == {"a": (9000, 3), "b": (0, 1), "c": (0, 1)}


def test_a_session_that_two_runs_at_once_inserted_twice_is_reported_and_whole_when_touched(
    started: Warehouse,
) -> None:
    # Runs of the job wait for each other; this is what it would take to notice that they did not.
    started.client.command(
        "INSERT INTO int_session_states SELECT * FROM int_session_states WHERE session_id = 'a'"
    )
    assert len(build(started)) == 3
    _, messages = started.try_dbt("test", "-s", "int_session_states_grain_is_unique")
    assert [message.split(",")[0] for message in messages] == [
        "int_session_states_grain_is_unique: fail: Got 1 result"
    ]
    started.add([Event("a", "view_start", 0, arrived=10)])
    build(started)
    assert totals(started) == {"a": (0, 1), "b": (0, 1)}


def test_users_and_sessions_of_one_key_are_kept_apart(warehouse: Warehouse) -> None:
    # A hash of 64 bits: in a year of 20 million sessions a day some of them meet. Here all of them do.
    expression = warehouse.rows(
        "SELECT default_expression FROM system.columns WHERE database = currentDatabase()"
        " AND table = 'playback_events' AND name = 'session_key'"
    )[0][0]
    change = "ALTER TABLE playback_events MODIFY COLUMN session_key UInt64 MATERIALIZED "
    warehouse.client.command(change + "7")
    try:
        warehouse.add([Event("a", "view_start", 0), Event("b", "view_start", 0)])
        warehouse.add([Event("c", "view_start", 0, user="u2"), Event("a", "like", 1, video="v2")])
        build(warehouse)
        warehouse.add([Event("c", "view_end", 5, user="u2")])
        warehouse.client.command(
            "INSERT INTO session_inbox VALUES ('u2', 7)"
        )  # the writer computes the hash itself
        after = build(warehouse)
        sessions = warehouse.rows(
            "SELECT session_id, user_id, video_id, num_events FROM watch_sessions ORDER BY ALL"
        )
        assert sessions == [
            ("a", "u1", "v1", 1),
            ("a", "u1", "v2", 1),
            ("b", "u1", "v1", 1),
            ("c", "u2", "v1", 2),
        ]
        assert after == rebuilt(warehouse)
    finally:
        warehouse.client.command(change + expression)


def test_an_increment_after_a_full_rebuild_starts_from_it(started: Warehouse) -> None:
    started.add([Event("a", "view_end", 5, arrived=20)])
    assert rebuilt(started) == build(started)
    started.add([Event("b", "view_end", 6, arrived=20)])
    build(started)
    assert totals(started) == {"a": (5000, 2), "b": (6000, 2)}


def test_a_session_across_hours_is_one_row_of_watch_sessions(started: Warehouse) -> None:
    started.add([Event("a", "like", 30, arrived=20), Event("a", "view_end", 7200, arrived=20)])
    build(started)
    assert totals(started) == {"a": (7_200_000, 3), "b": (0, 1)}
    # Three hours had events of it; nothing of the old state, in which it had one, is left.
    assert started.rows(
        "SELECT num_events, num_likes, is_latest FROM int_session_states WHERE session_id = 'a' ORDER BY hour"
    ) == [(1, 0, 0), (2, 1, 0), (3, 1, 1)]


def test_a_temporary_table_that_may_be_in_use_stays(started: Warehouse) -> None:
    leftover = "int_session_states__dbt_new_data_11111111_2222_3333_4444_555555555555"
    started.client.command(f"CREATE TABLE {leftover} (x Int8) ENGINE = MergeTree ORDER BY x")
    build(started)
    assert started.rows(f"EXISTS TABLE {leftover}") == [(1,)]
    started.client.command(f"DROP TABLE {leftover}")
    assert started.rows("SELECT name FROM system.tables WHERE name LIKE '%dbt_new_data%'") == []

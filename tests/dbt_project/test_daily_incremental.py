"""The daily tables follow the sessions: the days that a rebuilt session has or had rows on, and no other."""

from datetime import date

import pytest

from .replay import MODELS, intercepted
from .warehouse import WORK_LEFT, Event, Warehouse

DAY = 86_400
MAY_1, MAY_2, MAY_3 = (date(2022, 5, day) for day in (1, 2, 3))
DAILY = MODELS[1:]


def build(warehouse: Warehouse, *models: str) -> None:
    warehouse.dbt("run", "-s", *(models or MODELS))


def users(warehouse: Warehouse) -> list[tuple[object, ...]]:
    """(day, user, sessions, watch time in ms, completed, videos played)."""
    return warehouse.rows(
        "SELECT activity_date, user_id, sessions, watch_time_ms, completed, played_video_ids"
        " FROM int_daily_user_activity ORDER BY ALL"
    )


def videos(warehouse: Warehouse) -> list[tuple[object, ...]]:
    """(day, video, sessions, watch time in ms, completed, viewers)."""
    return warehouse.rows(
        "SELECT activity_date, video_id, sessions, watch_time_ms, completed, length(viewers)"
        " FROM int_daily_video_activity ORDER BY ALL"
    )


@pytest.fixture
def started(warehouse: Warehouse) -> Warehouse:
    """On May 1 u1 watches v1 for 5 s, and u2 comes to v1; on May 3 u2 passes v2. All of it built."""
    warehouse.add(
        [
            Event("a", "view_start", 0, arrived=10),
            Event("a", "view_end", 5, arrived=10),
            Event("b", "view_start", 1, user="u2", arrived=10, name="b started"),
            Event("c", "scroll_pass", 2 * DAY, user="u2", video="v2", arrived=10),
        ]
    )
    build(warehouse)
    assert users(warehouse) == [
        (MAY_1, "u1", 1, 5000, 1, ["v1"]),
        (MAY_1, "u2", 1, 0, 0, ["v1"]),
        (MAY_3, "u2", 1, 0, 0, []),
    ]
    assert videos(warehouse) == [(MAY_1, "v1", 2, 5000, 1, 2), (MAY_3, "v2", 1, 0, 0, 1)]
    return warehouse


def test_a_session_across_midnight_counts_on_its_first_day_and_what_it_gains_on_the_next(
    started: Warehouse,
) -> None:
    started.add([Event("a", "like", 100, arrived=20), Event("b", "view_end", 61, user="u2", arrived=20)])
    build(started)
    assert users(started) == [
        (MAY_1, "u1", 1, 5000, 1, ["v1"]),
        (MAY_1, "u2", 1, 0, 0, ["v1"]),
        (MAY_2, "u1", 0, 0, -1, ["v1"]),  # it looked completed until it went on
        (MAY_2, "u2", 0, 60_000, 1, ["v1"]),
        (MAY_3, "u2", 1, 0, 0, []),
    ]
    assert videos(started) == [
        (MAY_1, "v1", 2, 5000, 1, 2),
        (MAY_2, "v1", 0, 60_000, 0, 2),
        (MAY_3, "v2", 1, 0, 0, 1),
    ]


def test_other_days_are_not_written_again(started: Warehouse) -> None:
    # Marks on a day that is touched and on one that is not.
    started.client.command(
        "ALTER TABLE int_daily_user_activity UPDATE follows = 99 WHERE 1", settings={"mutations_sync": 2}
    )
    started.add([Event("a", "view_end", 8, arrived=20)])
    build(started)
    assert started.rows(
        "SELECT activity_date, user_id, follows FROM int_daily_user_activity ORDER BY ALL"
    ) == [
        (MAY_1, "u1", 0),
        (MAY_1, "u2", 0),
        (MAY_3, "u2", 99),
    ]


def test_a_day_that_its_last_session_leaves_is_empty(started: Warehouse) -> None:
    # A newer delivery of the event says that it happened a day later.
    started.add([Event("b", "view_start", DAY, user="u2", arrived=20, name="b started")])
    build(started)
    assert users(started) == [
        (MAY_1, "u1", 1, 5000, 1, ["v1"]),
        (MAY_2, "u2", 1, 0, 0, ["v1"]),
        (MAY_3, "u2", 1, 0, 0, []),
    ]
    assert videos(started) == [
        (MAY_1, "v1", 1, 5000, 1, 1),
        (MAY_2, "v1", 1, 0, 0, 1),
        (MAY_3, "v2", 1, 0, 0, 1),
    ]


def test_days_wait_while_only_the_sessions_are_built(started: Warehouse) -> None:
    before = users(started)
    started.add([Event("a", "view_end", 8, arrived=20)])
    build(started, MODELS[0])
    started.add([Event("b", "like", 1, user="u2", arrived=30)])
    build(started, MODELS[0])
    assert users(started) == before
    build(started, *DAILY)
    assert users(started)[0] == (MAY_1, "u1", 1, 8000, 1, ["v1"])
    assert videos(started)[0] == (MAY_1, "v1", 2, 8000, 1, 2)
    assert started.rows(WORK_LEFT) == [(0, 0, 0, 0)]


def test_a_daily_table_is_right_again_after_any_kill(started: Warehouse) -> None:
    expected = None
    for step in ("alter table `dbt_tests`.`activity_inbox`", "delete from", "insert into", "drop partition"):

        def kill(sql: str, _: object, step: str = step) -> None:
            if step in sql and "int_daily" in sql:
                raise InterruptedError

        started.add([Event("a", "view_end", 8, arrived=20)])
        build(started, MODELS[0])
        with intercepted(kill):
            _, messages = started.try_dbt("run", "-s", *DAILY)
        assert len(messages) == 2
        build(started, *DAILY)
        expected = expected or [(MAY_1, "u1", 1, 8000, 1, ["v1"]), *users(started)[1:]]
        assert users(started) == expected
        assert videos(started)[0] == (MAY_1, "v1", 2, 8000, 1, 2)
        assert started.rows(WORK_LEFT) == [(0, 0, 0, 0)]


def test_days_built_while_a_killed_run_had_taken_a_session_out_are_built_again(started: Warehouse) -> None:
    expected = users(started), videos(started)
    started.add([Event("a", "view_start", 0, arrived=10)])

    def kill(sql: str, _: object) -> None:
        if "insert into `dbt_tests`.`int_session_states` " in sql:
            raise InterruptedError

    with intercepted(kill):
        started.try_dbt("run", "-s", MODELS[0])
    build(started, *DAILY)
    assert videos(started)[0] == (MAY_1, "v1", 1, 0, 0, 1)  # the session is gone, for now
    build(started)
    assert (users(started), videos(started)) == expected


def test_sessions_rebuilt_in_full_bring_every_day_along(started: Warehouse) -> None:
    expected = users(started), videos(started)
    for model in DAILY:
        started.client.command(f"DELETE FROM {model} WHERE activity_date = '2022-05-01'")
    started.dbt("run", "-s", MODELS[0], "--full-refresh")
    build(started, *DAILY)
    assert (users(started), videos(started)) == expected


def test_a_lost_daily_table_is_built_in_full(started: Warehouse) -> None:
    expected = users(started), videos(started)
    for model in DAILY:
        started.client.command(f"DROP TABLE {model}")
    build(started)
    assert (users(started), videos(started)) == expected


def test_a_lost_table_of_sessions_brings_every_day_along(started: Warehouse) -> None:
    started.client.command("DROP TABLE int_session_states")
    started.client.command("DELETE FROM playback_events WHERE session_id = 'a'")
    build(started)
    assert users(started) == [(MAY_1, "u2", 1, 0, 0, ["v1"]), (MAY_3, "u2", 1, 0, 0, [])]
    assert videos(started) == [(MAY_1, "v1", 1, 0, 0, 1), (MAY_3, "v2", 1, 0, 0, 1)]


@pytest.mark.parametrize("table", DAILY)
def test_a_first_build_of_days_that_was_killed_is_made_good_by_the_next(
    started: Warehouse, table: str
) -> None:
    before = started.everything(table)
    started.client.command(f"DROP TABLE {table}")

    def kill(sql: str, _: object) -> None:
        if f"insert into `dbt_tests`.`{table}`" in sql:
            raise InterruptedError

    with intercepted(kill):
        _, messages = started.try_dbt("run", "-s", table)
    assert len(messages) == 1
    assert started.everything(table) == []
    build(started, table)
    assert started.everything(table) == before
    assert started.rows(WORK_LEFT)[0][3] == 0

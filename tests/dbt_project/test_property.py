"""Any stream, order, batches and repeats, killed anywhere: increments give the full rebuild, row for row."""

import os
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import reference
from .reference import MEASURES, State
from .replay import MODELS, Replay, record
from .streams import HOURS, TOGETHER, Run, histories
from .warehouse import T0, WORK_LEFT, Event, Warehouse

STREAMS = int(os.environ.get("REELGRAPH_PROPERTY_STREAMS", "500"))
# The same streams each time: a run that fails can be repeated.
hostile = partial(
    settings, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def replay(shared_warehouse: Warehouse) -> Iterator[Replay]:
    shared_warehouse.clear()
    shared_warehouse.dbt("run", "-s", *MODELS)
    full = record(shared_warehouse, "--full-refresh")
    replay = Replay(shared_warehouse, record(shared_warehouse), full)
    replay.prepare()
    yield replay
    shared_warehouse.clear()


def play(replay: Replay, runs: list[Run]) -> None:
    """From an empty warehouse."""
    replay.reset()
    for run, following in zip(runs, [*runs[1:], None], strict=True):
        if run.arrive_at is None:
            replay.warehouse.add(run.deliveries)
        meanwhile = {}
        if following is not None and following.arrive_at is not None:
            meanwhile[following.arrive_at] = partial(replay.warehouse.add, following.deliveries)
        replay.set_durations(run.durations)
        replay.run(meanwhile, run.kill_after)


def all_deliveries(runs: list[Run]) -> list[Event]:
    return [event for run in runs for event in run.deliveries]


def rows_of(warehouse: Warehouse, table: str) -> list[dict[str, Any]]:
    result = warehouse.client.query(f"SELECT * FROM {table}", tz_mode="aware")
    return list(result.named_results())


def in_order(rows: list[State]) -> list[State]:
    return sorted(
        rows, key=lambda row: tuple(str(row[c]) for c in ("session_id", "user_id", "video_id", "hour"))
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
@given(runs=histories())
@hostile(max_examples=STREAMS // TOGETHER)
def test_increments_give_the_full_rebuild_and_the_reference(replay: Replay, runs: list[Run]) -> None:
    play(replay, runs)
    warehouse = replay.warehouse
    for model in MODELS:
        replay.rebuild(model)
        assert replay.rows(model) == replay.rows(f"{model}__rebuilt")
    assert warehouse.rows(WORK_LEFT) == [(0, 0, 0, 0)]

    expected = reference.states(all_deliveries(runs), runs[-1].durations)
    built = rows_of(warehouse, "(SELECT * EXCEPT session_key FROM int_session_states)")
    assert in_order(built) == in_order(expected)
    for model, key, members in (
        ("int_daily_user_activity", "user_id", "played_video_ids"),
        ("int_daily_video_activity", "video_id", "viewers"),
    ):
        other = "video_id" if key == "user_id" else "user_id"
        days = reference.daily(expected, key, other)
        # The ids of videos are in order; of users only the number is kept.
        assert {
            (row["activity_date"], row[key]): ([row[m] for m in MEASURES], row[members])
            for row in rows_of(warehouse, f"(SELECT {replay.columns(model)} FROM {model})")
        } == {
            day: (sums, sorted(ids, key=str.encode) if members == "played_video_ids" else len(ids))
            for day, (sums, ids) in days.items()
        }


@pytest.mark.slow
@given(runs=histories(), hours=st.sampled_from([*HOURS, 24 * 365]), into=st.integers(-8, 8))
@hostile(max_examples=max(STREAMS // TOGETHER // 5, 1))
def test_the_changes_before_a_moment_add_up_to_the_sessions_as_they_stood(
    replay: Replay, runs: list[Run], hours: int, into: int
) -> None:
    play(replay, runs)
    warehouse = replay.warehouse
    x = reference.hour_of(T0) + timedelta(hours=1 + hours)
    sums = ", ".join(f"sum({name})" for name in MEASURES)
    changes = f"SELECT {sums} FROM int_session_changes WHERE"
    text = f"toDateTime64('{x:%Y-%m-%d %H:%M:%S}', 3, 'UTC')"
    until_x = list(warehouse.rows(f"{changes} hour < {text}")[0])
    # Within an hour, a session stands as its last state that has ended by then.
    moment = x + timedelta(milliseconds=5000 * into)
    until_moment = list(
        warehouse.rows(f"{changes} ended_at < {text} + interval {5000 * into} millisecond")[0]
    )
    durations = runs[-1].durations
    expected = reference.states(all_deliveries(runs), durations)
    assert until_moment == reference.total(reference.standing(expected, "ended_at", moment))

    before = [
        event
        for events in reference.sessions_of(all_deliveries(runs)).values()
        for event in events
        if event.when < x
    ]
    play(replay, [Run(tuple(before), None, durations, None)])
    assert until_x == reference.total(rows_of(warehouse, "watch_sessions"))


def test_the_statements_do_not_depend_on_the_data_and_give_what_dbt_gives(replay: Replay) -> None:
    warehouse = replay.warehouse
    batches = [
        [Event("a", "view_start", 0, arrived=9), Event("b", "view_start", 1, user="u2", arrived=9)],
        [Event("a", "view_end", 40, arrived=8), Event("c", "scroll_pass", 4000, video="v2", arrived=0)],
        [
            Event("a", "view_end", 90, arrived=10, name="later"),
            Event("b", "like", -90_000, user="u2", arrived=1),
        ],
    ]
    play(replay, [Run(tuple(batch), None, {"v1": 900}, None) for batch in batches])
    replayed = {model: replay.rows(model) for model in MODELS}
    assert [len(rows) for rows in replayed.values()] == [5, 4, 4]

    replay.reset()
    replay.set_durations({"v1": 900})
    for batch in batches:
        warehouse.add(batch)
        assert record(warehouse) == replay.increment
    assert {model: replay.rows(model) for model in MODELS} == replayed
    assert record(warehouse, "--full-refresh") == replay.full
    assert {model: replay.rows(model) for model in MODELS} == replayed

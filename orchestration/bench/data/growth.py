"""One size of the platform: its events made, its sessions and daily tables built in full, and two increments on top."""

from dataclasses import dataclass

from orchestration.bench.data import generate, increments
from orchestration.bench.data.dbt_run import dbt_run
from orchestration.bench.data.increments import Increment
from orchestration.bench.data.meter import Meter
from orchestration.bench.data.plan import Plan, users_of
from orchestration.bench.data.stores import Stores

SLICE = 2_000_000
"""Plays an insert: how much is generated at once."""
DAILY_TABLES = ("int_session_changes", "int_daily_user_activity", "int_daily_video_activity")


@dataclass(frozen=True)
class Size:
    """Seconds are the models' own, as dbt says them; `*_command_s` those of the whole command. Memory: ClickHouse's."""

    events: int
    sessions: int
    bytes_per_event: float
    bytes_per_session: float
    generated_s: float
    sessions_s: float
    sessions_command_s: float
    sessions_cpu_s: float
    sessions_peak_gb: float
    daily_tables_s: float
    daily_tables_peak_gb: float
    increment: Increment
    late: Increment


def measure_size(stores: Stores, plan: Plan, events: int) -> Size:
    """Add events up to `events`; everything is built anew from all there are."""
    generated_s = _grow(stores, plan, events)
    stores.settle()
    bytes_per_event = _bytes_per_row(stores, "playback_events")
    with Meter(stores.clickhouse) as sessions_meter:
        sessions = dbt_run(stores.settings, *increments.SESSIONS, "--full-refresh")
    bytes_per_session = _bytes_per_row(stores, "int_session_states")
    with Meter(stores.clickhouse) as daily_meter:
        daily = dbt_run(stores.settings, "--full-refresh", "--select", *DAILY_TABLES)
    count = stores.value("SELECT count() FROM watch_sessions")
    round_ = 1 + plan.sizes.index(events)
    there = stores.value("SELECT count() FROM playback_events")
    increments.insert_next_minutes(stores, plan, users_of(events), round_)
    increment = increments.build_increment(stores, there, plan.new_sessions)
    there += increment.events
    increments.insert_late_events(stores, plan, round_)
    late = increments.build_increment(stores, there, 0)
    return Size(
        events=events,
        sessions=count,
        bytes_per_event=bytes_per_event,
        bytes_per_session=bytes_per_session,
        generated_s=generated_s,
        sessions_s=sessions.seconds("int_session_states"),
        sessions_command_s=sessions.command_s,
        sessions_cpu_s=sessions_meter.cpu_s,
        sessions_peak_gb=sessions_meter.peak_gb,
        daily_tables_s=daily.seconds(*DAILY_TABLES),
        daily_tables_peak_gb=daily_meter.peak_gb,
        increment=increment,
        late=late,
    )


def _grow(stores: Stores, plan: Plan, events: int) -> float:
    """Make the events that are missing for this size; its seconds."""
    before = [size for size in plan.sizes if size < events]
    play = before[-1] // generate.EVENTS_PER_PLAY if before else 0
    last = events // generate.EVENTS_PER_PLAY
    with Meter(stores.clickhouse) as meter:
        while play < last:
            plays = min(SLICE, last - play)
            generate.insert_day(stores, play, plays, plan.videos)
            play += plays
    return round(meter.seconds, 1)


def _bytes_per_row(stores: Stores, table: str) -> float:
    value = stores.value(
        "SELECT sum(bytes_on_disk) / sum(rows) FROM system.parts"
        " WHERE active AND database = currentDatabase() AND table = {table:String}",
        table=table,
    )
    return round(float(value), 1)

"""When sessions and features are built: by what waits in the journal, so that no run is started for nothing."""

from datetime import UTC, datetime

import dagster as dg

from ingestion.journal import DAYS, SESSIONS, data_clock, features_as_of, journal_rows
from orchestration.automation import Decision, decide_features, decide_sessions
from orchestration.dbt import whole_table_checks
from orchestration.defs.backfill import BACKFILL
from orchestration.defs.data_quality import ANOMALIES_BY_DAY, SOURCE_CHECKS
from orchestration.resources import Stores
from stack.settings import load_settings

RUNNING = dg.DefaultScheduleStatus.RUNNING
FEATURES = dg.AssetSelection.groups("features") - BACKFILL


@dg.definitions
def feature_jobs() -> dg.Definitions:
    whole_table = dg.AssetSelection.checks(*whole_table_checks(load_settings()))
    features_job = dg.define_asset_job(
        "features_job",
        selection=(FEATURES - whole_table | SOURCE_CHECKS) - ANOMALIES_BY_DAY,
        description="All dbt models and their quick tests, what is written back to Postgres, the online copy.",
    )
    # Builds first: between two hourly runs sessions are newer than the sums of their days, which is no fault.
    data_tests_job = dg.define_asset_job(
        "data_tests_job",
        selection=FEATURES | SOURCE_CHECKS,
        description="As features_job, with the tests that read whole tables and the watch for unusual days.",
    )
    schedules = [
        dg.schedule(
            name="sessions_every_5_minutes",
            job=sessions_job,
            cron_schedule="*/5 * * * *",
            default_status=RUNNING,
            description="Contract R1.2: sessions every 5 minutes, if anything has arrived.",
        )(sessions_wanted),
        dg.schedule(
            name="features_hourly",
            job=features_job,
            cron_schedule="20 * * * *",
            default_status=RUNNING,
            description="Every feature and its tests, if the features would come out different.",
        )(features_wanted),
        dg.schedule(
            name="data_tests_daily",
            job=data_tests_job,
            cron_schedule="0 4 * * *",
            default_status=RUNNING,
            description="The tests that read whole tables, once there are any.",
        )(data_tests_wanted),
        dg.schedule(
            name="online_features_half_hourly",
            job=online_features_job,
            cron_schedule="10,40 * * * *",
            default_status=RUNNING,
            description="R3: the online copy lives an hour, and is written twice in one, also while nothing changes.",
        )(online_features_wanted),
    ]
    return dg.Definitions(
        jobs=[sessions_job, features_job, data_tests_job, online_features_job], schedules=schedules
    )


sessions_job = dg.define_asset_job(
    "sessions_job",
    selection=(dg.AssetSelection.assets("watch_sessions").upstream() & FEATURES).without_checks(),
    description="Watch sessions touched since the last run, rebuilt whole. Their tests come with the hourly job.",
)
online_features_job = dg.define_asset_job(
    "online_features_job",
    selection=dg.AssetSelection.assets("online_features").without_checks(),
    description="The online copy again, before it expires.",
)


def sessions_wanted(context: dg.ScheduleEvaluationContext, stores: Stores) -> dg.RunRequest | dg.SkipReason:
    with stores.clickhouse() as client:
        waiting = journal_rows(client, *SESSIONS)
    return _request(
        decide_sessions(waiting=waiting, last_status=_last_status(context.instance, "sessions_job"))
    )


def features_wanted(context: dg.ScheduleEvaluationContext, stores: Stores) -> dg.RunRequest | dg.SkipReason:
    with stores.clickhouse() as client:
        waiting = journal_rows(client, *SESSIONS, *DAYS)
        clock, built_as_of = data_clock(client), features_as_of(client)
    success = _last_success(context.instance, "features_job")
    rebuilt = context.instance.get_latest_materialization_event(dg.AssetKey("rebuilt_days"))
    decision = decide_features(
        waiting=waiting,
        clock=clock,
        built_as_of=built_as_of,
        rebuilt_since=rebuilt is not None and (success is None or rebuilt.timestamp > success.timestamp()),
        last_status=_last_status(context.instance, "features_job"),
        last_success=success,
        now=datetime.now(UTC),
    )
    return _request(decision)


def data_tests_wanted(stores: Stores) -> dg.RunRequest | dg.SkipReason:
    return _once_there_are_features(stores)


def online_features_wanted(stores: Stores) -> dg.RunRequest | dg.SkipReason:
    return _once_there_are_features(stores)


def _once_there_are_features(stores: Stores) -> dg.RunRequest | dg.SkipReason:
    with stores.clickhouse() as client:
        if features_as_of(client) is None:
            return dg.SkipReason("no features yet")
    return dg.RunRequest()


def _request(decision: Decision) -> dg.RunRequest | dg.SkipReason:
    if not decision.run:
        return dg.SkipReason(decision.reason)
    return dg.RunRequest(tags={"reelgraph/reason": decision.reason})


def _last_status(instance: dg.DagsterInstance, job: str) -> str | None:
    runs = instance.get_runs(dg.RunsFilter(job_name=job), limit=1)
    return runs[0].status.value if runs else None


def _last_success(instance: dg.DagsterInstance, job: str) -> datetime | None:
    """When the job's last successful run was asked for."""
    done = dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.SUCCESS])
    records = instance.get_run_records(done, limit=1)
    return records[0].create_timestamp if records else None

"""Jobs by stage, one for all; schedules; and the sensors that close the loop."""

from datetime import UTC, datetime

import dagster as dg

from orchestration.automation import PromotionCursor, decide_promotion, decide_retraining
from orchestration.resources import Stores
from stack.dagster_home import EXCLUSIVE_TAG

# Runs that write tables or models wait for each other. A bundle is built beside them: a rollback must not wait
# for a training to end (a bundle is published atomically, and the promotion sensor repairs a lost race).
PIPELINE = {EXCLUSIVE_TAG: "pipeline"}
BUNDLE_TAG = {"reelgraph/builds_bundle": "true"}
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]

groups = dg.AssetSelection.groups

everything_job = dg.define_asset_job(
    "everything_job",
    selection=dg.AssetSelection.all(),
    description="The whole graph, from raw events to a served feed.",
    tags=PIPELINE | BUNDLE_TAG,
)
ingestion_job = dg.define_asset_job(
    "ingestion_job", selection=groups("ingestion"), description="People, videos and events.", tags=PIPELINE
)
features_job = dg.define_asset_job(
    "features_job", selection=groups("features"), description="All dbt models and their tests.", tags=PIPELINE
)
sessions_job = dg.define_asset_job(
    "sessions_job",
    selection=dg.AssetSelection.assets("watch_sessions").upstream() & groups("features"),
    description="Watch sessions touched since the last run, rebuilt whole.",
    tags=PIPELINE,
)
training_job = dg.define_asset_job(
    "training_job",
    selection=groups("features", "training", "serving"),
    description="Fresh features, a training set, models, judgement, registration and a served bundle.",
    tags=PIPELINE | BUNDLE_TAG,
)
serving_job = dg.define_asset_job(
    "serving_job",
    selection=groups("serving"),
    description="A bundle from the models the MLflow aliases point to now.",
    tags={EXCLUSIVE_TAG: "bundle"} | BUNDLE_TAG,
)
monitoring_job = dg.define_asset_job(
    "monitoring_job", selection=groups("monitoring"), description="The drift report.", tags=PIPELINE
)

sessions_schedule = dg.ScheduleDefinition(
    name="sessions_every_5_minutes",
    job=sessions_job,
    cron_schedule="*/5 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Contract R1.2: sessions every 5 minutes.",
)
training_schedule = dg.ScheduleDefinition(
    name="training_daily",
    job=training_job,
    cron_schedule="0 2 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Contract R5: training daily at 02:00 UTC.",
)
monitoring_schedule = dg.ScheduleDefinition(
    name="drift_hourly",
    job=monitoring_job,
    cron_schedule="30 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Compares what people do with what the models were trained on.",
)


@dg.sensor(
    job=training_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Retrains when behaviour has drifted from what the models know, with a cooldown.",
)
def drift_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    drift = _latest_metadata(context.instance, "drift_report")
    trained = _latest_metadata(context.instance, "training_set")
    now = datetime.now(UTC)
    decision = decide_retraining(
        drifted=bool(drift["drifted"].value) if drift else None,
        drift_as_of=str(drift["as of"].value) if drift else None,
        trained_as_of=str(trained["as of"].value) if trained else None,
        last_requested=datetime.fromisoformat(context.cursor) if context.cursor else None,
        now=now,
    )
    if not decision.run:
        return dg.SkipReason(decision.reason)
    request = dg.RunRequest(tags={"reelgraph/trigger": "drift", "reelgraph/reason": decision.reason})
    return dg.SensorResult(run_requests=[request], cursor=now.isoformat())


@dg.sensor(
    job=serving_job,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Builds and serves a bundle when someone moves the `champion` alias in the MLflow UI.",
)
def promotion_sensor(context: dg.SensorEvaluationContext, stores: Stores) -> dg.SensorResult | dg.SkipReason:
    from serving import bento, bundle, registry

    settings = stores.settings
    try:
        champion = registry.by_alias(settings, "champion")
    except registry.RegistryUnavailableError as error:
        return dg.SkipReason(f"MLflow does not answer: {error}")
    tag = bento.current(settings)
    served = bundle.read_record(bento.bundle_dir(settings, tag)) if tag else None
    building = context.instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED, tags=BUNDLE_TAG)) > 0
    decision, cursor = decide_promotion(
        champion=champion.version if champion else None,
        serving=served.models[served.champion].version if served else None,
        building=building,
        cursor=PromotionCursor.parse(context.cursor),
        now=datetime.now(UTC),
    )
    requests = (
        [dg.RunRequest(tags={"reelgraph/trigger": "promotion", "reelgraph/reason": decision.reason})]
        if decision.run
        else []
    )
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else dg.SkipReason(decision.reason),
        cursor=cursor.dump(),
    )


def _latest_metadata(instance: dg.DagsterInstance, asset: str) -> dict[str, dg.MetadataValue] | None:
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    materialization = event.asset_materialization if event else None
    return dict(materialization.metadata) if materialization else None

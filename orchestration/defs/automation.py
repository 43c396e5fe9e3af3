"""Jobs by stage, one for all; schedules; and the sensors that close the loop. For the features see feature_jobs.py."""

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from orchestration.automation import (
    PromotionCursor,
    decide_promotion,
    decide_retraining,
)
from orchestration.defs.backfill import BACKFILL
from orchestration.defs.data_quality import FEATURE_CHECKS
from orchestration.defs.tuning import TUNING
from orchestration.metadata import latest_metadata
from orchestration.resources import Stores
from stack.settings import Settings

if TYPE_CHECKING:
    from serving.bundle import BundleRecord

logger = logging.getLogger(__name__)

# Without NOT_STARTED: a launch that broke half-way leaves a run there for ever.
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

groups = dg.AssetSelection.groups

everything_job = dg.define_asset_job(
    "everything_job",
    selection=dg.AssetSelection.all() - BACKFILL - TUNING,
    description="The whole graph, from raw events to a served feed.",
)
ingestion_job = dg.define_asset_job(
    "ingestion_job", selection=groups("ingestion"), description="People, videos and events."
)
training_job = dg.define_asset_job(
    "training_job",
    selection=(groups("training", "serving") - TUNING) | FEATURE_CHECKS,
    description="A training set of what the warehouse holds, models, judgement, registration, a served bundle.",
)
serving_job = dg.define_asset_job(
    "serving_job",
    selection=groups("serving"),
    description="A bundle from the models the MLflow aliases point to now.",
)
monitoring_job = dg.define_asset_job(
    "monitoring_job",
    selection=groups("monitoring"),
    description="The drift report, and what the experiments say.",
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
    description="Compares what people do with what the models were trained on, and the variants of experiments.",
)


@dg.sensor(
    job=training_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Retrains when behaviour has drifted from what the models know, with a cooldown.",
)
def drift_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    drift = latest_metadata(context.instance, "drift_report")
    trained = latest_metadata(context.instance, "registered_models")
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
    description="Serves what someone moves the `champion` alias to in the MLflow UI, and records that it was by hand.",
)
def promotion_sensor(context: dg.SensorEvaluationContext, stores: Stores) -> dg.SensorResult | dg.SkipReason:
    from orchestration.promotion import observation
    from serving.registry import promotion as registry_promotion
    from serving.registry import registry
    from serving.registry.registry import DAGSTER_RUN_TAG

    settings = stores.settings
    try:
        by_hand = registry_promotion.record_manual_promotion(settings)
        champion = registry.by_alias(settings, "champion")
    except registry.RegistryUnavailableError as error:
        return dg.SkipReason(f"MLflow does not answer: {error}")
    served = _served_record(settings)
    decision, cursor = decide_promotion(
        champion=champion.version if champion else None,
        serving=served.models[served.champion].version if served else None,
        building=_is_being_built(context.instance, champion.tags.get(DAGSTER_RUN_TAG) if champion else None),
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
        asset_events=[observation(by_hand)] if by_hand else [],
        skip_reason=None if requests else dg.SkipReason(decision.reason),
        cursor=cursor.dump(),
    )


def _is_being_built(instance: dg.DagsterInstance, made_by: str | None) -> bool:
    """Whether a run will build the champion's bundle anyway: a serving job, or the very run that made the version
    and has its bundle still to come. Any other training under way must not hold a promotion up."""
    if instance.get_runs_count(dg.RunsFilter(job_name=serving_job.name, statuses=UNFINISHED)):
        return True
    run = instance.get_run_by_id(made_by) if made_by else None
    return run is not None and run.status in UNFINISHED


def _served_record(settings: Settings) -> "BundleRecord | None":
    """The record of the published bundle; None before the first, or if it cannot be read and must be built anew."""
    from serving import bento, bundle
    from serving.errors import BundleError

    tag = bento.current(settings)
    try:
        return bundle.read_record(bento.bundle_dir(settings, tag)) if tag else None
    except BundleError:
        logger.warning("the published bundle %s cannot be read", tag, exc_info=True)
        return None

"""Promotion: the gate decides whether this run's best model serves, and says why."""

from datetime import UTC, datetime

import dagster as dg
from dagster import MetadataValue
from pydantic import Field

from orchestration.code_versions import code_version
from orchestration.metadata import markdown_table
from orchestration.pools import MODELS
from orchestration.promotion import PromotionDecision, Run, decide_and_promote
from orchestration.records import Judgement, RegisteredModels, TrainingSet
from orchestration.resources import Stores


class PromotionConfig(dg.Config):
    """What a person may say when starting this by hand."""

    kind: str | None = Field(
        default=None,
        description="to challenge the champion; the best on validation rows if unset. Another must win by more",
    )
    reason: str | None = Field(
        default=None,
        description="why it may serve without winning: smaller, faster or more diverse; the gate measures it",
    )


@dg.asset(
    group_name="training",
    kinds={"mlflow"},
    owners=["team:ml"],
    code_version=code_version("ml", "serving/registry/promotion.py", "orchestration/promotion.py"),
    pool=MODELS,
    retry_policy=dg.RetryPolicy(max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL),
)
def promotion_decision(
    context: dg.AssetExecutionContext,
    config: PromotionConfig,
    stores: Stores,
    training_set: TrainingSet,
    model_evaluation: Judgement,
    registered_models: RegisteredModels,
) -> dg.Output[PromotionDecision]:
    """`challenger`, the best kind on validation rows, becomes `champion` only by a paired win beyond noise on the same
    test rows, with every guardrail kept; or the champion's recipe is renewed on newer data. Every check with its
    figures, on the version in MLflow too.

    A champion that somebody moved by hand during the training stays."""
    from serving.registry import registry

    settings = stores.settings
    run = Run(
        dagster_run_id=context.run_id,
        started=_started(context),
        versions=registered_models.versions,
        folders={kind: settings.home / "models" / kind for kind in registered_models.versions},
        judgement=model_evaluation,
        training_set=training_set,
    )
    made = decide_and_promote(
        settings, run, challenger=config.kind, reason=config.reason, log=context.log.info
    )
    champion = f"{made.champion_kind}, version {made.champion_version}" if made.champion_version else "none"
    checks = [
        {"of": decision["challenger"], **{k: check[k] for k in ("name", "passed", "value", "limit")}}
        for decision in made.decisions
        for check in decision["checks"]
    ]
    evidence = made.decisions[0]["evidence"] or {}
    return dg.Output(
        made,
        metadata={
            "promoted": made.promoted,
            "reason": made.reason,
            "champion": champion,
            "champion before": made.champion_before or "none",
            "challenger": f"{made.challenger_kind}, version {made.challenger_version}",
            "decision": MetadataValue.md(made.text),
            "checks": markdown_table(checks),
            **{name: float(evidence[name]) for name in ("difference", "low", "high", "p_value") if evidence},
            **({"by hand": made.by_hand} if made.by_hand else {}),
            "challenger in MLflow": MetadataValue.url(registry.model_url(settings, made.challenger_version)),
        },
    )


def _started(context: dg.AssetExecutionContext) -> datetime:
    """When this Dagster run began, which was before any model of it was trained."""
    record = context.instance.get_run_record_by_id(context.run_id)
    began = record.start_time if record else None
    return datetime.fromtimestamp(began, UTC) if began else datetime.now(UTC)

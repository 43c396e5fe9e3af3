"""Evaluation and registration: all kinds judged on the same held-out users, then registered in MLflow."""

import dagster as dg
from dagster import MetadataValue

from orchestration.code_versions import code_version
from orchestration.judging import describe_lead, flat_metrics
from orchestration.metadata import markdown_table, picture
from orchestration.pools import MODELS
from orchestration.records import Judgement, RegisteredModels, TrainedModel, TrainingSet
from orchestration.registration import dbt_invocation, register_all
from orchestration.resources import Stores

SHOWN = (
    "ndcg_at_10",
    "recall_at_20",
    "precision_at_10",
    "mrr_at_10",
    "coverage_at_10",
    "novelty_at_10",
    "rmse",
)
PICTURES = ("judgement", "differences", "slices", "trade_offs")


@dg.asset(
    group_name="training",
    kinds={"python"},
    owners=["team:ml"],
    code_version=code_version("ml"),
    pool=MODELS,
)
def model_evaluation(
    context: dg.AssetExecutionContext,
    stores: Stores,
    training_set: TrainingSet,
    svd_model: TrainedModel,
    als_model: TrainedModel,
    item_item_model: TrainedModel,
    content_model: TrainedModel,
    popularity_model: TrainedModel,
    two_tower_model: TrainedModel,
    hybrid_model: TrainedModel,
) -> dg.Output[Judgement]:
    """Global time split, full catalogue, every user's metric kept; the better kind by NDCG@10, with a 95% interval
    of the difference on the same users."""
    from ml.pipeline import judge

    trained = [svd_model, als_model, item_item_model, content_model]
    trained += [popularity_model, two_tower_model, hybrid_model]
    models = {model.kind: model for model in trained}
    out = stores.settings.home / "models" / "judgement"
    folders = {kind: model.path for kind, model in models.items()}
    judgement = judge(folders, training_set.path, out, seed=stores.settings.seed)
    metrics = {kind: flat_metrics(judgement, kind) for kind in models}
    record = Judgement(
        path=out, best_kind=judgement.better, metrics=metrics, training_set_hash=training_set.dvc_hash
    )
    return dg.Output(
        record,
        metadata={
            "better kind": judgement.better,
            "verdict": describe_lead(judgement),
            "test users": judgement.users,
            "of them new": judgement.new_users,
            "metrics": markdown_table(
                [{"kind": kind, **{name: m.get(name, "") for name in SHOWN}} for kind, m in metrics.items()]
            ),
            **{name.replace("_", "-"): picture(out / f"{name}.png") for name in PICTURES},
            "report": MetadataValue.path(str(out / "report.html")),
        },
    )


@dg.asset(
    group_name="training",
    kinds={"mlflow"},
    owners=["team:ml"],
    code_version=code_version("serving/registry/registry.py", "orchestration/registration.py"),
    pool=MODELS,
    retry_policy=dg.RetryPolicy(max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL),
)
def registered_models(
    context: dg.AssetExecutionContext,
    stores: Stores,
    training_set: TrainingSet,
    svd_model: TrainedModel,
    als_model: TrainedModel,
    item_item_model: TrainedModel,
    content_model: TrainedModel,
    popularity_model: TrainedModel,
    two_tower_model: TrainedModel,
    hybrid_model: TrainedModel,
    model_evaluation: Judgement,
) -> dg.Output[RegisteredModels]:
    """Versions of the registered model `recommender`, one a kind, each under an alias of its kind's name, with all they
    come from. Which of them serves is for `promotion_decision` to say."""
    from serving.registry import registry

    settings = stores.settings
    trained = [svd_model, als_model, item_item_model, content_model]
    trained += [popularity_model, two_tower_model, hybrid_model]
    versions = register_all(
        settings,
        training_set,
        trained,
        model_evaluation,
        dbt_invocation_id=dbt_invocation(context.instance),
    )
    return dg.Output(
        RegisteredModels(versions={kind: version.version for kind, version in versions.items()}),
        metadata={
            "as of": str(training_set.meta["as_of"]),
            "window start": str(training_set.meta["window_start"]),
            "registered model": MetadataValue.url(registry.model_url(settings)),
            **{
                f"MLflow run of {kind}": MetadataValue.url(registry.run_url(settings, version.run_id))
                for kind, version in versions.items()
            },
        },
    )

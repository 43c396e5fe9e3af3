"""Trains one kind of model through `ml.pipeline`, the function `dvc repro` calls too."""

import dagster as dg
from dagster import MetadataValue

from orchestration.records import TrainedModel, TrainingSet
from stack.settings import Settings


def train_model(
    context: dg.AssetExecutionContext, settings: Settings, kind: str, training_set: TrainingSet
) -> dg.Output[TrainedModel]:
    """Train into `<home>/models/<kind>`; progress goes to the run's log as it happens."""
    from ml.pipeline import default_config, train

    out = settings.home / "models" / kind
    config = default_config(kind, seed=settings.seed, epochs=settings.two_tower_epochs)
    report = train(kind, training_set.path, out, config=config, progress=context.log.info)
    record = TrainedModel(
        kind=kind,
        path=out,
        params=report.params,
        curves=report.curves,
        seconds=report.seconds,
        training_set_hash=training_set.dvc_hash,
        dagster_run_id=context.run_id,
    )
    return dg.Output(
        record,
        metadata={
            "path": MetadataValue.path(str(out)),
            "training set": training_set.dvc_hash,
            "seconds": round(report.seconds, 2),
            "parameters": MetadataValue.json(report.params),
            "last loss": {name: values[-1] for name, values in report.curves.items() if values},
            "dagster/row_count": report.rows,
        },
    )

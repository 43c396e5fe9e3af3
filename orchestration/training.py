"""Trains one kind of model through `ml.pipeline`, the function `dvc repro` calls too."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
from dagster import MetadataValue
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from orchestration.records import TrainedModel, TrainingSet
from stack.settings import Settings

LOG_EVERY_S = 2.0


def train_model(
    context: dg.AssetExecutionContext,
    settings: Settings,
    kind: str,
    training_set: TrainingSet,
    parts: Sequence[TrainedModel] = (),
) -> dg.Output[TrainedModel]:
    """Train into `<home>/models/<kind>`; progress goes to the run's log as it happens. `parts` are what a hybrid is
    made of: models of the same training set."""
    from ml.config import TrainConfig
    from ml.pipeline import train

    refuse_failed_validation(context.instance)
    out = settings.home / "models" / kind
    config = TrainConfig.of(training_config(settings))
    report = train(
        kind,
        training_set.path,
        out,
        config=config,
        progress=_log_epochs(context, kind),
        parts={part.kind: part.path for part in parts},
    )
    record = TrainedModel(
        kind=kind,
        path=out,
        params=report.params,
        curves={f"{phase}_loss": losses for phase, losses in report.curves.items() if losses},
        seconds=sum(report.seconds.values()),
        training_set_hash=training_set.dvc_hash,
        dagster_run_id=context.run_id,
    )
    return dg.Output(
        record,
        metadata={
            "path": MetadataValue.path(str(out)),
            "training set": training_set.dvc_hash,
            "seconds": round(record.seconds, 2),
            "parameters": MetadataValue.json(report.params),
            "found on the validation rows": MetadataValue.json(report.found),
            "counts": MetadataValue.json(report.counts),
            "versions": MetadataValue.json(report.versions),
            "last loss": {phase: round(losses[-1], 4) for phase, losses in report.curves.items() if losses},
            "dagster/row_count": report.counts["rows"],
        },
    )


def refuse_failed_validation(instance: dg.DagsterInstance) -> None:
    """A failed check blocks what follows it in its own run; a model materialized alone later must not train either."""
    check = dg.AssetCheckKey(dg.AssetKey("training_set"), "training_set_is_valid")
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key([check]).get(check)
    if latest is not None and latest.status == AssetCheckExecutionRecordStatus.FAILED:
        raise dg.Failure(
            "the training set failed its validation (check training_set_is_valid): materialize it again first",
            allow_retries=False,
        )


def training_config(settings: Settings) -> dict[str, Any]:
    """Tuned parameters, and over them what the settings say; as `ml.config.TrainConfig` takes it."""
    from ml.tuning_parameters import PARAMETERS_FILE, load, merged

    said: dict[str, Any] = {"test_fraction": settings.test_fraction, "seed": settings.seed}
    if settings.two_tower_epochs is not None:
        said["two_tower"] = {"epochs": settings.two_tower_epochs}
    return merged(load(settings.parameters_dir / PARAMETERS_FILE), said)


def _log_epochs(context: dg.AssetExecutionContext, kind: str) -> Callable[[str, int, int, float], None]:
    """Logs the last epoch of a fit, and the others as often as a person can read."""
    said = 0.0

    def log(phase: str, epoch: int, epochs: int, loss: float) -> None:
        nonlocal said
        if epoch == epochs or time.monotonic() - said >= LOG_EVERY_S:
            said = time.monotonic()
            context.log.info(f"{kind}, {phase}: epoch {epoch} of {epochs}, loss {loss:.4f}")

    return log

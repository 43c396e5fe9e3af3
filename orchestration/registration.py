"""Registers what a run trained: parameters, curves, judged metrics and lineage, one MLflow run a kind."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from orchestration.metadata import latest_metadata
from orchestration.records import Judgement, TrainedModel, TrainingSet
from stack.settings import Settings

if TYPE_CHECKING:
    from serving.registry.lineage import Lineage
    from serving.registry.registry import RegisteredVersion

EXPERIMENT = "recommender"
DBT_MODEL = "training_interactions"


def register_all(
    settings: Settings,
    training_set: TrainingSet,
    trained: Sequence[TrainedModel],
    judgement: Judgement,
    *,
    dbt_invocation_id: str | None = None,
) -> dict[str, "RegisteredVersion"]:
    """One version a kind, each reachable by an alias of its kind's name. What they have in common (judgement,
    environment) is kept once, in the MLflow run above theirs. A re-run of the same Dagster run finds the versions it
    made before instead of making them again."""
    from serving.registry import registry
    from serving.registry import training as registry_training

    training = {"version": training_set.dvc_hash, **training_set.meta}
    newest_run = trained[-1].dagster_run_id
    parent = registry_training.log_training(
        settings,
        experiment=EXPERIMENT,
        run_name=f"training {newest_run[:8]}",
        dagster_run_id=newest_run,
        tags={registry.TRAINING_SET_TAG: training_set.dvc_hash, "best_kind": judgement.best_kind},
        artifacts={"judgement": judgement.path},
    )
    folders = {model.kind: model.path for model in trained}
    origins = lineages(folders, training_set.path, dbt_invocation_id=dbt_invocation_id)
    versions = {}
    for model in trained:
        version = registry.register(
            settings,
            kind=model.kind,
            model_dir=model.path / "full",
            experiment=EXPERIMENT,
            run_name=f"{model.kind} {model.dagster_run_id[:8]}",
            params=model.params,
            metrics=judgement.metrics[model.kind],
            curves=model.curves,
            artifacts={"training": model.path / "report.json"},
            dagster_run_id=model.dagster_run_id,
            training_set=training,
            lineage=origins[model.kind],
            parent_run_id=parent,
        )
        registry.set_alias(settings, model.kind, version.version)
        versions[model.kind] = version
    return versions


def lineages(
    folders: Mapping[str, Path], training_set_dir: Path, *, dbt_invocation_id: str | None
) -> dict[str, "Lineage"]:
    """Where each kind's full model comes from, as its folder and the training set say."""
    from ml.gate_recipe import Recipe
    from ml.gate_schema import column_names, columns_hash
    from serving.code_version import code_version
    from serving.registry.lineage import Lineage

    columns, code = columns_hash(training_set_dir), code_version()
    names = json.dumps(column_names(training_set_dir))
    found = {}
    for kind, folder in folders.items():
        info = json.loads((folder / "full" / "model.json").read_text("utf-8"))["info"]
        found[kind] = Lineage(
            training_set_sha256=info["training_set_sha256"],
            training_columns=columns,
            training_column_names=names,
            trained_up_to_ms=info["newest_ms"],
            recipe=Recipe.of_run(kind, folders).to_json(),
            git_commit=str(code.git_commit),
            code_sha256=code.sha256,
            dbt_invocation_id=dbt_invocation_id,
        )
    return found


def dbt_invocation(instance: dg.DagsterInstance) -> str | None:
    """The dbt invocation that built the tables of the latest training set; None if none is known."""
    said = latest_metadata(instance, DBT_MODEL) or {}
    found = said.get("invocation_id")
    return str(found.value) if found else None

"""Registers what a run trained: parameters, curves, judged metrics and lineage, one MLflow run a kind."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestration.records import Judgement, TrainedModel, TrainingSet
from stack.settings import Settings

if TYPE_CHECKING:
    from serving.registry import RegisteredVersion

EXPERIMENT = "recommender"


def register_all(
    settings: Settings, training_set: TrainingSet, trained: Sequence[TrainedModel], judgement: Judgement
) -> dict[str, "RegisteredVersion"]:
    """One version a kind, each reachable by an alias of its kind's name. A re-run of the same Dagster run finds
    the versions it made before instead of making them again."""
    from serving import registry
    from serving.code_version import code_version

    versions = {}
    for model in trained:
        files = (judgement.path / "judgement.json", judgement.path / "judgement.png")
        version = registry.register(
            settings,
            kind=model.kind,
            model_dir=model.path / "full",
            experiment=EXPERIMENT,
            run_name=f"{model.kind} {model.dagster_run_id[:8]}",
            params=model.params,
            metrics=judgement.metrics[model.kind],
            curves=model.curves,
            artifacts={path.name: path for path in files if path.exists()},
            dagster_run_id=model.dagster_run_id,
            tags={"git_commit": str(code_version().git_commit)},
            training_set={"version": training_set.dvc_hash, **training_set.meta},
        )
        registry.set_alias(settings, model.kind, version.version)
        versions[model.kind] = version
    return versions


def choose_champion(
    settings: Settings, winner: "RegisteredVersion", *, before: int | None, log: Callable[[str], None]
) -> "RegisteredVersion":
    """Point `champion` at the winner and return it; `before` is the version that had the alias when the training
    began. If another has it now, a person moved it meanwhile: that decision stands."""
    from serving import registry

    current = registry.by_alias(settings, "champion")
    if current is not None and current.version not in (before, winner.version):
        log(f"champion was moved to version {current.version} by hand during the training: it stays there")
        return current
    registry.set_alias(settings, "champion", winner.version)
    return winner

"""What the gate is asked about: a run's results, the rules of the settings, and what is known of the champion."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.records import Judgement, TrainingSet
from stack.settings import Settings

if TYPE_CHECKING:
    from ml.gate import Decision, Rules
    from ml.gate_run import Champion
    from serving.registry.registry import RegisteredVersion


@dataclass(frozen=True)
class Run:
    """What a run trained and registered: `versions` and `folders` by kind, judged in `judgement`."""

    dagster_run_id: str
    started: datetime
    versions: Mapping[str, int]
    folders: Mapping[str, Path]
    judgement: Judgement
    training_set: TrainingSet


def rules_of(settings: Settings) -> "Rules":
    """The gate's rules with what the settings say."""
    from ml.gate import Rules

    return Rules(
        precision_floor=settings.gate_precision_floor,
        max_latency_ms=settings.gate_max_latency_ms,
        max_size_mb=settings.gate_max_size_mb,
    )


def champion_of(settings: Settings, version: "RegisteredVersion") -> "Champion":
    """What the version under `champion` says of its making, by its tags, and of its judgement, by its run's metrics."""
    from ml.errors import ConfigurationError
    from ml.gate_recipe import Recipe
    from ml.gate_run import Champion
    from serving.registry import lineage, promotion, registry

    tags = version.tags
    try:
        metrics = registry.metrics_of(settings, version)
    except registry.VersionNotFoundError:
        metrics = {}  # its run was deleted: the gate says that it knows no figure
    try:
        recipe = Recipe.from_json(tags[lineage.RECIPE_TAG])
    except (KeyError, ConfigurationError):
        recipe = None  # registered by hand, or before recipes were kept: the gate compares with nobody
    newest = tags.get(lineage.NEWEST_TAG)
    return Champion(
        recipe,
        training_set_sha256=tags.get(lineage.SHA256_TAG),
        newest_ms=int(newest) if newest else None,
        columns=_columns(tags.get(lineage.COLUMN_NAMES_TAG)),
        metrics=metrics,
        by_hand=tags.get(promotion.BY_TAG) in (promotion.HAND, promotion.ROLLBACK),
        tests=int(tags.get(promotion.TESTS_TAG, 0)),
        tested_on=tags.get(promotion.TESTED_ON_TAG),
    )


def _columns(text: str | None) -> list[str] | None:
    """None of a version that has only the hash of its columns, or nothing."""
    try:
        found = json.loads(text or "null")
    except ValueError:
        return None
    return [str(name) for name in found] if isinstance(found, list) else None


def check_one_training(settings: Settings, run: Run) -> None:
    """Raises `ml.errors.ModelFilesError` unless the run's versions, folders and judgement are of one training: the
    decision would be on one model and move the alias to another. What a version does not say is not checked."""
    from ml.errors import ModelFilesError
    from ml.gate_recipe import Recipe
    from serving.registry import lineage, registry

    if run.judgement.training_set_hash != run.training_set.dvc_hash:
        raise ModelFilesError(
            f"the judgement is of the training set {run.judgement.training_set_hash}, the run of "
            f"{run.training_set.dvc_hash}: judge again"
        )
    known = {version.version: version for version in registry.versions(settings)}
    for kind, number in run.versions.items():
        if number not in known:
            raise registry.VersionNotFoundError(f"{registry.MODEL_NAME} has no version {number} ({kind})")
        version = known[number]
        report = json.loads((run.folders[kind] / "report.json").read_text("utf-8"))
        sha256 = version.tags.get(lineage.SHA256_TAG, report["training_set_sha256"])
        recipe = version.tags.get(lineage.RECIPE_TAG)
        other = ""
        if version.kind != kind:
            other = "kind"
        elif sha256 != report["training_set_sha256"]:
            other = f"training set ({sha256[:12]}, the folder {report['training_set_sha256'][:12]})"
        elif recipe and not Recipe.from_json(recipe).same_as(Recipe.of_run(kind, run.folders)):
            other = "recipe"
        if other:
            raise ModelFilesError(
                f"{kind}: version {number} is of another {other} than its folder: train and register again"
            )


def moved_during(champion: "RegisteredVersion", started: datetime) -> bool:
    """Whether a person made this version champion after `started`."""
    from serving.registry import promotion

    at = champion.tags.get(promotion.AT_TAG)
    by_person = champion.tags.get(promotion.BY_TAG) in (promotion.HAND, promotion.ROLLBACK)
    return by_person and at is not None and datetime.fromisoformat(at) >= started.replace(microsecond=0)


def champion_tags(
    decisions: "list[Decision]", champion: "RegisteredVersion | None", run: Run
) -> dict[str, str]:
    """How many challengers the champion has withstood; a renewed one takes over its recipe's tests and a person's
    hold. Another recipe starts anew."""
    from serving.registry import promotion

    last, tags = decisions[-1], {}
    if champion is None or (last.promote and last.case != "newer data"):
        return {}
    if last.promote:
        names = (promotion.TESTS_TAG, promotion.TESTED_ON_TAG, promotion.HOLD_TAG, promotion.HOLD_UNTIL_TAG)
        tags = {name: champion.tags[name] for name in names if name in champion.tags}
    if decisions[0].attempt:
        tags |= {promotion.TESTS_TAG: str(decisions[0].attempt), promotion.TESTED_ON_TAG: _sha256(run)}
    return tags


def _sha256(run: Run) -> str:
    report = json.loads((next(iter(run.folders.values())) / "report.json").read_text("utf-8"))
    return str(report["training_set_sha256"])

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
    from serving.registry import RegisteredVersion


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


def champion_of(version: "RegisteredVersion") -> "Champion":
    """What the tags of the version under `champion` say of its making."""
    from ml.errors import ConfigurationError
    from ml.gate_recipe import Recipe
    from ml.gate_run import Champion
    from serving import registry_lineage as lineage
    from serving import registry_promotion as promotion

    tags = version.tags
    try:
        recipe = Recipe.from_json(tags[lineage.RECIPE_TAG])
    except (KeyError, ConfigurationError):
        recipe = None  # registered by hand, or before recipes were kept: the gate says so and leaves it there
    newest = tags.get(lineage.NEWEST_TAG)
    return Champion(
        recipe,
        training_set_sha256=tags.get(lineage.SHA256_TAG),
        newest_ms=int(newest) if newest else None,
        columns=tags.get(lineage.COLUMNS_TAG),
        tests=int(tags.get(promotion.TESTS_TAG, 0)),
        tested_on=tags.get(promotion.TESTED_ON_TAG),
    )


def moved_during(champion: "RegisteredVersion", started: datetime) -> bool:
    """Whether a person made this version champion after `started`."""
    from serving import registry_promotion as promotion

    at = champion.tags.get(promotion.AT_TAG)
    by_person = champion.tags.get(promotion.BY_TAG) in (promotion.HAND, promotion.ROLLBACK)
    return by_person and at is not None and datetime.fromisoformat(at) >= started.replace(microsecond=0)


def champion_tags(
    decisions: "list[Decision]", champion: "RegisteredVersion | None", run: Run
) -> dict[str, str]:
    """How many challengers the champion has withstood; a renewed one takes over its recipe's tests and a person's
    hold. Another recipe starts anew."""
    from serving import registry_promotion as promotion

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

"""Recipes: what a champion was made with, whether this run made the same, and a fit of it on this run's rows."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ml.config import TrainConfig
from ml.errors import ConfigurationError, ModelFilesError
from ml.fit import HYBRID, check_kind, fit, section
from ml.phases import HOLDOUT, VALIDATION, Phases
from ml.recommender import Recommender
from ml.saved import load

REPORT_FILE = "report.json"

# What may differ between two trainings of one recipe: chance, how much is held out to judge, and where it ran.
_NOT_OF_THE_RECIPE = frozenset({"seed", "test_fraction", "device", "threads"})
_GENERAL = ("test_fraction", "validation_fraction", "seed")


@dataclass(frozen=True)
class Recipe:
    """A kind, its parameters (flat, as a report has them), what its training found out (epochs), and of a hybrid the
    recipes of its parts instead. JSON throughout."""

    kind: str
    params: Mapping[str, Any]
    found: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, "Recipe"] = field(default_factory=dict)

    @classmethod
    def of_run(cls, kind: str, folders: Mapping[str, Path]) -> Self:
        """The recipe of a kind that `ml.pipeline.train` wrote, from the reports in `folders` (kind -> folder); of a
        hybrid all of its parts' too. Raises `ModelFilesError` where a report is missing or says nothing of it."""
        try:
            report = json.loads((Path(folders[kind]) / REPORT_FILE).read_text("utf-8"))
            params, found = report["params"], report.get("found", {})
            # A hybrid's weights are learned again from whatever its parts say of newer rows.
            found, parts = ({}, params["parts"]) if kind == HYBRID else (found, ())
        except (OSError, KeyError, ValueError) as error:
            raise ModelFilesError(f"{kind}: no report of its training ({error!r})") from error
        return cls(kind, params, found, {part: cls.of_run(part, folders) for part in parts})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote; raises `ConfigurationError`."""
        try:
            return cls._from(json.loads(text))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigurationError(f"not a recipe: {text[:80]!r}") from error

    @classmethod
    def _from(cls, value: Mapping[str, Any]) -> Self:
        parts = {kind: cls._from(part) for kind, part in value.get("parts", {}).items()}
        return cls(str(value["kind"]), dict(value["params"]), dict(value.get("found", {})), parts)

    def to_json(self) -> str:
        return json.dumps(self._plain(), sort_keys=True, separators=(",", ":"))

    def _plain(self) -> dict[str, Any]:
        plain: dict[str, Any] = {"kind": self.kind, "params": dict(self.params)}
        if self.found:
            plain["found"] = dict(self.found)
        if self.parts:
            plain["parts"] = {kind: part._plain() for kind, part in self.parts.items()}
        return plain

    def same_as(self, other: "Recipe") -> bool:
        """Whether both would train the same model from the same rows, but for chance."""
        return (
            self.kind == other.kind
            and _essential(self.params) == _essential(other.params)
            and self.parts.keys() == other.parts.keys()
            and all(part.same_as(other.parts[kind]) for kind, part in self.parts.items())
        )

    def config(self, general: TrainConfig) -> TrainConfig:
        """The settings that train it, with the split and the seed of `general`; raises `ConfigurationError` when this
        code no longer has them."""
        values: dict[str, Any] = {name: getattr(general, name) for name in _GENERAL}
        values["validation_fraction"] = self.params.get("validation_fraction", general.validation_fraction)
        for recipe in (self, *self.parts.values()):
            own = {k: v for k, v in recipe.params.items() if k not in _GENERAL}
            values[section(recipe.kind)] = own | dict(recipe.found)
        return TrainConfig.of(values)


def refit(recipe: Recipe, phases: Phases, folders: Mapping[str, Path], general: TrainConfig) -> Recommender:
    """The recipe's holdout model: fitted on the rows known at this run's cut.

    What its own training chose on validation rows (epochs) is taken over. A hybrid is put together again: those of its
    parts that this run trained by the same recipe are read from `folders`, the others fitted, and its weights learned
    on this run's validation rows, as the challenger's were. Raises `ConfigurationError`, `UnknownKindError` when this
    code cannot fit it.
    """
    check_kind(recipe.kind)
    config = recipe.config(general)
    if recipe.kind != HYBRID:
        return fit(recipe.kind, phases.holdout, config).model
    from ml import hybrid

    def parts(phase: str) -> dict[str, Recommender]:
        known = phases.validation if phase == VALIDATION else phases.holdout
        return {
            kind: load(Path(folders[kind]) / phase)
            if _trained_here(part, folders)
            else fit(kind, known, config).model
            for kind, part in recipe.parts.items()
        }

    rows, met = phases.validation_rows, phases.holdout.watched
    learned = hybrid.learn(parts(VALIDATION), phases.validation, rows, met, config.hybrid, seed=config.seed)
    return hybrid.assemble(parts(HOLDOUT), learned, phases.holdout, config.hybrid)


def _trained_here(recipe: Recipe, folders: Mapping[str, Path]) -> bool:
    if recipe.kind not in folders:
        return False
    return recipe.same_as(Recipe.of_run(recipe.kind, folders))


def _essential(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name not in _NOT_OF_THE_RECIPE}

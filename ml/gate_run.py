"""The gate over a run's folders: who is challenged, on what figures, with which decision."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.config import TrainConfig
from ml.costs import measure_costs
from ml.errors import MismatchedHoldoutError, ModelError, ModelFilesError
from ml.evaluate import TestUsers, evaluate
from ml.gate import Contestant, Decision, Rules, decide, stays
from ml.gate_checks import NEWER, Check
from ml.gate_recipe import Recipe, refit
from ml.gate_schema import column_names, columns_check, schema_checks
from ml.judgement import COSTS_FILE, HAS_OWN_LIST_FOR_STRANGERS, JUDGEMENT_FILE
from ml.metrics import PRIMARY, PerUser
from ml.phases import FULL, HOLDOUT, Phases
from ml.recommender import ABOUT_FILE, BASELINE
from ml.saved import load
from ml.slices import restricted, slices_of
from ml.training_set import TrainingSet
from ml.user_metrics import UserMetrics


@dataclass(frozen=True)
class Champion:
    """What is known of who serves. `newest_ms` is its newest training row; `tests` says how many challengers its
    recipe has withstood, the last of them on the training set `tested_on` (sha256). `columns`: of its training set
    (`ml.gate_schema.column_names`). `metrics`: what it scored when it was judged. `by_hand`: a person promoted it.
    None or nothing where it is not known, as of a version made before these were written down."""

    recipe: Recipe | None
    training_set_sha256: str | None = None
    newest_ms: int | None = None
    columns: Sequence[str] | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    by_hand: bool = False
    tests: int = 0
    tested_on: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def gate(
    challenger: str,
    model_dirs: Mapping[str, Path],
    judgement_dir: Path,
    training_set_dir: Path,
    *,
    champion: Champion | None,
    rules: Rules,
    reason: str | None = None,
    held: str | None = None,
    candidates: int = 1,
    facts: Mapping[str, Any] | None = None,
) -> list[Decision]:
    """Decide on the kind `challenger` of this run; if it fails, on the champion's recipe as this run trained it, or on
    popularity where there is no champion. At most the last decision promotes.

    `model_dirs` (kind -> folder) and `judgement_dir` are what `train` and `judge` wrote of the training set in
    `training_set_dir`. `candidates`: out of how many kinds the challenger was picked by looking at the test rows.
    `held`: why no other recipe than the champion's may be promoted now. Fits the champion's recipe only if this run
    did not.

    Raises `ModelError` when the run's own files do not belong together; a champion that cannot be judged stays.
    """
    data = TrainingSet.load(training_set_dir)
    judged = _Judged.load(judgement_dir, data.sha256)
    columns = column_names(training_set_dir)
    run = _Run(data, judged, model_dirs, columns, champion, rules, dict(facts or {}))
    if champion is None:
        decisions = [run.first(challenger)]
        if not decisions[0].promote and BASELINE in judged.metrics.kinds and challenger != BASELINE:
            decisions.append(run.first(BASELINE))
        return decisions
    if champion.recipe is None:
        unknown = "the champion's version does not say what it was made with"
        if champion.by_hand or held:
            why = f"{unknown}, and a person chose it: promote by hand"
            return [stays(challenger, None, why, facts=run.facts)]
        # Nobody to compare with. If it fails, the one there stays: popularity need not be better than that.
        decision = run.first(challenger)
        return [replace(decision, reason=f"{decision.reason} ({unknown}: nobody to compare with)")]
    if champion.recipe.same_as(Recipe.of_run(challenger, model_dirs)):
        return [run.again(challenger, champion)]
    if held:
        decisions = [stays(challenger, champion.recipe.kind, held, facts=run.facts)]
    else:
        decisions = [run.other(challenger, champion, champion.recipe, reason, candidates)]
    if not decisions[0].promote and run.trained(champion.recipe):
        decisions.append(run.again(champion.recipe.kind, champion))
    return decisions


@dataclass(frozen=True)
class _Run:
    """What a run trained and judged, with the champion it is held against."""

    data: TrainingSet
    judged: "_Judged"
    model_dirs: Mapping[str, Path]
    columns: Sequence[str]
    champion: Champion | None
    rules: Rules
    facts: Mapping[str, Any]

    def trained(self, recipe: Recipe) -> bool:
        here = recipe.kind in self.judged.metrics.kinds and recipe.kind in self.model_dirs
        return here and recipe.same_as(Recipe.of_run(recipe.kind, self.model_dirs))

    def first(self, kind: str) -> Decision:
        return decide(
            self.judged.contestant(kind),
            None,
            rules=self.rules,
            baseline=self._baseline,
            more=self._schema(kind),
            facts=self.facts,
        )

    def again(self, kind: str, champion: Champion) -> Decision:
        """The champion's recipe, of this run's rows."""
        mine = self.judged.contestant(kind)
        return decide(
            mine,
            mine,
            rules=self.rules,
            same_recipe=True,
            baseline=self._baseline,
            newer=self._newer(kind, champion),
            recorded=champion.metrics,
            more=self._schema(kind),
            facts=self.facts,
        )

    def other(
        self, kind: str, champion: Champion, recipe: Recipe, reason: str | None, candidates: int
    ) -> Decision:
        try:
            incumbent = self._incumbent(recipe)
        except ModelError as error:
            why = f"the champion's recipe cannot be fitted by this code, promote by hand: {error}"
            return stays(kind, recipe.kind, why, facts=self.facts)
        tested = champion.tests > 0 and champion.tested_on == self.data.sha256
        return decide(
            self.judged.contestant(kind),
            incumbent,
            rules=self.rules,
            baseline=self._baseline,
            reason=reason or (None if self.trained(recipe) else NEWER),
            newer=self._newer(kind, champion),
            more=self._schema(kind),
            attempt=champion.tests if tested else champion.tests + 1,
            candidates=candidates,
            facts=self.facts,
        )

    @property
    def _baseline(self) -> NDArray[np.float64] | None:
        metrics = self.judged.metrics
        return metrics.of_kind(BASELINE)[PRIMARY] if BASELINE in metrics.kinds else None

    def _schema(self, kind: str) -> list[Check]:
        checks = schema_checks(kind, Path(self.model_dirs[kind]) / FULL, self.data)
        return [*checks, columns_check(self.columns, self.champion.columns)] if self.champion else checks

    def _newer(self, kind: str, champion: Champion) -> Check:
        """Newer rows than the champion saw, or other rows up to the same time (an erasure, a repair)."""
        about = json.loads((Path(self.model_dirs[kind]) / FULL / ABOUT_FILE).read_text("utf-8"))
        newest, before = int(about["info"]["newest_ms"]), champion.newest_ms or 0
        changed = self.data.sha256 != champion.training_set_sha256
        passed = newest > before or (newest == before and changed)
        says = "other rows than the champion saw" if passed else "nothing newer than the champion saw"
        if passed and before:
            says += f", up to {(newest - before) / 86_400_000:.2f} days later"
        return Check(NEWER, passed, float(newest), float(before), says)

    def _incumbent(self, recipe: Recipe) -> Contestant:
        """The champion's recipe on this run's rows: this run's own model of it, or a fit."""
        if self.trained(recipe):
            return self.judged.contestant(recipe.kind)
        metrics, folders = self.judged.metrics, self.model_dirs
        params = Recipe.of_run(metrics.kinds[0], folders).params
        general = TrainConfig.of({k: params[k] for k in ("test_fraction", "validation_fraction", "seed")})
        phases = Phases.of(self.data, general.test_fraction, general.validation_fraction)
        users = TestUsers.of(phases.outer, self.data.watched)
        if not np.array_equal(users.user_ids, metrics.user_ids):
            raise MismatchedHoldoutError("the judgement is of other test users than this split: judge again")
        model = refit(recipe, phases, folders, general)
        popularity = load(Path(folders[BASELINE]) / HOLDOUT) if BASELINE in folders else None
        strangers = None if model.kind in HAS_OWN_LIST_FOR_STRANGERS else popularity
        found = evaluate(model, users, strangers=strangers)
        with TemporaryDirectory() as scratch:
            model.save(Path(scratch) / "model")
            seed = int(self.judged.content["seed"])
            costs = measure_costs(model, Path(scratch) / "model", users, seed)
        slices = {}
        for part in slices_of(users, phases.outer, self.data.catalogue, self.data.people):
            members, values = restricted(found, users, part)
            slices[part.name] = np.full(len(users.user_ids), np.nan)
            slices[part.name][members] = _as_kept(values[PRIMARY])
        per_user = {name: _as_kept(values) for name, values in found.per_user.items()}
        return _contestant(recipe.kind, per_user, found.coverage["coverage_at_10"], slices, costs)


@dataclass(frozen=True)
class _Judged:
    """A judgement as it was written."""

    metrics: UserMetrics
    content: Mapping[str, Any]
    costs: Mapping[str, Mapping[str, float]]

    @classmethod
    def load(cls, folder: Path, sha256: str) -> "_Judged":
        try:
            content = json.loads((Path(folder) / JUDGEMENT_FILE).read_text("utf-8"))
            costs = json.loads((Path(folder) / COSTS_FILE).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ModelFilesError(f"{folder}: not a judgement ({error})") from error
        if content.get("training_set_sha256") != sha256:
            raise MismatchedHoldoutError("the judgement is of another training set: judge again")
        return cls(UserMetrics.load(folder), content, costs)

    def contestant(self, kind: str) -> Contestant:
        slices = {name: self.metrics.in_slice(kind, name) for name in self.metrics.slices}
        coverage = self.content["coverage"][kind]["coverage_at_10"]
        return _contestant(kind, self.metrics.of_kind(kind), coverage, slices, self.costs[kind])


def _as_kept(values: NDArray) -> NDArray[np.float64]:
    """Rounded as a judgement keeps them: equal models must be equal to the last bit, or rounding looks like a win."""
    return np.asarray(values, dtype=np.float32).astype(np.float64)


def _contestant(
    kind: str,
    per_user: PerUser,
    coverage: float,
    slices: Mapping[str, NDArray[np.float64]],
    costs: Mapping[str, float],
) -> Contestant:
    return Contestant(kind, per_user, coverage, slices, costs["bytes"] / 1e6, costs["p95_ms"])

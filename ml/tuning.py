"""Looks for better hyper-parameters, kind by kind, within minutes; what it found and why it is believed.

Each kind has a study of its own (`ml.tuning_study`) and an equal share of the budget; what a kind leaves over goes to
those after it. The present parameters are always its first trial, and only a winner that beats them beyond noise on
users it was not chosen on (`ml.tuning_verdict`) takes their place. The rows after the cut are never looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml.config import TrainConfig
from ml.errors import ConfigurationError
from ml.fit import HYBRID, section
from ml.metrics import PRIMARY
from ml.phases import Phases
from ml.recommender import BASELINE
from ml.training_set import TrainingSet
from ml.tuning_journal import exclusive
from ml.tuning_objective import Fit, FitHybrid, FitKind, Judge
from ml.tuning_parameters import Fragment, merged
from ml.tuning_search import About, Listener, Outcome, Say, Search
from ml.tuning_space import SPACES, Space
from ml.tuning_study import Study, study_name

TRIALS_PER_FIELD = (
    25  # at most: a kind that fits in a second is exhausted by then, and only its luck would grow
)


@dataclass(frozen=True)
class Tuning:
    """What came of every kind, and the settings with all winners in their place."""

    outcomes: dict[str, Outcome]
    config: TrainConfig
    training_set_sha256: str

    @property
    def replaced(self) -> list[str]:
        return [kind for kind, outcome in self.outcomes.items() if outcome.replaced]

    def fragment(self, before: Mapping[str, Any]) -> Fragment:
        """The tuned parameters: those there were before, with the winners in their place."""
        winners = {section(kind): dict(self.outcomes[kind].params) for kind in self.replaced}
        return merged(before, winners)

    def evidence(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """Why each section is as it is, beside `fragment`: JSON."""
        found = {}
        for kind in self.replaced:
            outcome = self.outcomes[kind]
            found[section(kind)] = {
                "study": outcome.about.name,
                "trial": outcome.best.number if outcome.best else None,
                "metric": PRIMARY,
                "replaced": outcome.about.present,
                "training_set_sha256": self.training_set_sha256,
                **(outcome.verdict.as_json() if outcome.verdict else {}),
            }
        return {**before, **found}


def tune(
    data: TrainingSet,
    config: TrainConfig,
    folder: Path,
    *,
    minutes: float,
    kinds: Sequence[str] = tuple(SPACES),
    code: str = "",
    say: Say = lambda line: None,
    listener: Listener | None = None,
    max_trials: int | None = None,
) -> Tuning:
    """Search `kinds` in the order of `SPACES`; `folder` holds the studies. `config` are the present parameters.

    Killed or interrupted, the next call goes on where it was, on the rest of the same minutes, as long as the data, the
    settings that are not tuned and `code` (which version of the fitting code it is) are the same; otherwise it starts
    anew. Every kind has at least its present parameters judged, even if that takes longer than its share; a later trial
    that is too slow is cut short, and drawn again the next time. Raises `TuningBusyError`, `NothingToJudgeError`,
    `EmptySplitError`, `ConfigurationError`, and whatever else a fit raises that is no fault of its parameters.
    """
    unknown = [kind for kind in kinds if kind not in SPACES]
    if unknown:
        raise ConfigurationError(f"nothing to tune in {', '.join(unknown)}: there are {', '.join(SPACES)}")
    phases = Phases.of(data, config.test_fraction, config.validation_fraction)
    order = [kind for kind in SPACES if kind in kinds]
    total = minutes * 60
    outcomes: dict[str, Outcome] = {}
    studies: list[Study] = []
    with exclusive(folder):
        for place, kind in enumerate(order):
            fixed = _fixed(SPACES[kind], config)
            name = _name(SPACES[kind], fixed, data.sha256, code)
            study = Study(folder, name, SPACES[kind].around(config), seed=config.seed)
            space = study.space
            left = max(0.0, total - sum(earlier.spent() for earlier in studies))
            search = Search(
                about=About(name, kind, space, space.present(config), fixed, study.id),
                study=study,
                config=config,
                fit=_fit_of(kind, phases, config),
                judge=Judge.of(phases, config),
                share=left / (len(order) - place),
                left=left,
                max_trials=max_trials or TRIALS_PER_FIELD * len(space.ranges),
                say=say,
                listener=listener,
            )
            outcomes[kind] = search.run()
            config = space.applied(config, outcomes[kind].params)
            studies.append(study)
        for study in studies:
            study.close_round()
    return Tuning(outcomes, config, data.sha256)


def _fixed(space: Space, config: TrainConfig) -> dict[str, Any]:
    """The settings that the search does not change but that a trial's value depends on."""
    fixed = space.fixed(config) | {
        "seed": config.seed,
        "test_fraction": config.test_fraction,
        "validation_fraction": config.validation_fraction,
    }
    if space.kind != BASELINE:
        fixed["strangers"] = config.popularity.model_dump(mode="json")
    if space.kind == HYBRID:
        others = {section(part): getattr(config, section(part)) for part in config.hybrid.parts}
        fixed["of the parts"] = {name: own.model_dump(mode="json") for name, own in others.items()}
    return fixed


def _name(declared: Space, fixed: Mapping[str, Any], sha256: str, code: str) -> str:
    about = {"space": declared.as_json(), "fixed": fixed, "training set": sha256, "code": code}
    return study_name(declared.kind, about)


def _fit_of(kind: str, phases: Phases, config: TrainConfig) -> Fit:
    if kind == HYBRID:
        return FitHybrid(phases.validation, config.validation_fraction)
    return FitKind(kind, phases.validation)

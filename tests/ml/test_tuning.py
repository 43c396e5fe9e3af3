"""The search on planted data: finds better parameters, keeps them beyond noise only, and never looks after the cut."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml import tuning_objective as objective
from ml.collaborative_config import HybridConfig
from ml.config import TrainConfig
from ml.dataset import Interactions, Known
from ml.errors import ConfigurationError, DivergedError
from ml.fit import fit
from ml.fitting import Fitted
from ml.phases import Phases
from ml.split import time_split
from ml.training_set import TrainingSet
from ml.tuning import Tuning, tune
from ml.tuning_objective import FitKind, Judge, half, take
from ml.tuning_search import About, Outcome, Search
from ml.tuning_space import SPACES
from ml.tuning_study import Study, TrialRecord
from tests.ml.planted import catalogue, taste_videos, tastes, write_folder

# Two epochs at a low rate learn next to nothing of the planted tastes: there is much to find.
POOR = TrainConfig.of({"svd": {"n_factors": 8, "n_epochs": 2, "learning_rate": 0.001}})
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("set"), tastes(), catalogue(taste_videos()))


@pytest.fixture(scope="module")
def data(folder: Path) -> TrainingSet:
    return TrainingSet.load(folder)


def search(data: TrainingSet, folder: Path, **changes: object) -> Tuning:
    options = {"config": POOR, "minutes": 5.0, "kinds": ["svd"], "max_trials": 10, **changes}
    return tune(data, folder=folder, **options)  # type: ignore[arg-type]


def trials(tuning: Tuning, kind: str = "svd") -> list[tuple]:
    return [
        (r.step, r.params, r.state, r.value) for r in tuning.outcomes[kind].trials if r.state != "interrupted"
    ]


def test_better_parameters_are_found_and_say_why(data: TrainingSet, tmp_path: Path) -> None:
    tuning = search(data, tmp_path)
    outcome = tuning.outcomes["svd"]
    assert outcome.best is not None
    assert outcome.present_value is not None
    assert outcome.best.value is not None
    assert outcome.best.value > outcome.present_value
    assert tuning.replaced == ["svd"]
    assert tuning.fragment({"als": {"alpha": 2.0}}) == {"als": {"alpha": 2.0}, "svd": outcome.best.params}
    assert tuning.config.svd.n_epochs == outcome.best.params["n_epochs"]
    assert tuning.config.svd.n_factors == 8
    evidence = tuning.evidence({"als": {"trial": 1}})
    assert evidence["als"] == {"trial": 1}
    assert evidence["svd"]["trial"] == outcome.best.number
    assert evidence["svd"]["difference"]["low"] > 0
    assert evidence["svd"]["seeds"] == [1, 2, 3]
    assert evidence["svd"]["training_set_sha256"] == data.sha256


def test_the_present_parameters_are_the_first_trial_even_outside_the_space(
    data: TrainingSet, tmp_path: Path
) -> None:
    tuning = search(data, tmp_path, max_trials=1)
    assert [trial[1] for trial in trials(tuning)] == [
        {"learning_rate": 0.001, "regularisation": 0.02, "n_epochs": 2}
    ]
    assert tuning.replaced == []
    assert tuning.config == POOR


def test_the_same_seed_makes_the_same_search(data: TrainingSet, tmp_path: Path) -> None:
    first, again = search(data, tmp_path / "a"), search(data, tmp_path / "b")
    assert trials(first) == trials(again)
    assert first.fragment({}) == again.fragment({})
    other = search(data, tmp_path / "c", config=POOR.model_copy(update={"seed": 1}), max_trials=2)
    assert trials(other)[1] != trials(first)[1]


def test_nothing_after_the_cut_changes_anything(folder: Path, data: TrainingSet, tmp_path: Path) -> None:
    """Poison: after the cut everybody loves a video nobody ever played. Bit for bit the same search."""
    rows = Interactions.from_parquet(folder / "interactions.parquet")
    after = rows.started_at_ms >= time_split(rows, 0.2).cut_ms
    assert after.sum() == 188
    rows.ratings[after], rows.weights[after], rows.positives[after] = 5.0, 1.0, True
    rows.video_ids[after] = "Z-99"
    poisoned = TrainingSet.load(write_folder(tmp_path / "poisoned", rows, catalogue(taste_videos())))
    assert poisoned.sha256 != data.sha256

    kinds = ["popularity", "svd"]
    clean, other = (
        search(each, tmp_path / name, kinds=kinds, max_trials=5)
        for each, name in ((data, "a"), (poisoned, "b"))
    )
    for kind in kinds:
        assert trials(clean, kind) == trials(other, kind)
        assert clean.outcomes[kind].verdict == other.outcomes[kind].verdict
    assert clean.fragment({}) == other.fragment({})


def test_a_winner_within_noise_replaces_nothing(data: TrainingSet, tmp_path: Path) -> None:
    """Where there is little to find the best of some trials leads by luck; the other half of the users knows."""
    config = TrainConfig.of({"popularity": {"half_life_days": 14.0}})
    tuning = search(data, tmp_path, config=config, kinds=["popularity"])
    outcome = tuning.outcomes["popularity"]
    assert outcome.best is not None
    assert outcome.best.params != outcome.about.present
    assert outcome.verdict is not None
    assert outcome.verdict.difference.low <= 0
    assert tuning.replaced == []
    assert tuning.fragment({}) == tuning.evidence({}) == {}

    said: list[str] = []
    again = search(data, tmp_path, config=config, kinds=["popularity"], say=said.append)
    assert again.outcomes["popularity"].verdict == outcome.verdict
    assert not [line for line in said if "against" in line]  # who confirms is not asked twice


def test_who_chooses_and_who_confirms_are_different_people(data: TrainingSet) -> None:
    users = Phases.of(data, 0.2, 0.2).validation_users()
    first = half(users)
    choosing, confirming = take(users, first), take(users, ~first)
    assert set(choosing.user_ids) | set(confirming.user_ids) == set(users.user_ids)
    assert not set(choosing.user_ids) & set(confirming.user_ids)

    def pairs(part: object) -> set[tuple[str, str]]:
        rows, videos = part.relevant  # type: ignore[attr-defined]
        return set(
            zip(part.user_ids[rows].tolist(), part.video_ids[videos].tolist(), strict=True)  # type: ignore[attr-defined]
        )

    assert pairs(choosing) | pairs(confirming) == pairs(users)
    assert len(pairs(choosing)) + len(pairs(confirming)) == len(pairs(users))


def test_a_later_search_goes_on_from_the_winner_and_asks_for_no_second_verdict(
    data: TrainingSet, tmp_path: Path
) -> None:
    first = search(data, tmp_path)
    said: list[str] = []
    again = search(data, tmp_path, config=first.config, say=said.append)
    assert again.outcomes["svd"].about.name == first.outcomes["svd"].about.name
    assert len(again.outcomes["svd"].trials) == 10  # no trial was repeated
    assert again.replaced == []
    assert again.config == first.config
    assert said[-1] == "svd: the present parameters stay, none of 10 trials was better"


def test_another_version_of_the_code_starts_anew(data: TrainingSet, tmp_path: Path) -> None:
    names = {
        search(data, tmp_path, max_trials=1, code=code).outcomes["svd"].about.name for code in ("", "1", "2")
    }
    assert len(names) == 3


def test_a_kind_without_a_space_is_refused_by_name(data: TrainingSet, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nothing to tune in magic"):
        search(data, tmp_path, kinds=["magic"])


def test_the_hybrids_parts_are_fitted_once_with_what_was_found_for_them(
    data: TrainingSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[tuple[str, float]] = []
    real = objective.fit

    def counting(kind: str, known: Known, config: TrainConfig, **options: Any) -> Fitted:
        fitted.append((kind, config.svd.learning_rate))
        return real(kind, known, config, **options)

    monkeypatch.setattr(objective, "fit", counting)
    config = POOR.model_copy(update={"hybrid": HybridConfig(parts=("svd", "popularity"))})
    tuning = search(data, tmp_path, config=config, kinds=["svd", "hybrid"], max_trials=3)
    found = tuning.outcomes["svd"].params["learning_rate"]
    assert found != POOR.svd.learning_rate
    assert [trial[2] for trial in trials(tuning, "hybrid")] == ["complete"] * 3
    strangers, *parts = fitted[-5:]
    assert strangers == ("popularity", found)
    assert parts == [("svd", found), ("popularity", found)] * 2


# --- what a trial may do to the search: fits made up -----------------------------------------------------------


@dataclass
class Told:
    """A listener that remembers."""

    events: list[tuple] = field(default_factory=list)

    def opened(self, about: About, trials: Sequence[TrialRecord]) -> None:
        self.events.append(("opened", len(trials)))

    def trial(self, about: About, trial: TrialRecord) -> None:
        self.events.append((trial.number, trial.state))

    def closed(self, about: About, outcome: Outcome | None) -> None:
        self.events.append(("closed", outcome is not None))


@dataclass
class MadeUp:
    """Popularity, after whatever is to happen in the trials, one after the other."""

    real: FitKind
    happenings: list[Callable] = field(default_factory=list)

    def __call__(self, config: TrainConfig, *, progress: object = None, validate: object = None) -> Fitted:
        if self.happenings:
            self.happenings.pop(0)(progress, validate)
        return self.real(config)


def made_up(
    data: TrainingSet, folder: Path, happenings: list[Callable], share: float = 60.0, trials: int = 4
) -> Search:
    phases = Phases.of(data, 0.2, 0.2)
    config = TrainConfig()
    space = SPACES["popularity"]
    folder.mkdir(exist_ok=True)
    return Search(
        about=About("made-up", "popularity", space, space.present(config), {}),
        study=Study(folder, "made-up", space, seed=0),
        config=config,
        fit=MadeUp(FitKind("popularity", phases.validation), happenings),
        judge=Judge.of(phases, config),
        share=share,
        left=share,
        max_trials=trials,
        say=lambda line: None,
        listener=Told(),
    )


def nothing(progress: object, validate: object) -> None:
    pass


def raises(error: BaseException) -> Callable:
    def happen(progress: object, validate: object) -> None:
        raise error

    return happen


def events(search: Search) -> list[tuple]:
    assert isinstance(search.listener, Told)
    return search.listener.events


@pytest.mark.parametrize(
    "error", [DivergedError("the loss is nan"), FloatingPointError(), np.linalg.LinAlgError(), MemoryError()]
)
def test_a_trial_that_cannot_be_fitted_fails_alone(
    error: Exception, data: TrainingSet, tmp_path: Path
) -> None:
    search = made_up(data, tmp_path, [nothing, raises(error)])
    outcome = search.run()
    assert events(search) == [
        ("opened", 0),
        *((0, "complete"), (1, "failed"), (2, "complete"), (3, "complete")),
        ("closed", True),
    ]
    assert outcome.trials[1].reason.startswith(type(error).__name__)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a defect")])
def test_what_ends_the_search_leaves_a_study_that_goes_on(
    error: BaseException, data: TrainingSet, tmp_path: Path
) -> None:
    broken = made_up(data, tmp_path / "broken", [nothing, nothing, raises(error)])
    with pytest.raises(type(error)):
        broken.run()
    assert events(broken)[-2:] == [(2, "interrupted"), ("closed", False)]
    resumed, whole = made_up(data, tmp_path / "broken", []), made_up(data, tmp_path / "whole", [])
    trials = [
        [(r.step, r.params, r.value) for r in s.run().trials if r.state == "complete"]
        for s in (resumed, whole)
    ]
    assert trials[0] == trials[1]
    assert events(resumed)[0] == ("opened", 3)


def test_a_hopeless_trial_is_pruned_by_its_epochs_but_never_the_present_parameters(
    data: TrainingSet, tmp_path: Path
) -> None:
    phases = Phases.of(data, 0.2, 0.2)
    good = fit("svd", phases.validation, TrainConfig()).model
    bad = fit("popularity", phases.validation, TrainConfig()).model
    epochs_seen = []

    def epochs(model: object) -> Callable:
        def happen(progress: Callable, validate: Callable) -> None:
            epochs_seen.append(0)
            for epoch in range(1, 6):
                epochs_seen[-1] += 1
                progress(epoch, 5, 0.0)
                validate(model)
                validate(bad)  # an epoch is judged once, by the model that was validated first

        return happen

    search = made_up(data, tmp_path, [epochs(bad), *[epochs(good)] * 3, epochs(bad)], trials=5)
    assert search.judge.choose(good) > search.judge.choose(bad)
    outcome = search.run()
    assert [r.state for r in outcome.trials] == ["complete"] * 4 + ["pruned"]
    assert epochs_seen == [5, 5, 5, 5, 2]
    assert sorted(outcome.trials[0].curve) == [1, 2, 3, 4, 5]


def test_a_trial_that_outlasts_the_budget_is_cut_short_but_never_the_present_parameters(
    data: TrainingSet, tmp_path: Path
) -> None:
    def slow(progress: Callable, validate: Callable) -> None:
        for epoch in range(1, 41):
            time.sleep(0.02)
            progress(epoch, 40, 0.0)

    search = made_up(data, tmp_path, [slow], share=0.4)
    outcome = search.run()
    assert [r.state for r in outcome.trials] == ["complete"]
    assert outcome.verdict is None

    search = made_up(data, tmp_path / "second", [nothing, slow], share=0.4)
    search.run()
    assert events(search)[1:3] == [(0, "complete"), (1, "interrupted")]


def test_what_a_killed_search_had_spent_is_not_given_again(data: TrainingSet, tmp_path: Path) -> None:
    search = made_up(data, tmp_path, [], trials=100)
    search.study.note_spent(50.0)
    assert [r.state for r in search.run().trials] == [
        "complete"
    ]  # the present parameters, and no time for more


# --- the process ---------------------------------------------------------------------------------------------------

PROCESS = """
import signal, sys, time
from pathlib import Path
import ml.tuning_objective as objective
from ml.training_set import TrainingSet
from ml.tuning import tune
from tests.ml.test_tuning import POOR

signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in a shell's background hands down to ignore it
real, said = objective.fit, []
def slow(kind, *arguments, **options):
    if any("trial 3 complete" in line for line in said):
        print("in the fourth", flush=True)
        time.sleep(60)
    return real(kind, *arguments, **options)
objective.fit = slow
tune(TrainingSet.load(Path(sys.argv[1])), POOR, Path(sys.argv[2]), minutes=5, kinds=["svd"], max_trials=10,
     say=said.append)
"""


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_a_search_killed_in_the_middle_of_a_trial_ends_like_one_that_was_not(
    by: signal.Signals, folder: Path, data: TrainingSet, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROCESS), str(folder), str(tmp_path / "broken")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in the fourth\n"
    process.send_signal(by)
    process.stdout.close()
    assert process.wait(30) != 0

    resumed, whole = search(data, tmp_path / "broken"), search(data, tmp_path / "whole")
    assert trials(resumed) == trials(whole)
    assert resumed.fragment({}) == whole.fragment({})
    assert [r.state for r in resumed.outcomes["svd"].trials].count("interrupted") == 1

"""A study survives whatever ends its process, and goes on as if nothing had happened."""

from pathlib import Path

import pytest

from ml.tuning_journal import TuningBusyError, exclusive
from ml.tuning_space import Real, Space, Whole
from ml.tuning_study import (
    COMPLETE,
    FAILED,
    INTERRUPTED,
    MAX_ATTEMPTS,
    PRUNED,
    Study,
    study_name,
)

SPACE = Space(
    "svd", {"learning_rate": Real(0.001, 0.02, "rate", log=True), "n_epochs": Whole(1, 40, "epochs")}
)
PRESENT = {"learning_rate": 0.005, "n_epochs": 20}


def opened(folder: Path, seed: int = 0) -> Study:
    folder.mkdir(exist_ok=True)
    study = Study(folder, "svd-test", SPACE, seed=seed)
    study.enqueue(PRESENT)
    return study


def run(study: Study, trials: int) -> None:
    for _ in range(trials):
        trial = study.ask()
        study.complete(trial, trial.params["learning_rate"] * trial.params["n_epochs"], 1.0, {})


def settled(study: Study) -> list[tuple]:
    return [(record.step, record.params, record.state, record.value) for record in study.settled()]


def test_the_present_parameters_are_the_first_trial(tmp_path: Path) -> None:
    study = opened(tmp_path)
    run(study, 2)
    assert [record.params == PRESENT for record in study.records()] == [True, False]


def test_the_same_seed_draws_the_same_trials_and_another_others(tmp_path: Path) -> None:
    studies = [opened(tmp_path / name, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    for study in studies:
        run(study, 12)
    first, again, other = map(settled, studies)
    assert first == again
    assert [trial[1] for trial in first[1:]] != [trial[1] for trial in other[1:]]


@pytest.mark.parametrize("killed_after", [0, 1, 3, 9])
def test_a_killed_study_goes_on_with_the_trials_of_one_that_was_not(
    killed_after: int, tmp_path: Path
) -> None:
    whole, broken = opened(tmp_path / "whole"), opened(tmp_path / "broken")
    run(whole, 12)
    run(broken, killed_after)
    broken.ask()  # and nobody is left to tell how it ended
    resumed = opened(tmp_path / "broken")
    run(resumed, 12 - killed_after)
    assert settled(resumed) == settled(whole)
    assert [record.state for record in resumed.records()].count(INTERRUPTED) == 1


def test_a_trial_that_is_killed_again_and_again_is_given_up(tmp_path: Path) -> None:
    for attempt in range(MAX_ATTEMPTS):
        study = opened(tmp_path)
        assert not study.tried(PRESENT)
        assert study.ask().params == PRESENT, attempt
    study = opened(tmp_path)
    assert study.tried(PRESENT)
    assert study.step == 1
    assert study.ask().params != PRESENT


def test_a_line_cut_short_by_a_kill_is_dropped(tmp_path: Path) -> None:
    run(opened(tmp_path), 3)
    path = tmp_path / "svd-test.journal"
    with path.open("ab") as file:
        file.write(b'{"op_code":4,"worker_id"')
    study = opened(tmp_path)
    run(study, 1)
    assert len(opened(tmp_path).settled()) == 4


def test_a_lock_left_by_a_killed_process_holds_nobody_up(tmp_path: Path) -> None:
    with exclusive(tmp_path):
        run(opened(tmp_path), 1)
    (tmp_path / "svd-test.journal.lock").symlink_to(tmp_path / "svd-test.journal")
    with exclusive(tmp_path):
        run(opened(tmp_path), 1)


def test_two_cannot_tune_in_the_same_folder(tmp_path: Path) -> None:
    with exclusive(tmp_path), pytest.raises(TuningBusyError), exclusive(tmp_path):
        pass
    with exclusive(tmp_path):
        pass


def test_how_a_trial_ended_is_told_apart(tmp_path: Path) -> None:
    study = opened(tmp_path)
    study.complete(study.ask(), 0.5, 1.5, {"epochs": 3})
    trial = study.ask()
    trial.report(0.25, 1)
    study.prune(trial, 2.0)
    study.fail(study.ask(), 0.5, "DivergedError: the loss is nan")
    study.interrupt(study.ask(), 0.25)
    records = study.records()
    assert [record.state for record in records] == [COMPLETE, PRUNED, FAILED, INTERRUPTED]
    assert [record.value for record in records] == [0.5, None, None, None]
    assert [record.step for record in records] == [0, 1, 2, 3]
    assert records[0].found == {"epochs": 3}
    assert records[1].curve == {1: 0.25}
    assert records[2].reason == "DivergedError: the loss is nan"
    assert study.spent() == 4.25
    assert study.step == 3


def test_of_equals_the_oldest_is_the_best(tmp_path: Path) -> None:
    study = opened(tmp_path)
    assert study.best() is None
    for value in (0.1, 0.3, 0.3, 0.2):
        study.complete(study.ask(), value, 0.0, {})
    best = study.best()
    assert best is not None
    assert best.number == 1


def test_what_was_spent_is_forgotten_when_a_round_is_closed_and_only_then(tmp_path: Path) -> None:
    study = opened(tmp_path)
    run(study, 3)
    study.note_spent(0.5)
    assert opened(tmp_path).spent() == 3.5
    study.close_round()
    resumed = opened(tmp_path)
    assert resumed.spent() == 0.0
    run(resumed, 1)
    assert resumed.spent() == 1.0


def test_a_study_is_named_after_all_that_its_values_depend_on() -> None:
    about = {"training set": "abc", "fixed": {"seed": 0}}
    assert study_name("svd", about) == study_name("svd", dict(reversed(about.items())))
    assert study_name("svd", about) != study_name("svd", {**about, "training set": "abd"})
    assert study_name("svd", about).startswith("svd-")

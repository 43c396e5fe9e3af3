"""The declaration in force follows its file, and a broken file changes nothing but what is said of it."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from serving.experiments.assignment import NO_EXPERIMENT, Assignment
from serving.experiments.running import Experiments
from tests.serving.conftest import wait_for

from .declared import experiment, text

MORE = Assignment({"diversity": "more"}, {"diversity": 0.4})


class Clock:
    now = 1_800_000_000.0  # 2027-01-15T08:00:00Z

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "experiments.yaml"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def experiments(path: Path, registry: CollectorRegistry, clock: Clock) -> Experiments:
    return Experiments(path, registry, clock=clock)


def write(path: Path, content: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(content)
    fresh.replace(path)


def test_without_a_file_nobody_is_in_an_experiment(experiments: Experiments) -> None:
    experiments.refresh()
    assert experiments.assign("ann") is NO_EXPERIMENT
    assert experiments.problem is None


def test_a_changed_file_is_taken_up(experiments: Experiments, path: Path) -> None:
    write(path, text(experiment()))
    experiments.refresh()
    assert experiments.assign("ann") == MORE
    write(path, text())
    experiments.refresh()
    assert experiments.assign("ann") is NO_EXPERIMENT


@pytest.mark.parametrize("broken", ["experiments: [", "experiments: 3", None])
def test_a_broken_file_leaves_the_last_good_one_in_force_and_says_so(
    experiments: Experiments, path: Path, registry: CollectorRegistry, broken: str | None
) -> None:
    write(path, text(experiment()))
    experiments.refresh()
    path.unlink() if broken is None else write(path, broken)
    for _ in range(2):
        experiments.refresh()
        assert experiments.assign("ann") == MORE
        assert (experiments.problem or "").startswith("experiments.yaml: ")
        assert registry.get_sample_value("reelgraph_experiments_file_broken") == 1
    write(path, text(experiment()))
    experiments.refresh()
    assert experiments.problem is None
    assert registry.get_sample_value("reelgraph_experiments_file_broken") == 0


def test_an_experiment_starts_and_ends_when_its_time_comes(
    experiments: Experiments, path: Path, clock: Clock, registry: CollectorRegistry
) -> None:
    write(path, text(experiment(start="2027-01-15T09:00:00Z", end="2027-01-15T10:00:00Z")))
    found = []
    for _ in range(3):
        experiments.refresh()
        found.append((experiments.assign("ann"), registry.get_sample_value("reelgraph_experiments_running")))
        clock.now += 3600
    assert found == [(NO_EXPERIMENT, 0), (MORE, 1), (NO_EXPERIMENT, 0)]


def test_answers_are_counted_by_variant_and_a_testers_are_not(
    experiments: Experiments, path: Path, registry: CollectorRegistry
) -> None:
    write(path, text(experiment()))
    experiments.refresh()
    for user, override in (("ann", None), ("ann", "diversity:more"), ("bob", None), ("ann", None)):
        experiments.assign(user, override)
    experiments.would_get("ann")
    name = "reelgraph_experiment_assignments_total"
    counted = [
        registry.get_sample_value(name, {"experiment": "diversity", "variant": variant})
        for variant in ("more", "today")
    ]
    assert counted == [2, 1]


def test_an_erased_user_is_in_no_experiment(experiments: Experiments, path: Path) -> None:
    write(path, text(experiment()))
    experiments.refresh()
    assert experiments.assign("") is NO_EXPERIMENT
    assert experiments.would_get("") is NO_EXPERIMENT


def test_the_file_is_watched_until_it_is_closed(path: Path, registry: CollectorRegistry) -> None:
    experiments = Experiments(path, registry, poll_s=0.01)
    write(path, text(experiment()))
    experiments.start()
    assert experiments.assign("ann") == MORE  # from the first moment
    write(path, text())
    wait_for(lambda: experiments.assign("ann") is NO_EXPERIMENT, "the new file")
    asyncio.run(experiments.close())
    thread = experiments._thread
    assert thread is not None
    thread.join(5)
    assert not thread.is_alive()

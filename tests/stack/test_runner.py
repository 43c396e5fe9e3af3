"""One service's life step by step: one-shots, time-outs, and failures before the process exists."""

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from stack import runner as runner_module
from stack.processes import StillRunningError, owned, sweep
from stack.runner import Policy, Runner, State
from stack.service import Service
from stack.settings import child_environment

QUICK = Policy(
    tick_s=0.01, probe_starting_s=0.01, probe_running_s=0.05, first_back_off_s=0.01, quick_deaths=2
)
SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")


@dataclass(frozen=True)
class Answer:
    """A probe that always says the same."""

    trouble: str | None = None

    def check(self) -> str | None:
        return self.trouble


class Life:
    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.seen: list[State] = []

    def until(self, *states: State, seconds: float = 10) -> None:
        """Step until the runner is in one of these states, recording each state on the way."""
        deadline = time.monotonic() + seconds
        while self.runner.state not in states:
            assert time.monotonic() < deadline, (self.runner.state, self.runner.detail)
            self.runner.step(lambda name: name != "sick")
            if not self.seen or self.seen[-1] != self.runner.state:
                self.seen.append(self.runner.state)
            time.sleep(0.005)


@pytest.fixture
def live(tmp_path: Path, new_settings: Callable[..., Any]) -> Iterator[Callable[..., Life]]:
    executor = ThreadPoolExecutor(2)
    home = tmp_path / "a home"

    def make(command: tuple[str, ...], **fields: Any) -> Life:
        policy = fields.pop("policy", QUICK)
        service = Service(name="it", command=command, stop_grace_s=1, **fields)
        environment = child_environment(new_settings())
        log = tmp_path / "it.log"
        return Life(
            Runner(service, home=home, log=log, environment=environment, policy=policy, executor=executor)
        )

    yield make
    sweep(lambda: owned(home), 0)
    executor.shutdown()


def test_a_one_shot_that_ends_well_is_done(live: Callable[..., Life]) -> None:
    life = live((sys.executable, "-c", ""), one_shot=True)
    life.until(State.DONE)
    assert life.seen == [State.STARTING, State.DONE]
    assert (life.runner.restarts, life.runner.process) == (0, None)


def test_a_one_shot_that_fails_is_tried_again_then_given_up(live: Callable[..., Life]) -> None:
    life = live((sys.executable, "-c", "raise SystemExit(7)"), one_shot=True)
    life.until(State.FAILED)
    assert life.runner.detail == "gave up after 2 deaths in a row, the last: exit code 7"


def test_a_one_shot_that_takes_too_long_is_ended(live: Callable[..., Life]) -> None:
    life = live(SLEEP, one_shot=True, start_timeout_s=0.1)
    life.until(State.FAILED)
    assert life.runner.last_exit == "not ready within 0.1 s"


def test_a_service_that_ends_by_itself_with_0_has_died_all_the_same(live: Callable[..., Life]) -> None:
    life = live((sys.executable, "-c", ""))
    life.until(State.FAILED)
    assert life.runner.last_exit == "exit code 0"


def test_what_never_gets_well_is_given_up_after_two_time_outs(live: Callable[..., Life]) -> None:
    policy = Policy(tick_s=0.01, probe_starting_s=0.01, first_back_off_s=0.01, start_time_outs=2)
    life = live(SLEEP, probe=Answer("still loading"), start_timeout_s=0.2, policy=policy)
    life.until(State.FAILED)
    assert life.runner.detail.endswith("the last: not ready within 0.2 s: still loading")
    assert life.runner.restarts == 1


def test_it_waits_for_what_it_requires_and_says_for_what(live: Callable[..., Life]) -> None:
    life = live(SLEEP, requires=("well", "sick"))
    life.runner.step(lambda name: name != "sick")
    assert (life.runner.state, life.runner.detail) == (State.WAITING, "waits for sick")
    life.runner.step(lambda name: True)
    life.until(State.HEALTHY)
    assert life.runner.detail == ""


def test_a_failing_preparation_counts_as_a_death_with_its_reason(live: Callable[..., Life]) -> None:
    def prepare() -> None:
        raise PermissionError(13, "Permission denied", "/data")

    life = live(SLEEP, prepare=prepare)
    life.until(State.FAILED)
    assert life.runner.last_exit == "PermissionError: [Errno 13] Permission denied: '/data'"


def test_a_failing_follow_up_keeps_it_from_being_healthy(live: Callable[..., Life]) -> None:
    calls: list[int] = []

    def follow_up() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError("too early")

    life = live(SLEEP, on_healthy=follow_up)
    life.until(State.HEALTHY)
    assert len(calls) == 3


def test_a_probe_that_raises_is_the_services_trouble(live: Callable[..., Life]) -> None:
    class Broken:
        def check(self) -> str | None:
            raise KeyError("data")

    life = live(SLEEP, probe=Broken(), start_timeout_s=0.2)
    life.until(State.FAILED)
    assert "KeyError: 'data'" in life.runner.last_exit


def test_a_quiet_life_forgives_earlier_deaths(live: Callable[..., Life]) -> None:
    policy = Policy(
        tick_s=0.01, probe_starting_s=0.01, first_back_off_s=0.01, quick_death_s=0.2, quick_deaths=2
    )
    life = live((sys.executable, "-c", "import time; time.sleep(0.4)"), policy=policy)
    deadline = time.monotonic() + 15
    while life.runner.restarts < 3:
        life.runner.step(lambda name: True)
        assert life.runner.state is not State.FAILED
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_one_that_never_started_is_stopped_at_once_and_a_failed_one_stays_failed(
    live: Callable[..., Life],
) -> None:
    idle = live(SLEEP)
    idle.runner.end()
    assert idle.runner.state is State.STOPPED
    broken = live((sys.executable, "-c", "raise SystemExit(1)"))
    broken.until(State.FAILED)
    broken.runner.end()
    assert broken.runner.state is State.FAILED
    broken.runner.retry()
    assert broken.runner.state is State.WAITING


def test_given_up_it_waits_for_what_it_requires_without_another_word(live: Callable[..., Life]) -> None:
    policy = replace(QUICK, given_up_retry_s=0.01)
    life = live((sys.executable, "-c", "raise SystemExit(1)"), requires=("sick",), policy=policy)
    deadline = time.monotonic() + 10
    while life.runner.state is not State.FAILED:
        life.runner.step(lambda name: True)
        assert time.monotonic() < deadline
    line = "gave up after 2 deaths in a row, the last: exit code 1"
    time.sleep(0.05)
    for _ in range(3):
        life.runner.step(lambda name: name != "sick")
        assert life.runner.reported == (State.FAILED, line)
    assert life.runner.process is None
    assert life.runner.restarts == 1


def test_what_a_dead_service_left_and_nobody_can_end_is_that_services_trouble(
    live: Callable[..., Life], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [False, True, True]  # start, end, start

    def stuck(*_: object) -> int:
        if answers.pop(0):
            raise StillRunningError("could not end process 1")
        return 0

    monkeypatch.setattr(runner_module, "sweep", stuck)
    life = live((sys.executable, "-c", "raise SystemExit(1)"))
    life.until(State.FAILED)
    assert life.runner.last_exit == "StillRunningError: could not end process 1"
    assert answers == []

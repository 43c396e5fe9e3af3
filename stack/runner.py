"""One service under supervision: started, watched, restarted after a death, given up after too many."""

import logging
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from stack.processes import StillRunningError, exit_reason, owned, spawn, sweep
from stack.service import Service

logger = logging.getLogger("stack.supervisor")


class State(StrEnum):
    WAITING = "waiting"  # for what it requires
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"  # runs, doesn't answer
    RESTARTING = "restarting"  # between a death and the next start
    FAILED = "failed"  # given up: tried again once in a while
    DONE = "done"  # a one-shot that ended well
    STOPPING = "stopping"
    STOPPED = "stopped"

    @property
    def well(self) -> bool:
        return self in (State.HEALTHY, State.DONE)


@dataclass(frozen=True)
class Policy:
    """How patient the supervisor is; seconds."""

    tick_s: float = 0.2
    probe_starting_s: float = 0.25
    probe_running_s: float = 5.0
    first_back_off_s: float = 0.5
    longest_back_off_s: float = 10.0
    # A death within this time after the start is quick; so many in a row and we give up.
    quick_death_s: float = 60.0
    quick_deaths: int = 5
    start_time_outs: int = 2
    # What kept it from starting may be gone by then: a full disk, a store elsewhere.
    given_up_retry_s: float = 60.0


@dataclass
class _Ending:
    reason: str
    kill_at: float


class Runner:
    """Driven by `step` from the supervisor's main thread (children must be started from it)."""

    def __init__(
        self,
        service: Service,
        *,
        home: Path,
        log: Path,
        environment: Mapping[str, str],
        policy: Policy,
        executor: Executor,
    ) -> None:
        self.service = service
        self.state = State.WAITING
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at: float | None = None  # wall clock, for people
        self.restarts = 0
        self.last_exit = ""
        self.detail = ""
        self._home, self._log, self._policy, self._executor = home, log, policy, executor
        self._environment = {**environment, **service.environment}
        self._start_not_before = 0.0
        self._launched = 0.0  # monotonic
        self._last_good = 0.0
        self._next_probe = 0.0
        self._probe: Future[str | None] | None = None
        self._quick_deaths = 0
        self._time_outs = 0
        self._ending: _Ending | None = None
        self._gave_up = ""  # the line that says so, until it is well again

    @property
    def reported(self) -> tuple[State, str]:
        """State and detail for people: a service that was given up stays failed while it is tried once more."""
        if self._gave_up and self.state in (State.WAITING, State.STARTING, State.RESTARTING):
            return State.FAILED, self._gave_up
        return self.state, self.detail

    def step(self, is_well: Callable[[str], bool]) -> None:
        """Do what is due now; `is_well` tells whether another service is."""
        if self.process is not None:
            self._watch(self.process)
        elif self.state in (State.WAITING, State.RESTARTING, State.FAILED):
            blockers = [name for name in self.service.requires if not is_well(name)]
            if blockers and self.state is not State.FAILED:
                self.detail = f"waits for {', '.join(blockers)}"
            if not blockers and time.monotonic() >= self._start_not_before:
                if self.state is State.FAILED:
                    self.restarts += 1
                self._start()

    def end(self) -> None:
        """Ask it to stop, for good; `step` follows it until `process` is None."""
        if self.process is None:
            if self.state not in (State.FAILED, State.DONE):
                self.state = State.STOPPED
        elif self.state is not State.STOPPING:
            self.state = State.STOPPING
            self._terminate("stopped")

    def retry(self) -> None:
        """Start at once a service that was given up, as patiently as the first time."""
        if self._gave_up:
            self._gave_up = ""
            self._quick_deaths = self._time_outs = 0
        if self.state is State.FAILED:
            self.state, self.detail, self._start_not_before = State.WAITING, "", 0.0

    def _start(self) -> None:
        self.detail = ""
        self._launched = self._last_good = time.monotonic()
        self._next_probe, self._probe, self._ending = 0.0, None, None
        try:
            # What an earlier life of it left behind (workers of a killed parent) holds its port and files.
            if left := sweep(lambda: owned(self._home, self.service.name), 0):
                logger.warning("%s: ended %d processes left by an earlier one", self.service.name, left)
            if self.service.prepare is not None:
                self.service.prepare()
            with self._log.open("ab") as output:
                self.process = spawn(
                    self.service.command,
                    environment=self._environment,
                    output=output,
                    owner=self._home,
                    service=self.service.name,
                    cwd=self.service.cwd,
                    identity=self.service.identity(),
                    death_signal=self.service.stop_signal,
                )
        except Exception as error:  # whatever it is, this service can't start and the others go on
            logger.debug("%s: start failed", self.service.name, exc_info=True)
            self._died(f"{type(error).__name__}: {error}")
            return
        self.state, self.started_at = State.STARTING, time.time()
        logger.info("%s: started (pid %d)", self.service.name, self.process.pid)

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        status = process.poll()
        if status is not None:
            self._ended(status)
        elif self._ending is not None:
            if time.monotonic() >= self._ending.kill_at:
                logger.warning("%s: did not stop in time, killed", self.service.name)
                process.kill()
                self._ending.kill_at = float("inf")
        elif not self.service.one_shot:
            self._ask_health()
            self._judge()
        else:
            self._judge()

    def _ended(self, status: int) -> None:
        self.process, reason = None, exit_reason(status)
        try:
            sweep(lambda: owned(self._home, self.service.name), 0)
        except StillRunningError as error:  # the next start meets it again, and says so
            logger.error("%s: %s, left by it", self.service.name, error)  # noqa: TRY400 - the cause is in the line
        if self.state is State.STOPPING:
            self.state = State.STOPPED
            logger.info("%s: stopped (%s)", self.service.name, reason)
        elif self.service.one_shot and status == 0 and self._ending is None:
            self.state, self._gave_up = State.DONE, ""
            logger.info("%s: done after %.1f s", self.service.name, time.monotonic() - self._launched)
        else:
            self._died(self._ending.reason if self._ending else reason)

    def _died(self, reason: str) -> None:
        policy = self._policy
        self.last_exit = reason
        if time.monotonic() - self._launched > policy.quick_death_s and not self._gave_up:
            self._quick_deaths = 0
        self._quick_deaths += 1
        if self._quick_deaths >= policy.quick_deaths or self._time_outs >= policy.start_time_outs:
            self.state = State.FAILED
            self.detail = f"gave up after {self._quick_deaths} deaths in a row, the last: {reason}"
            self._gave_up = self.detail
            wait = policy.given_up_retry_s
            self._start_not_before = time.monotonic() + wait
            logger.error(
                "%s: %s; see %s; next try in %.0f s", self.service.name, self.detail, self._log, wait
            )
            return
        wait = min(policy.first_back_off_s * 2 ** (self._quick_deaths - 1), policy.longest_back_off_s)
        self.restarts += 1
        self._start_not_before = time.monotonic() + wait
        self.state = State.RESTARTING
        self.detail = reason
        logger.warning("%s: %s; restart %d in %.1f s", self.service.name, reason, self.restarts, wait)

    def _terminate(self, reason: str) -> None:
        assert self.process is not None
        self._ending = _Ending(reason, time.monotonic() + self.service.stop_grace_s)
        if self.service.stop_children:
            os.killpg(self.process.pid, self.service.stop_signal)
        else:
            self.process.send_signal(self.service.stop_signal)

    def _ask_health(self) -> None:
        now = time.monotonic()
        if self._probe is None:
            if now >= self._next_probe:
                first = self.state is State.STARTING
                self._probe = self._executor.submit(self._check, first)
            return
        if not self._probe.done():
            return
        trouble, self._probe = self._probe.result(), None
        starting = self.state is State.STARTING
        slow, quick = self._policy.probe_running_s, self._policy.probe_starting_s
        if trouble is None:
            if self.state is not State.HEALTHY:
                logger.info("%s: healthy after %.1f s", self.service.name, now - self._launched)
            self.state, self.detail, self._gave_up = State.HEALTHY, "", ""
            self._last_good, self._time_outs = now, 0
        else:
            self.detail = trouble
            # One missed answer on a busy machine is not news; a second is.
            if not starting and now - self._last_good > 2 * slow:
                if self.state is State.HEALTHY:
                    logger.warning("%s: does not answer: %s", self.service.name, trouble)
                self.state = State.UNHEALTHY
        self._next_probe = now + (quick if starting and trouble else slow)

    def _check(self, first: bool) -> str | None:
        """In a worker thread: the probe, and after the first good one of a start the service's own follow-up."""
        try:
            trouble = self.service.probe.check()
            if trouble is None and first and self.service.on_healthy is not None:
                self.service.on_healthy()
        except Exception as error:  # reported as the service's trouble: it counts as not well
            return f"{type(error).__name__}: {error}".strip()
        return trouble

    def _judge(self) -> None:
        """End a start that takes too long, and a service that has not answered for too long."""
        now, service = time.monotonic(), self.service
        if self.state is State.STARTING and now - self._launched > service.start_timeout_s:
            self._time_outs += 1
            trouble = f": {self.detail}" if self.detail else ""
            self._hung(f"not ready within {service.start_timeout_s:g} s{trouble}")
        elif self.state is State.UNHEALTHY and now - self._last_good > service.hang_timeout_s:
            self._hung(f"no answer for {service.hang_timeout_s:g} s: {self.detail}")

    def _hung(self, reason: str) -> None:
        logger.warning("%s: %s; ending it", self.service.name, reason)
        self._terminate(reason)

"""The supervisor: one process that starts the services in order, keeps them running, and stops them in reverse."""

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stack.fingerprint import fingerprint
from stack.log_files import LOG_NAME, log_to, trim_logs
from stack.processes import RUN_VARIABLE, adopt_orphans, owned, reap_adopted, sweep
from stack.run_files import (
    AlreadyRunningError,
    hold_supervisor_lock,
    run_dir,
    wanted_services,
    write_state,
)
from stack.runner import Policy, Runner, State
from stack.service import Service, all_requirements, in_start_order, with_requirements
from stack.settings import PROJECT_ROOT, Settings, child_environment, load_settings

logger = logging.getLogger("stack.supervisor")

_HOUSEKEEPING_S = 10.0
# Trouble that comes back at every tick is told once in this time.
_TELL_AGAIN_S = 10.0


class Supervisor:
    """Runs until SIGTERM or SIGINT; SIGHUP makes it read again what is wanted and retry what it gave up."""

    def __init__(self, settings: Settings, services: Sequence[Service], policy: Policy | None = None) -> None:
        self._settings = settings
        self._declared = in_start_order(services)
        self._policy = policy or Policy()
        self._run = uuid.uuid4().hex
        self._started_at = time.time()
        self._stop = self._reread = False
        self._runners: dict[str, Runner] = {}
        self._executor = ThreadPoolExecutor(max_workers=max(4, len(services)), thread_name_prefix="probe")
        self._fingerprint = fingerprint(settings)
        self._rereads = 0
        self._said: dict[str, Any] = {}
        self._troubled: dict[str, float] = {}  # what went wrong, and when it may be told again
        self._next_housekeeping = 0.0
        self._watchdog: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Blocks. Raises `AlreadyRunningError`; everything it started has ended when it returns."""
        run_dir(self._settings).mkdir(parents=True, exist_ok=True)
        self._settings.logs_dir.mkdir(parents=True, exist_ok=True)
        lock = hold_supervisor_lock(self._settings)
        try:
            signal.signal(signal.SIGTERM, self._on_stop)
            signal.signal(signal.SIGINT, self._on_stop)
            signal.signal(signal.SIGHUP, self._on_reread)
            adopt_orphans()
            logger.info("supervisor started (pid %d) for %s", os.getpid(), self._settings.home)
            self._watchdog = self._start_watchdog()
            self._read_wanted()
            self._loop()
        finally:
            self._stop_all()
            self._attempt("dismissing the watchdog", self._dismiss_watchdog)
            self._executor.shutdown(wait=False, cancel_futures=True)
            logger.info("supervisor stopped")
            lock.close()

    def _on_stop(self, *_: object) -> None:
        self._stop = True

    def _on_reread(self, *_: object) -> None:
        self._reread = True

    def _attempt(self, what: str, action: Callable[[], object]) -> str:
        """What went wrong, '' if nothing did. No trouble with one thing may end the supervisor and so all others."""
        try:
            action()
        except Exception as error:  # whatever it is: see above
            if time.monotonic() >= self._troubled.get(what, 0.0):
                self._troubled[what] = time.monotonic() + _TELL_AGAIN_S
                logger.exception("%s failed; the others go on", what)
            return f"{type(error).__name__}: {error}"
        return ""

    def _loop(self) -> None:
        while not self._stop:
            if self._reread:
                self._reread = False
                self._attempt("reading what is wanted", self._read_wanted)
                for runner in self._runners.values():
                    runner.retry()
                self._rereads += 1
            for runner in self._runners.values():
                self._step(runner)
            self._after_step()
            time.sleep(self._policy.tick_s)

    def _step(self, runner: Runner) -> None:
        trouble = self._attempt(runner.service.name, lambda: runner.step(self._is_well))
        runner.detail = trouble or runner.detail

    def _after_step(self) -> None:
        self._attempt("collecting dead processes", self._reap)
        self._attempt("starting the watchdog", self._keep_watchdog)
        self._attempt("writing the state", self._tell)
        if time.monotonic() >= self._next_housekeeping:
            self._next_housekeeping = time.monotonic() + _HOUSEKEEPING_S
            self._attempt("trimming the logs", lambda: trim_logs(self._settings.logs_dir))

    def _reap(self) -> None:
        processes = [r.process for r in self._runners.values() if r.process is not None]
        reap_adopted([p.pid for p in processes] + ([self._watchdog.pid] if self._watchdog else []))

    def _keep_watchdog(self) -> None:
        if self._watchdog is not None and self._watchdog.poll() is not None and not self._stop:
            logger.warning("watchdog died; started again")
            self._watchdog = self._start_watchdog()

    def _is_well(self, name: str) -> bool:
        return self._runners[name].state.well

    def _read_wanted(self) -> None:
        """Take on what `up` asked for; nothing is stopped that runs already."""
        there = [service.name for service in self._declared]
        names = wanted_services(self._settings) or there
        if unknown := [name for name in names if name not in there]:
            logger.error("asked for %s, which this supervisor does not know", ", ".join(unknown))
            names = [name for name in names if name in there]
        environment = {**child_environment(self._settings), RUN_VARIABLE: self._run}
        # dbt and other tools are found beside this interpreter, also when the environment isn't activated.
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment.get('PATH', os.defpath)}"
        environment.setdefault("MALLOC_ARENA_MAX", "2")  # glibc's many arenas keep memory that is not used
        for service in in_start_order(with_requirements(self._declared, names)):
            if service.name not in self._runners:
                self._runners[service.name] = Runner(
                    service,
                    home=self._settings.home,
                    log=self._settings.logs_dir / f"{service.name}.log",
                    environment=environment,
                    policy=self._policy,
                    executor=self._executor,
                )

    def _stop_all(self) -> None:
        """Each service once nothing that needs it runs any more; then whatever still carries our mark."""
        self._stop = True
        requirements = all_requirements([runner.service for runner in self._runners.values()])
        while True:
            running = {name for name, r in self._runners.items() if r.process is not None}
            for name, runner in self._runners.items():
                needed = any(name in requirements[other] for other in running)
                if runner.state is State.STOPPING or not needed:
                    self._attempt(f"stopping {name}", runner.end)
                if runner.process is not None:
                    self._step(runner)
            self._after_step()
            if not running:
                break
            time.sleep(min(self._policy.tick_s, 0.1))
        self._attempt("ending what outlived its service", self._sweep)

    def _sweep(self) -> None:
        if left := sweep(lambda: owned(self._settings.home, run=self._run), 1):
            logger.warning("ended %d processes that outlived their service", left)

    def _tell(self) -> None:
        """Write what `status` shows, if it changed."""
        state = {
            "supervisor_pid": os.getpid(),
            "started_at": self._started_at,
            "stopping": self._stop,
            "fingerprint": self._fingerprint,
            "declared": [service.name for service in self._declared],
            "rereads": self._rereads,
            "services": [_describe(runner) for runner in self._runners.values()],
        }
        if state != self._said:
            write_state(self._settings, state)
            self._said = state

    def _start_watchdog(self) -> subprocess.Popen[bytes]:
        """It notices our end by the end of its stdin, and ends what we leave."""
        with self._settings.logs_dir.joinpath(f"{LOG_NAME}.log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "stack.watchdog", str(self._settings.home), self._run],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=PROJECT_ROOT,
                start_new_session=True,
            )

    def _dismiss_watchdog(self) -> None:
        if self._watchdog is None or self._watchdog.stdin is None:
            return
        try:
            self._watchdog.stdin.write(b"bye\n")
            self._watchdog.stdin.close()
        except BrokenPipeError:
            logger.warning("the watchdog was gone already")
        self._watchdog.wait(10)


def _describe(runner: Runner) -> dict[str, Any]:
    running = runner.process is not None
    state, detail = runner.reported
    return {
        "name": runner.service.name,
        "state": str(state),
        "pid": runner.process.pid if runner.process else None,
        "port": runner.service.port,
        "url": runner.service.url,
        "started_at": runner.started_at if running else None,
        "restarts": runner.restarts,
        "last_exit": runner.last_exit,
        "detail": detail,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m stack.supervisor [--foreground]`; exit code 1 if another supervisor serves this home."""
    from stack.services import declared_services

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--foreground", action="store_true", help="say what happens on stderr too")
    options = parser.parse_args(arguments)
    settings = load_settings()
    settings.logs_dir.mkdir(parents=True, exist_ok=True)
    log_to(settings.logs_dir / f"{LOG_NAME}.log", also_stderr=options.foreground)
    try:
        Supervisor(settings, declared_services(settings)).run()
    except AlreadyRunningError as error:
        logger.error("%s", error)  # noqa: TRY400 - one clear line
        return 1
    except Exception:
        logger.exception("supervisor failed")
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())

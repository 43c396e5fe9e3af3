"""The experiments in force: a file, read again when it changes; a broken one leaves the last good one in force."""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge

from serving.experiments.assignment import NO_EXPERIMENT, Assignment, Split, Splits, assign
from serving.experiments.declaration import NONE_DECLARED, Experiment, read_declaration
from serving.experiments.errors import ExperimentsFileError
from serving.opt_out import NOBODY

log = logging.getLogger(__name__)

POLL_S = 1.0


class ExperimentMetrics:
    """Labels are names of the declaration, which people write: a few."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.running = Gauge(
            "reelgraph_experiments_running", "Experiments users are in now", registry=registry
        )
        self.broken = Gauge(
            "reelgraph_experiments_file_broken",
            "1 while the declaration cannot be read and the last good one is in force",
            registry=registry,
        )
        self.assignments = Counter(
            "reelgraph_experiment_assignments",
            "Answers given in an experiment",
            ["experiment", "variant"],
            registry=registry,
        )
        self._children: dict[tuple[str, str], Counter] = {}

    def count(self, experiment: str, variant: str) -> None:
        """One answer in that variant, in half a microsecond."""
        child = self._children.get((experiment, variant))
        if child is None:
            child = self._children[experiment, variant] = self.assignments.labels(experiment, variant)
        child.inc()


class Experiments:
    """`assign` says what a user gets; everything else keeps the declaration up to date, from a thread of its own."""

    def __init__(
        self,
        path: Path,
        registry: CollectorRegistry,
        *,
        clock: Callable[[], float] = time.time,
        poll_s: float = POLL_S,
    ) -> None:
        self._path = path
        self._metrics = ExperimentMetrics(registry)
        self._clock = clock
        self._poll_s = poll_s
        self._seen: tuple[int, int, int] | None = None
        self._splits = Splits(NONE_DECLARED)
        self._active: list[Split] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.problem: str | None = None

    def start(self) -> None:
        """Read the file, so that the first answer is of an experiment already, then watch it."""
        self.refresh()
        self._thread = threading.Thread(target=self._watch, name="experiments-watcher", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """The thread is a daemon between two looks at a file: nobody waits for it."""
        self._stop.set()

    def assign(self, user_id: str, override: str | None = None) -> Assignment:
        """What the user gets, in microseconds; nothing for `NOBODY`. `override`: a tester's `experiment` or
        `experiment:variant`; raises `UnknownExperimentError` if there is none."""
        if override is not None:
            return self._splits.forced(user_id, override)
        if not self._active or user_id == NOBODY:
            return NO_EXPERIMENT
        assignment = assign(self._active, user_id)
        for experiment, variant in assignment.variants.items():
            self._metrics.count(experiment, variant)
        return assignment

    def would_get(self, user_id: str) -> Assignment:
        """The same without counting it: nothing is answered with it."""
        return NO_EXPERIMENT if user_id == NOBODY else assign(self._active, user_id)

    def declared(self) -> tuple[Experiment, ...]:
        return self._splits.declaration.experiments

    def running(self) -> list[Experiment]:
        """Those that users are in now."""
        return [split.experiment for split in self._active]

    def refresh(self) -> None:
        """Take up a changed file, and start and end what the time has come for. Reads a file: not for the event loop.

        A file that is gone is as a broken one, since whoever replaces it may be at it: an empty list ends all."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            if self._seen is not None:
                self._failed(f"{self._path.name}: is gone")
                self._seen = None
        except OSError as error:
            self._failed(f"{self._path.name}: cannot be read: {type(error).__name__}")
        else:
            self._take_up((stat.st_ino, stat.st_mtime_ns, stat.st_size))
        # Replaced whole: a request sees the old list or the new one.
        self._active = self._splits.active(datetime.fromtimestamp(self._clock(), UTC))
        self._metrics.running.set(len(self._active))

    def _take_up(self, seen: tuple[int, int, int]) -> None:
        if seen == self._seen:
            return
        self._seen = seen
        try:
            declaration = read_declaration(self._path)
        except ExperimentsFileError as error:
            self._failed(str(error))
            return
        self._splits = Splits(declaration)
        self.problem = None
        self._metrics.broken.set(0)
        log.info("%d experiments are declared", len(declaration.experiments))

    def _failed(self, problem: str) -> None:
        if problem != self.problem:
            log.error("the experiments stay the last ones: %s", problem)
        self.problem = problem
        self._metrics.broken.set(1)

    def _watch(self) -> None:
        while not self._stop.wait(self._poll_s):
            try:
                self.refresh()
            except Exception:  # the thread must outlive whatever it meets; the experiments in force stay
                log.exception("the look at the experiments failed")

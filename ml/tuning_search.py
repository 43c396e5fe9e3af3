"""One kind's search: trials until its share of the budget is spent, then winner and present parameters compared."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ml.config import TrainConfig
from ml.fitting import Validate
from ml.metrics import PRIMARY
from ml.recommender import Recommender
from ml.tuning_objective import TROUBLES, Fit, Judge
from ml.tuning_space import Space, Value
from ml.tuning_study import COMPLETE, Study, TrialRecord
from ml.tuning_verdict import Confirmation, Verdict

if TYPE_CHECKING:
    import optuna

CONFIRM_SHARE = 0.25  # of a kind's share of the budget: to fit winner and present parameters anew

Say = Callable[[str], None]


@dataclass(frozen=True)
class About:
    """Which study it is: `fixed` are the settings that it does not change but that its values depend on; `id` tells it
    from others of the same name."""

    name: str
    kind: str
    space: Space
    present: dict[str, Value]
    fixed: dict[str, Any]
    id: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of one kind. `params` are those to use from now on: `best`'s if the verdict says so, else the present
    ones. No verdict: no trial was better than the present parameters on the users that choose, or these could not be
    fitted anew to compare the best with."""

    about: About
    trials: tuple[TrialRecord, ...]
    best: TrialRecord | None
    present_value: float | None
    verdict: Verdict | None

    @property
    def replaced(self) -> bool:
        return self.verdict is not None and self.verdict.better

    @property
    def params(self) -> dict[str, Value]:
        return self.best.params if self.replaced and self.best else self.about.present

    def __str__(self) -> str:
        """The outcome in a line."""
        kind, verdict = self.about.kind, self.verdict
        if verdict is None and self.best is not None and self.best.params != self.about.present:
            number = self.best.number
            return (
                f"{kind}: the present parameters stay, they could not be fitted anew against trial {number}"
            )
        if verdict is None or self.best is None:
            return f"{kind}: the present parameters stay, none of {len(self.trials)} trials was better"
        return (
            f"{kind}: trial {self.best.number} {'replaces' if self.replaced else 'does not replace'} the present"
            f" parameters: {PRIMARY} {verdict}"
        )


class Listener(Protocol):
    """Who writes the search down somewhere else. Called with all trials at `opened`, since some may not be there."""

    def opened(self, about: About, trials: Sequence[TrialRecord]) -> None: ...
    def trial(self, about: About, trial: TrialRecord) -> None: ...
    def closed(self, about: About, outcome: Outcome | None) -> None:
        """The kind's end; no outcome: it was interrupted."""


class _OutOfTimeError(Exception):
    """A trial's share of the budget is spent."""


@dataclass
class _Epochs:
    """What a fit tells while a trial is under way. Without a `deadline` the trial goes to its end."""

    trial: "optuna.Trial"
    choose: Validate
    deadline: float | None
    _epoch: int = 0
    _reported: set[int] = field(default_factory=set)

    def progress(self, epoch: int, epochs: int, loss: float) -> None:
        self._epoch = epoch
        self._in_time()

    def validate(self, model: Recommender) -> float:
        """Its value; ends a trial that after this epoch is worse than most were by then. A kind may ask again in the
        same epoch, to choose something else: that says nothing of the trial."""
        from optuna.exceptions import TrialPruned

        self._in_time()
        value = self.choose(model)
        if self._epoch not in self._reported:
            self._reported.add(self._epoch)
            self.trial.report(value, self._epoch)
            if self.deadline is not None and self.trial.should_prune():
                raise TrialPruned
        return value

    def _in_time(self) -> None:
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise _OutOfTimeError


@dataclass
class Search:
    """What one kind's search needs; `share` are its seconds in this round, `left` those of all kinds to come."""

    about: About
    study: Study
    config: TrainConfig
    fit: Fit
    judge: Judge
    share: float
    left: float
    max_trials: int
    say: Say
    listener: Listener | None
    _started: float = field(default_factory=time.monotonic)
    _already: float = 0.0  # seconds of this round that a search which was killed had used

    def run(self) -> Outcome:
        kind, present = self.about.kind, self.about.present
        self._already = self.study.spent()
        deadline = self._started + self.share * (1 - CONFIRM_SHARE) - self._already
        records = self.study.records()
        if records:
            self.say(f"{kind}: goes on after {len(records)} trials (study {self.about.name})")
        if self.listener:
            self.listener.opened(self.about, records)
        try:
            self.study.enqueue(present)
            while not self.study.tried(present) or (
                time.monotonic() < deadline and len(self.study.settled()) < self.max_trials
            ):
                self._trial(deadline)
            outcome = self._outcome()
        except BaseException:
            if self.listener:
                self.listener.closed(self.about, None)
            raise
        self.say(str(outcome))
        if self.listener:
            self.listener.closed(self.about, outcome)
        return outcome

    # --- trials --------------------------------------------------------------------------------------------

    def _trial(self, deadline: float) -> None:
        from optuna.exceptions import TrialPruned

        study, trial = self.study, self.study.ask()
        first = trial.params == self.about.present  # judged to its end, however long that takes
        epochs = _Epochs(trial, self.judge.choose, None if first else deadline)
        started = time.monotonic()

        def seconds() -> float:
            return time.monotonic() - started

        try:
            settings = self.about.space.applied(self.config, trial.params)
            fitted = self.fit(settings, progress=epochs.progress, validate=epochs.validate)
            value = self.judge.choose(fitted.model)
        except TrialPruned:
            record = study.prune(trial, seconds())
        except _OutOfTimeError:
            record = study.interrupt(trial, seconds())
        except TROUBLES as error:
            record = study.fail(trial, seconds(), f"{type(error).__name__}: {error}")
        except BaseException:
            # Whatever ends the search (SIGTERM, a defect): the study must not think that this trial still runs.
            record = study.interrupt(trial, seconds())
            self._told(record)
            raise
        else:
            record = study.complete(trial, value, seconds(), fitted.found)
        self._told(record)

    def _told(self, record: TrialRecord) -> None:
        best = self.study.best()
        value = f" {PRIMARY} {record.value:.4f}" if record.value is not None else ""
        so_far = f"best {best.value:.4f} (trial {best.number})" if best else "none is complete yet"
        minutes = max(0.0, self._started + self.left - self._already - time.monotonic()) / 60
        self.say(
            f"{self.about.kind}: trial {record.number} {record.state}{value} in {record.seconds:.1f} s,"
            f" {so_far}, {minutes:.1f} minutes left{f'; {record.reason}' if record.reason else ''}"
        )
        if self.listener:
            self.listener.trial(self.about, record)

    # --- the verdict ---------------------------------------------------------------------------------------

    def _outcome(self) -> Outcome:
        records, best = self.study.records(), self.study.best()
        present = [r for r in records if r.params == self.about.present and r.state == COMPLETE]
        verdict = None
        if best is not None and best.params != self.about.present:
            verdict = Confirmation(
                self.about,
                self.study,
                self.config,
                self.fit,
                self.judge,
                self.share * CONFIRM_SHARE,
                self.say,
            ).of(best)
        return Outcome(self.about, tuple(records), best, present[0].value if present else None, verdict)

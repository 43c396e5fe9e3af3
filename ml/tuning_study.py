"""A search that can be killed at any moment and goes on where it was: optuna's trials in a journal file.

Two decisions. One worker at a time, kept apart by a lock on the folder: so a trial found running when the study is
opened was killed. And each trial is drawn by a sampler seeded with how many trials are settled before it: after a
kill, the same trial is drawn again, and all that follow are those of a run that was never interrupted.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from ml.tuning_journal import drop_half_line, held_lock
from ml.tuning_space import Space, Value

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

COMPLETE, PRUNED, FAILED, INTERRUPTED = "complete", "pruned", "failed", "interrupted"

MAX_ATTEMPTS = 3  # of one trial: parameters whose fit kills the process must not be tried for ever
RANDOM_TRIALS = 6  # before the sampler has enough to model; a budget in minutes pays for some dozens in all
PRUNE_AFTER_TRIALS, PRUNE_FROM_EPOCH = 3, 2  # the first epoch says more about luck than about parameters

_STEP, _ROUND, _SECONDS, _REASON, _FOUND = "step", "round", "seconds", "reason", "found"
_ROUNDS, _BOUNDS, _ID = "rounds closed", "bounds", "id"


@dataclass(frozen=True)
class TrialRecord:
    """One trial that is over. `number` counts all, `step` the settled ones: a trial killed and tried again has two
    numbers and one step. `value` is None unless complete; `curve` holds the value by epoch; times are epoch ms."""

    number: int
    step: int
    state: str
    params: dict[str, Value]
    value: float | None
    curve: dict[int, float]
    seconds: float
    reason: str
    started_ms: int
    ended_ms: int
    found: dict[str, Any] = field(default_factory=dict)


def study_name(kind: str, about: Mapping[str, Any]) -> str:
    """A name that changes with anything that makes values incomparable: data, cuts, seed, space, other settings."""
    text = json.dumps(about, sort_keys=True, allow_nan=False)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


class Study:
    """One kind's trials, in `<folder>/<name>.journal`; made if it is not there. Call within `exclusive(folder)`."""

    def __init__(self, folder: Path, name: str, space: Space, *, seed: int) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        self.name, self.seed = name, seed
        path = folder / f"{name}.journal"
        drop_half_line(path)
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(path), lock_obj=held_lock(path))),
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(
                n_startup_trials=PRUNE_AFTER_TRIALS, n_warmup_steps=PRUNE_FROM_EPOCH
            ),
        )
        # As wide as it ever was: what once was the present parameters may lie outside what is declared, and a range
        # that changes makes optuna forget how the fields go together.
        before = self.remembered(_BOUNDS, {})
        for end in (0, 1):
            space = space.holding({name: bounds[end] for name, bounds in before.items()})
        self.space = space
        self.remember(_BOUNDS, space.bounds())
        self._distributions = space.distributions()
        if not self.remembered(_ID):
            self.remember(_ID, uuid4().hex[:8])
        self.id: str = self.remembered(_ID)
        """Tells this journal from another of the same name: one that was deleted, or another home's."""
        for trial in self._study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)  # killed: drawn again

    # --- what happened -------------------------------------------------------------------------------------

    def records(self) -> list[TrialRecord]:
        """The trials that are over, oldest first."""
        return [
            _record(trial) for trial in self._study.get_trials(deepcopy=False) if trial.state.is_finished()
        ]

    def settled(self) -> list[TrialRecord]:
        """Those that will not be tried again."""
        return [record for record in self.records() if record.state != INTERRUPTED]

    def best(self) -> TrialRecord | None:
        """The complete trial of the highest value, the oldest of equals."""
        complete = [record for record in self.records() if record.state == COMPLETE]
        return max(complete, key=lambda record: (record.value, -record.number), default=None)

    def tried(self, params: Mapping[str, Value]) -> bool:
        """Whether these parameters were judged, or given up as what kills the process."""
        settled = [record.params for record in self.settled()]
        given_up = [record.params for record in self._given_up()]
        return dict(params) in settled + given_up

    @property
    def step(self) -> int:
        """How many trials are behind us, those given up included: what the next one is drawn from."""
        return len({record.step for record in [*self.settled(), *self._given_up()]})

    def _given_up(self) -> list[TrialRecord]:
        settled = {record.step for record in self.settled()}
        attempts: dict[int, list[TrialRecord]] = {}
        for record in self.records():
            if record.step >= 0 and record.step not in settled:
                attempts.setdefault(record.step, []).append(record)
        return [tries[-1] for tries in attempts.values() if len(tries) >= MAX_ATTEMPTS]

    # --- a trial -------------------------------------------------------------------------------------------

    def enqueue(self, params: Mapping[str, Value]) -> None:
        """Try these next, unless they were tried or are waiting."""
        from optuna.trial import TrialState

        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if not self.tried(params) and not any(
            trial.system_attrs.get("fixed_params") == dict(params) for trial in waiting
        ):
            self._study.enqueue_trial(dict(params))

    def ask(self) -> "optuna.Trial":
        """The next trial, with a value for every field of the space."""
        from optuna.samplers import TPESampler

        step = self.step
        entropy = [self.seed, zlib.crc32(self.space.kind.encode()), step]
        drawn = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        # Nobody else draws, so no liar is needed to keep workers apart.
        self._study.sampler = TPESampler(seed=drawn, n_startup_trials=RANDOM_TRIALS, constant_liar=False)
        trial = self._study.ask(self._distributions)
        trial.set_user_attr(_STEP, step)
        trial.set_user_attr(_ROUND, self.round)
        return trial

    def complete(
        self, trial: "optuna.Trial", value: float, seconds: float, found: Mapping[str, Any]
    ) -> TrialRecord:
        trial.set_user_attr(_FOUND, dict(found))
        return self._over(trial, "COMPLETE", seconds, value=value)

    def prune(self, trial: "optuna.Trial", seconds: float) -> TrialRecord:
        return self._over(trial, "PRUNED", seconds)

    def fail(self, trial: "optuna.Trial", seconds: float, reason: str) -> TrialRecord:
        """For good: these parameters cannot be fitted."""
        trial.set_user_attr(_REASON, reason)
        return self._over(trial, "FAIL", seconds)

    def interrupt(self, trial: "optuna.Trial", seconds: float) -> TrialRecord:
        """Not the parameters' fault: drawn again."""
        return self._over(trial, "FAIL", seconds)

    def _over(
        self, trial: "optuna.Trial", state: str, seconds: float, value: float | None = None
    ) -> TrialRecord:
        from optuna.trial import TrialState

        trial.set_user_attr(_SECONDS, round(seconds, 3))
        return _record(self._study.tell(trial, value, state=TrialState[state]))

    # --- the budget's rounds, and what else is remembered --------------------------------------------------

    @property
    def round(self) -> int:
        """Counts the searches that came to their end: one that was killed goes on in the same round, and on the rest
        of the same budget."""
        return int(self._study.user_attrs.get(_ROUNDS, 0))

    def spent(self) -> float:
        """Seconds of this round's trials and of what else was noted as spent."""
        trials = self._study.get_trials(deepcopy=False)
        own = (t.user_attrs.get(_SECONDS, 0.0) for t in trials if t.user_attrs.get(_ROUND) == self.round)
        return float(sum(own)) + float(self._study.user_attrs.get(f"spent in {self.round}", 0.0))

    def note_spent(self, seconds: float) -> None:
        """Add what did not go into a trial."""
        name = f"spent in {self.round}"
        self.remember(name, round(float(self.remembered(name, 0.0)) + seconds, 3))

    def close_round(self) -> None:
        self._study.set_user_attr(_ROUNDS, self.round + 1)

    def remember(self, name: str, value: Any) -> None:
        """Keep some JSON with the study."""
        self._study.set_user_attr(name, value)

    def remembered(self, name: str, default: Any = None) -> Any:
        return self._study.user_attrs.get(name, default)


def _record(trial: "FrozenTrial") -> TrialRecord:
    state = {"COMPLETE": COMPLETE, "PRUNED": PRUNED, "FAIL": INTERRUPTED}[trial.state.name]
    reason = str(trial.user_attrs.get(_REASON, ""))
    started, ended = trial.datetime_start, trial.datetime_complete
    return TrialRecord(
        number=trial.number,
        step=int(trial.user_attrs.get(_STEP, -1)),
        state=FAILED if reason else state,
        params=dict(trial.params),
        value=trial.value if state == COMPLETE else None,
        curve={int(epoch): float(value) for epoch, value in sorted(trial.intermediate_values.items())},
        seconds=float(trial.user_attrs.get(_SECONDS, 0.0)),
        reason=reason,
        started_ms=int(started.timestamp() * 1000) if started else 0,
        ended_ms=int(ended.timestamp() * 1000) if ended else 0,
        found=dict(trial.user_attrs.get(_FOUND, {})),
    )

"""Whether the best trial takes the place of the present parameters, asked of users that it was not chosen on.

The lead must be beyond what the users explain and what other seeds would move either mean by (`ml.gate_evidence`): a
few fits of each tell too little of the latter, so it is the kind's known noise, which a mean over k seeds has
1 / sqrt(k) of. And the same users are asked again whenever another trial is the best: the k-th ask may spend the
k-th level of a series that sums to the gate's alpha, so that asking often enough does not choose on them after all.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from math import sqrt
from statistics import median
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ml.config import TrainConfig
from ml.gate import Rules
from ml.gate_evidence import level, weigh
from ml.metrics import Interval
from ml.tuning_objective import TROUBLES, Fit, Judge
from ml.tuning_space import Value
from ml.tuning_study import COMPLETE, Study, TrialRecord

if TYPE_CHECKING:
    from ml.tuning_search import About

CONFIRM_SEEDS = 3  # at most; one if that is all the share pays for

_VERDICT = "verdict"


@dataclass(frozen=True)
class Verdict:
    """Whether the winner takes the place of the present parameters: the lower bound of the difference in NDCG@10 on the
    confirming users lies above 0. Both were fitted anew with each seed; a user's values are means over them.

    `difference`: its bounds hold at `confidence`, one-sided each, for users and seeds together. `noise`: what seeds
    move the mean of one fit by, relative. `ask`: how often these users have been asked in this study, from 1.
    """

    winner: float
    present: float
    difference: Interval
    users: int
    seeds: tuple[int, ...]
    noise: float
    ask: int
    confidence: float

    @property
    def better(self) -> bool:
        return self.difference.low > 0

    def __str__(self) -> str:
        lead = self.difference
        return (
            f"{lead.value:+.4f} [{lead.low:+.4f}, {lead.high:+.4f}] on {self.users} users it was not chosen on;"
            f" fits of each: {len(self.seeds)}; ask {self.ask}, each bound at {self.confidence:.1%}"
        )

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "seeds": list(self.seeds)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """What `as_json` gave, in a mapping that may hold more."""
        own = {each.name: found[each.name] for each in fields(cls)}
        own |= {"difference": Interval(**found["difference"]), "seeds": tuple(found["seeds"])}
        return cls(**own)


def compare(
    winner: NDArray[np.float64],
    present: NDArray[np.float64],
    seeds: tuple[int, ...],
    *,
    noise: float,
    ask: int = 1,
) -> Verdict:
    """From NDCG@10 by seed and user, (seeds, n) each; `noise`: relative sd of one fit's mean between seeds."""
    own = noise / sqrt(len(seeds))
    found = weigh(
        winner.mean(axis=0), present.mean(axis=0), alpha=level(Rules().alpha, ask), noise=(own, own)
    )
    return Verdict(
        winner=found.challenger,
        present=found.incumbent,
        difference=Interval.of(found.difference, found.low, found.high),
        users=found.users,
        seeds=seeds,
        noise=noise,
        ask=ask,
        confidence=found.confidence,
    )


@dataclass
class Confirmation:
    """What a verdict needs; `seconds`: what it may take, which sets the number of seeds (one at least)."""

    about: "About"
    study: Study
    config: TrainConfig
    fit: Fit
    judge: Judge
    seconds: float
    say: Callable[[str], None]

    def of(self, best: TrialRecord) -> Verdict | None:
        """The one on the same two, if a search that was killed, or an earlier one, came to it; else a new one. None:
        the present parameters give no model, and what has no value is neither beaten nor an ask."""
        known = self.study.remembered(_VERDICT)
        pair = [best.params, self.about.present]
        if known is not None and known["of"] == pair:
            return Verdict.from_json(known)
        started = time.monotonic()
        verdict = self._asked(best, ask=1 if known is None else known["ask"] + 1)
        self.study.note_spent(time.monotonic() - started)
        if verdict is not None:
            # One entry for the verdict and the count: a kill cannot come between them.
            self.study.remember(_VERDICT, {"of": pair, **verdict.as_json()})
        return verdict

    def _asked(self, best: TrialRecord, ask: int) -> Verdict | None:
        """Fit both anew, with seeds that no trial had."""
        kind, seeds = self.about.kind, self._seeds(best)
        self.say(f"{kind}: trial {best.number} against the present parameters, seeds {list(seeds)}")
        present: list[NDArray[np.float64]] = []
        for seed in seeds:
            values = self._refitted(self.about.present, seed)
            if values is None:
                return None
            present.append(values)
        nothing = np.zeros(
            len(self.judge.confirming.user_ids)
        )  # a winner that fails is worth that to everybody
        winner = [nothing if (own := self._refitted(best.params, seed)) is None else own for seed in seeds]
        return compare(np.stack(winner), np.stack(present), seeds, noise=Rules().noise_of(kind), ask=ask)

    def _seeds(self, best: TrialRecord) -> tuple[int, ...]:
        # Not the present parameters' own trial: it was the first, and loaded the libraries and fitted a hybrid's parts.
        usual = median(record.seconds for record in self.study.records() if record.state == COMPLETE)
        paid_for = int(self.seconds / (2 * max(best.seconds, usual, 1e-6)))
        fits = max(1, min(CONFIRM_SEEDS, paid_for)) if self.about.space.seeded else 1
        return tuple(self.config.seed + i for i in range(1, fits + 1))

    def _refitted(self, params: Mapping[str, Value], seed: int) -> NDArray[np.float64] | None:
        """NDCG@10 of each confirming user; None for parameters that do not give a model with this seed."""
        settings = self.about.space.applied(self.config, params).model_copy(update={"seed": seed})
        try:
            return self.judge.confirm(self.fit(settings, validate=self.judge.choose).model)
        except TROUBLES as error:
            self.say(f"{self.about.kind}: seed {seed}: {type(error).__name__}: {error}")
            return None

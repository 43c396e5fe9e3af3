"""Whether a challenger replaces the champion: a win beyond noise on equal data, every guardrail kept.

What is compared are recipes (a kind and its parameters) on equal data, not artefacts. The champion that serves was
fitted on all rows up to the day it was made, and today's test rows may be among them: judged as it is, it would know
the answers. So its recipe is judged as fitted on the same rows up to the same cut as the challenger's. If this run
trained that very recipe, its holdout model is the incumbent; otherwise `ml.gate_recipe.refit` fits it.

Three cases:

1. No champion yet (`first`): the challenger must beat popularity, or be it; if it does not, popularity is tried.
2. The champion's recipe on newer data (`newer data`): compared with itself nothing could fail, so it is held against
   what the champion's own version scored when it was judged (`fallen`), by a wide margin, as those were other users.
   The reason to promote is the data; that check, popularity and the guardrails decide.
3. Another recipe (`other recipe`): it must win. The lower bound of the paired difference in NDCG@10 lies above 0, at a
   level that accounts for (a) the users sampled (paired standard error), (b) the seeds: two trainings of one recipe
   differ although neither is better, and a paired test of the two artefacts takes that for a gain. Each recipe's
   seed variance is added: sd = sqrt(se^2 + 2 seed_sd^2) for two of a kind. (c) how often it was tried: daily tests
   against one champion would promote an equal model sooner or later, so the k-th test spends 6 alpha / (pi k)^2,
   all together at most `alpha`. A test counts once for each training set. (d) how many were tried at once: the
   challenger is picked on validation rows (`ml.gate_challenger`), so that the test rows see one; one that they
   picked themselves out of m candidates would be tested at the level divided by m.
   Or it need not win, if somebody gives a reason that can be measured (`smaller`, `faster`, `more diverse`), the gain
   in it is there, and the challenger is not worse by more than `margin` (one-sided 97.5%): the artefact, over users;
   the noise of training is left out of this bound, which no equal model of a noisy kind could keep otherwise. Where
   a run no longer trains the champion's recipe (its parameters were changed), nobody would renew it: `newer data` is
   the gate's own reason then, and the challenger is taken unless it is surely worse, users and seeds accounted for.

A challenger of another recipe that fails leaves the champion where it is, but not stale: if the run trained the
champion's recipe too, case 2 is decided for that one.

The guardrails hold on the same test users as the comparison: no slice of users or videos is surely worse by more than
a margin, the lists do not collapse onto a few videos (both where there is another recipe to compare with), precision@10
reaches a floor, the served model is quick (unless nobody serves yet) and small enough, and its schema is the one the
serving code reads and the training set had.

Fewer than `min_users` test users judge nothing: nothing is promoted but popularity, as the first champion or again.

What is not covered: a change of the code is no change of the recipe (its tests and the guardrails must notice);
the seed noise is a setting measured by `ml.bench.gate`, not learned anew each day; test users of consecutive days
overlap, which makes (c) cautious.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from ml.errors import ConfigurationError
from ml.gate_checks import (
    NEWER,
    Check,
    fallen_checks,
    guardrails,
    newer_checks,
    popularity_check,
    reason_checks,
    users_check,
    win_check,
)
from ml.gate_evidence import Evidence, level, weigh
from ml.metrics import PRIMARY, PerUser
from ml.recommender import BASELINE

NON_INFERIORITY_ALPHA = 0.025

# Trainings that differ in their seed alone, on KuaiRand-late's days up to 27 April, judged on 9,033 users of the three
# days after (`python -m ml.bench.gate --data`), rounded up. ALS, ten seeds: 1.3% (their means spread by 1.8%); with
# none of it told, 10% of the 90 ordered pairs would win. SVD, six: 5.5%. Two-tower, three seeds of two epochs: less
# than the users explain; 0.4% is what the means spread by. The others draw nothing. The hybrid was not measured.
MEASURED_NOISE = {
    "als": 0.02,
    "two-tower": 0.004,
    "svd": 0.06,
    "item-item": 0.0,
    "content": 0.0,
    "popularity": 0.0,
}

Case = Literal["first", "newer data", "other recipe"]


@dataclass(frozen=True)
class Rules:
    """What the gate asks for. Shares are relative to the incumbent.

    `alpha`: chance that a champion is ever replaced by recipes that are no better. `margin`: how much worse (1%) a
    challenger with a reason may be. `slice_margin`: a slice fails when it is surely worse by more than this; slices
    of fewer than `slice_users` users are shown, not judged. `coverage_share`: half of the incumbent's coverage@10,
    because a better ranking may well be narrower; what must not happen is a collapse. `benefit`: how much smaller,
    faster or more diverse counts as a reason (a fifth). `fallen`: how much lower than its champion was judged a
    renewed recipe may be judged. `min_users`: below as many test users nothing is judged. `seed_noise`: relative
    standard deviation of NDCG@10 between seeds, of each kind; `other_noise` of kinds that are not named.
    """

    precision_floor: float = 0.0
    max_latency_ms: float = 50.0
    max_size_mb: float = 500.0
    alpha: float = 0.05
    margin: float = 0.01
    slice_margin: float = 0.05
    slice_users: int = 100
    coverage_share: float = 0.5
    benefit: float = 0.2
    fallen: float = 0.2
    min_users: int = 100
    seed_noise: Mapping[str, float] = field(default_factory=lambda: dict(MEASURED_NOISE))
    other_noise: float = 0.005

    def __post_init__(self) -> None:
        if self.min_users < 2:
            raise ConfigurationError(f"min_users: one user has no spread, at least 2 (got {self.min_users})")

    def noise_of(self, kind: str) -> float:
        return self.seed_noise.get(kind, self.other_noise)


@dataclass(frozen=True)
class Contestant:
    """A recipe as its model fitted up to the cut was measured.

    `per_user` (n,) of each metric; `slices` (n,) of NDCG@10, NaN for users outside the slice; `coverage` @10; `size_mb`
    of its files; `latency_ms`: p95 of one user's top 100.
    """

    kind: str
    per_user: PerUser
    coverage: float
    slices: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    size_mb: float | None = None
    latency_ms: float | None = None

    @property
    def primary(self) -> NDArray[np.float64]:
        return self.per_user[PRIMARY]


@dataclass(frozen=True)
class Decision:
    """Promote or not, why in a sentence, and every check with its figures. `evidence` is None without an incumbent;
    `attempt` counts the tests against this incumbent, this one included, and is 0 where none was needed."""

    promote: bool
    reason: str
    case: Case
    challenger: str
    incumbent: str | None
    checks: list[Check]
    evidence: Evidence | None = None
    attempt: int = 0
    candidates: int = 1
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Where it all came from: versions, training set, runs. JSON."""

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if not check.passed]

    def as_dict(self) -> dict[str, Any]:
        """JSON; no value in it is NaN or infinite."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """What `as_dict` gave."""
        evidence = value["evidence"]
        more = {
            "checks": [Check(**check) for check in value["checks"]],
            "evidence": Evidence(**evidence) if evidence else None,
        }
        return cls(**{**value, **more})


def decide(
    challenger: Contestant,
    incumbent: Contestant | None,
    *,
    rules: Rules,
    same_recipe: bool = False,
    baseline: NDArray[np.float64] | None = None,
    reason: str | None = None,
    newer: Check | None = None,
    recorded: Mapping[str, float] | None = None,
    more: Sequence[Check] = (),
    attempt: int = 1,
    candidates: int = 1,
    facts: Mapping[str, Any] | None = None,
) -> Decision:
    """The decision. `same_recipe` says that both are one recipe, so that only the data are newer; `baseline` (n,) is
    NDCG@10 of popularity for the same users; `reason` is for taking a challenger that does not win; `newer` says
    whether the challenger's data are newer, needed where that is the reason; `recorded` are the metrics the champion's
    version had when it was judged, for the same recipe; `more` are further checks (schema).
    Raises `ConfigurationError` for a reason that cannot be measured, `MismatchedHoldoutError` when the users are not
    the same.
    """
    if same_recipe and incumbent is None:
        raise ConfigurationError("same_recipe: there is no incumbent to have the same recipe as")
    case: Case = "other recipe" if incumbent is not None else "first"
    case = "newer data" if same_recipe else case
    counts = attempt if case == "other recipe" else 0, candidates if case == "other recipe" else 1
    enough = users_check(len(challenger.primary), rules)
    if not enough.passed and (challenger.kind != BASELINE or case == "other recipe"):
        why = f"{challenger.kind} is not promoted: {enough.says}"
        other = incumbent.kind if incumbent else None
        return Decision(
            False, why, case, challenger.kind, other, [enough], candidates=counts[1], facts=dict(facts or {})
        )  # no test was made, so that none counts
    checks: list[Check] = [enough if enough.passed else replace(enough, passed=True)]
    evidence = None
    if incumbent is not None:
        noise = rules.noise_of(challenger.kind), rules.noise_of(incumbent.kind)
        alpha = NON_INFERIORITY_ALPHA if same_recipe else level(rules.alpha, attempt, candidates)
        pair = challenger.primary, incumbent.primary
        evidence = weigh(*pair, alpha=alpha, noise=noise, identical=same_recipe)
        won = win_check(evidence, attempt, candidates)
        if same_recipe:
            checks += ([newer] if newer else []) + fallen_checks(challenger, recorded or {}, rules)
        elif won.passed or reason is None:
            checks.append(won)
        elif reason == NEWER:
            checks += newer_checks(weigh(*pair, alpha=NON_INFERIORITY_ALPHA, noise=noise), newer)
        else:
            artefacts = weigh(*pair, alpha=NON_INFERIORITY_ALPHA / candidates)
            checks += reason_checks(reason, artefacts, challenger, incumbent, rules)
    if baseline is not None and challenger.kind != BASELINE:
        checks.append(popularity_check(challenger.primary, baseline, must_win=incumbent is None))
    checks += guardrails(challenger, None if same_recipe else incumbent, rules, first=incumbent is None)
    checks += more
    promote = all(check.passed for check in checks)
    return Decision(
        promote=promote,
        reason=_in_words(case, challenger, incumbent, evidence, checks, reason),
        case=case,
        challenger=challenger.kind,
        incumbent=incumbent.kind if incumbent else None,
        checks=checks,
        evidence=evidence,
        attempt=counts[0],
        candidates=counts[1],
        facts=dict(facts or {}),
    )


def stays(
    challenger: str, incumbent: str | None, reason: str, case: Case = "other recipe", facts: Any = None
) -> Decision:
    """The champion stays for a reason outside the figures (moved by hand, nothing new, cannot be judged)."""
    return Decision(False, reason, case, challenger, incumbent, [], facts=dict(facts or {}))


def _in_words(
    case: Case,
    challenger: Contestant,
    incumbent: Contestant | None,
    evidence: Evidence | None,
    checks: Sequence[Check],
    reason: str | None,
) -> str:
    if failed := [check for check in checks if not check.passed]:
        others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        return f"{challenger.kind} is not promoted: {failed[0].says}{others}"
    if incumbent is None or evidence is None:
        return f"{challenger.kind} is the first champion"
    if case == "newer data":
        return f"{challenger.kind} again, on newer data"
    if evidence.low > 0:
        gain = f" ({evidence.relative:+.1%})" if evidence.relative is not None else ""
        return f"{challenger.kind} beats {incumbent.kind} by {evidence.difference:+.4f} NDCG@10{gain}, beyond noise"
    if reason == NEWER:
        worse = f"{challenger.kind} is not surely worse than {incumbent.kind}"
        return f"{worse}, whose recipe is trained no more: newer data"
    return f"{challenger.kind} is not worse than {incumbent.kind} and {reason}"

"""The gate's single checks: each a figure, its limit and what they say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ml.errors import ConfigurationError, MismatchedHoldoutError
from ml.gate_evidence import Evidence, weigh
from ml.metrics import PRIMARY
from ml.recommender import BASELINE

if TYPE_CHECKING:
    from ml.gate import Contestant, Rules

PRECISION = "precision_at_10"
SLICE = "slice: "
SURE = 0.025  # one-sided level at which a slice or the comparison with popularity is "surely" something
COVERAGE = "coverage_at_10"

NEWER = "newer data"
REASONS = ("smaller", "faster", "more diverse")  # that a person may give; NEWER is the gate's own


@dataclass(frozen=True)
class Check:
    """One condition of a promotion; `value` was seen, `limit` is what it must reach or keep (None: see `says`)."""

    name: str
    passed: bool
    value: float | str | None
    limit: float | str | None
    says: str


def win_check(evidence: Evidence, attempt: int, candidates: int) -> Check:
    """The lower bound of the difference, users and seeds accounted for, is above 0."""
    how = f"at {evidence.confidence:.2%}, test {attempt} against this champion"
    if candidates > 1:
        how += f", the best of {candidates}"
    passed = evidence.low > 0
    verdict = "better beyond noise" if passed else "not better beyond noise"
    return Check(
        "wins",
        passed,
        evidence.low,
        0.0,
        f"{verdict}: NDCG@10 {evidence.difference:+.4f}, at least {evidence.low:+.4f} ({how})",
    )


def newer_checks(evidence: Evidence, newer: Check | None) -> list[Check]:
    """For the reason that the data are newer: not surely worse, users and seeds accounted for."""
    not_worse = Check(
        "not worse",
        evidence.high >= 0,
        evidence.high,
        0.0,
        f"NDCG@10 {evidence.difference:+.4f}, at most {evidence.high:+.4f}; may not be surely worse",
    )
    return [not_worse, newer or Check(NEWER, False, None, None, "newer data: nobody looked")]


def reason_checks(
    reason: str, evidence: Evidence, challenger: "Contestant", incumbent: "Contestant", rules: "Rules"
) -> list[Check]:
    """Not worse by more than the margin, and the reason given is measurably so; raises `ConfigurationError`.

    `evidence` is of the two artefacts, without the noise of their training: with it the bound would lie below any
    margin worth having however many users there are (1.96 sqrt(2) 2% = 5.5% for two equal ALS models). So what is
    shown is that this training lost no more than the margin, not that the recipe would not with other seeds.
    """
    if reason not in REASONS:
        raise ConfigurationError(f"reason: must be one of {', '.join(REASONS)} (got {reason!r})")
    limit = -rules.margin * evidence.incumbent
    not_worse = Check(
        "not worse",
        evidence.low >= limit,
        evidence.low,
        limit,
        f"NDCG@10 {evidence.difference:+.4f}, at least {evidence.low:+.4f}; may lose {rules.margin:.0%}",
    )
    value, before, better = {
        "smaller": (challenger.size_mb, incumbent.size_mb, "MB"),
        "faster": (challenger.latency_ms, incumbent.latency_ms, "ms at p95"),
        "more diverse": (_diversity(challenger), _diversity(incumbent), "diversity@10"),
    }[reason]
    if value is None or before is None:
        return [not_worse, Check(reason, False, value, None, f"{reason}: it was not measured on both")]
    wanted = before * (1 + rules.benefit if reason == "more diverse" else 1 - rules.benefit)
    passed = value >= wanted if reason == "more diverse" else value <= wanted
    says = f"{reason}: {value:.4g} {better}, the incumbent {before:.4g}; counts from {wanted:.4g}"
    return [not_worse, Check(reason, passed, value, wanted, says)]


def _diversity(contestant: "Contestant") -> float | None:
    values = contestant.per_user.get("diversity_at_10")
    return None if values is None else float(np.mean(values))


def popularity_check(values: NDArray, baseline: NDArray, *, must_win: bool) -> Check:
    """A first champion must beat what everybody would be shown; a later one must not be surely worse than it."""
    found = weigh(values, baseline, alpha=SURE)
    bound = found.low if must_win else found.high
    passed = bound > 0 if must_win else bound >= 0
    verdict = "beats popularity" if found.low > 0 else "does not surely beat popularity"
    if found.high < 0:
        verdict = "is worse than popularity"
    says = f"{verdict}: NDCG@10 {found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
    return Check("popularity", passed, bound, 0.0, says)


def users_check(users: int, rules: "Rules") -> Check:
    """Whether there are enough users to judge anything by."""
    passed = users >= rules.min_users
    says = f"{users} test users" if passed else f"{users} test users, too few to judge"
    return Check("users", passed, float(users), float(rules.min_users), says)


def fallen_checks(challenger: "Contestant", recorded: Mapping[str, float], rules: "Rules") -> list[Check]:
    """A renewed recipe against what its champion scored when it was judged: other users of other days, hence a wide
    margin. It shows data that went wrong, which the recipe compared with itself cannot."""
    seen = {PRIMARY: float(challenger.primary.mean()), COVERAGE: challenger.coverage}
    shares = {PRIMARY: 1 - rules.fallen, COVERAGE: rules.coverage_share}
    if challenger.kind == BASELINE:
        del shares[COVERAGE]  # one list for everybody
    checks = []
    for metric, share in shares.items():
        name = "fallen" if metric == PRIMARY else "fallen: coverage"
        before = recorded.get(metric)
        if before is None:
            says = f"{metric} {seen[metric]:.4f}; what the champion's was is not recorded"
            checks.append(Check(name, True, seen[metric], None, says))
            continue
        limit = share * before
        says = f"{metric} {seen[metric]:.4f}, the champion's {before:.4f} when it was judged; at least {limit:.4f}"
        checks.append(Check(name, seen[metric] >= limit, seen[metric], limit, says))
    return checks


def guardrails(
    challenger: "Contestant", incumbent: "Contestant | None", rules: "Rules", *, first: bool
) -> list[Check]:
    """What must hold however good the ranking is on average. `incumbent`: whom slices and coverage are held against.
    `first`: nobody serves yet; the latency is shown and does not decide (a busy machine must not leave it so), and
    the floor does not either where there are too few users to see it."""
    precision = float(challenger.per_user[PRECISION].mean())
    floor, few = rules.precision_floor, len(challenger.primary) < rules.min_users
    says = f"precision@10 {precision:.4f}, floor {floor:g}" + ("; too few users to judge" if few else "")
    latency = _at_most("latency", challenger.latency_ms, rules.max_latency_ms, "ms at p95")
    if first and not latency.passed:
        says_so = f"{latency.says}; does not decide the first champion"
        latency = Check(latency.name, True, latency.value, latency.limit, says_so)
    checks = [
        Check("floor", precision >= floor or few, precision, floor, says),
        latency,
        _at_most("size", challenger.size_mb, rules.max_size_mb, "MB"),
    ]
    if incumbent is not None:
        checks.append(_coverage(challenger, incumbent, rules))
        checks += _slices(challenger, incumbent, rules)
    return checks


def _at_most(name: str, value: float | None, limit: float, unit: str) -> Check:
    if value is None:
        return Check(name, False, None, limit, f"{name}: was not measured")
    return Check(name, value <= limit, value, limit, f"{name} {value:.4g} {unit}, at most {limit:g}")


def _coverage(challenger: "Contestant", incumbent: "Contestant", rules: "Rules") -> Check:
    limit = rules.coverage_share * incumbent.coverage
    if incumbent.kind == BASELINE or challenger.kind == BASELINE:
        # One list for everybody: its coverage says nothing about a personal model's.
        limit = 0.0
    says = (
        f"coverage@10 {challenger.coverage:.4f}, the incumbent {incumbent.coverage:.4f}; at least {limit:.4f}"
    )
    return Check("coverage", challenger.coverage >= limit, challenger.coverage, limit, says)


def _slices(challenger: "Contestant", incumbent: "Contestant", rules: "Rules") -> Sequence[Check]:
    checks = []
    for name in sorted(challenger.slices.keys() & incumbent.slices.keys()):
        first, second = challenger.slices[name], incumbent.slices[name]
        inside = ~np.isnan(second)
        if first.shape != second.shape or (np.isnan(first) == inside).any():
            raise MismatchedHoldoutError(f"slice {name}: the two were judged on other users")
        users = int(inside.sum())
        if users < max(rules.slice_users, 2):
            says = f"{name}: {users} users, too few to judge"
            checks.append(Check(SLICE + name, True, None, None, says))
            continue
        found = weigh(first[inside], second[inside], alpha=SURE)
        limit = -rules.slice_margin * found.incumbent
        says = (
            f"{name}: NDCG@10 {found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}] over {users} users; "
            f"may not surely lose more than {-limit:.4f}"
        )
        checks.append(Check(SLICE + name, found.high >= limit, found.high, limit, says))
    return checks

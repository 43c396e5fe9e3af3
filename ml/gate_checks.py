"""The gate's single checks: each a figure, its limit and what they say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ml.errors import ConfigurationError, MismatchedHoldoutError
from ml.gate_evidence import Evidence, weigh
from ml.recommender import BASELINE

if TYPE_CHECKING:
    from ml.gate import Contestant, Rules

PRECISION = "precision_at_10"
SLICE = "slice: "
SURE = 0.025  # one-sided level at which a slice or the comparison with popularity is "surely" something

NEWER = "newer data"
REASONS = ("smaller", "faster", "more diverse", NEWER)


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


def reason_checks(
    reason: str,
    evidence: Evidence,
    challenger: "Contestant",
    incumbent: "Contestant",
    rules: "Rules",
    newer: Check | None,
) -> list[Check]:
    """Not worse by more than the margin, and the reason given is measurably so; raises `ConfigurationError`."""
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
    if reason == NEWER:
        return [not_worse, newer or Check(NEWER, False, None, None, "newer data: nobody looked")]
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


def guardrails(challenger: "Contestant", incumbent: "Contestant | None", rules: "Rules") -> list[Check]:
    """What must hold however good the ranking is on average."""
    precision = float(challenger.per_user[PRECISION].mean())
    floor = rules.precision_floor
    checks = [
        Check(
            "floor", precision >= floor, precision, floor, f"precision@10 {precision:.4f}, floor {floor:g}"
        ),
        _at_most("latency", challenger.latency_ms, rules.max_latency_ms, "ms at p95"),
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
        if users < rules.slice_users:
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

"""What a judgement says of many users at once: each kind's metrics with intervals, over all and by slice."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from ml.comparison import detectable
from ml.evaluate import Evaluation, TestUsers
from ml.ids import MISSING, Ids, lookup
from ml.metrics import CONFIDENCE, CUTOFFS, PRIMARY, Interval, PerUser, intervals
from ml.recommender import BASELINE
from ml.slices import Slice, restricted

FEW_HITS = 10
"""Users with a hit; under so many the bootstrap has too little to draw from."""


def slice_facts(
    evaluations: Mapping[str, Evaluation], users: TestUsers, parts: list[Slice], seed: int
) -> tuple[dict[str, dict[str, Any]], dict[str, PerUser]]:
    """What the report says of each slice, and each kind's primary metric in it per user, NaN outside."""
    facts: dict[str, dict[str, Any]] = {}
    sliced: dict[str, PerUser] = {kind: {} for kind in evaluations}
    for part in parts:
        values: dict[str, PerUser] = {}
        for kind, evaluation in evaluations.items():
            members, values[kind] = restricted(evaluation, users, part)
            sliced[kind][part.name] = np.full(len(users.user_ids), np.nan)
            sliced[kind][part.name][members] = values[kind][PRIMARY]
        count = int(members.sum())
        facts[part.name] = {"about": part.about, "of": part.of, "users": count, "metrics": {}}
        if count:
            facts[part.name] |= {"metrics": accuracy(values, seed), **_over_popularity(values, seed)}
    return facts, sliced


def _over_popularity(values: Mapping[str, PerUser], seed: int) -> dict[str, Any]:
    """Of each kind; no detectable difference is told where all users tie, and there the interval is not 0 alone when
    neither model has a hit."""
    if BASELINE not in values or len(values) < 2:
        return {"over_popularity": {}, "detectable": {}}
    base = values[BASELINE][PRIMARY]
    differences = {kind: of[PRIMARY] - base for kind, of in sorted(values.items()) if kind != BASELINE}
    found = intervals(differences, seed)
    if not base.any():
        bound = few_hits_bound(0, len(base), _worth(values, PRIMARY))
        silent = [kind for kind, column in differences.items() if not column.any()]
        found |= {kind: Interval(0.0, -bound, bound) for kind in silent}
    shown = {kind: detectable(column) for kind, column in differences.items() if column.any()}
    return {"over_popularity": found, "detectable": shown}


def summary(values: Mapping[str, PerUser], seed: int) -> dict[str, dict[str, Interval]]:
    """Each kind's metrics with their intervals; a metric that says nothing of some users (NaN) is of the others."""
    columns = {(kind, name): column for kind, of in values.items() for name, column in of.items()}
    found: dict[tuple[str, str], Interval] = {}
    for members, group in _by_members(columns):
        found |= intervals({key: columns[key][members] for key in group}, seed)
    result: dict[str, dict[str, Interval]] = {kind: {} for kind in values}
    for (kind, name), interval in found.items():
        result[kind][name] = interval
    return result


def accuracy(values: Mapping[str, PerUser], seed: int) -> dict[str, dict[str, Interval]]:
    """`summary` of metrics that are 0 without a hit. With fewer than `FEW_HITS` users who have one, no resample knows
    what the next one would be worth (and with none, each would be certain of 0): the interval then ends no lower than
    `few_hits_bound`."""
    found = summary(values, seed)
    for kind, of in values.items():
        for name, column in of.items():
            hits = int(np.count_nonzero(column))
            if hits < FEW_HITS:
                bound = few_hits_bound(hits, len(column), _worth(values, name))
                held = found[kind][name]
                found[kind][name] = Interval(held.value, held.low, max(held.high, bound))
    return found


def few_hits_bound(hits: int, n: int, worth: float) -> float:
    """How high the mean may still be when `hits` of n users have a hit worth at most `worth`: that times the upper end
    of the 95% interval of their share (Clopper and Pearson 1934)."""
    return worth * float(beta.ppf((1 + CONFIDENCE) / 2, hits + 1, n - hits)) if hits < n else worth


def _worth(values: Mapping[str, PerUser], name: str) -> float:
    """The most that any user got from any of the kinds, 1 where nobody got anything."""
    return max(float(of[name].max()) for of in values.values()) or 1.0


def ceilings(users: TestUsers, video_ids: Ids) -> dict[str, float]:
    """The highest mean precision and recall that any ranking of these videos could have: most users have fewer than
    k videos to find."""
    n = len(users.user_ids)
    there = lookup(video_ids, users.video_ids) != MISSING
    relevant = np.bincount(users.relevant[0], minlength=n)
    reachable = np.bincount(users.relevant[0][there[users.relevant[1]]], minlength=n)
    found: dict[str, float] = {}
    for k in CUTOFFS:
        hits = np.minimum(reachable, k)
        found |= {
            f"precision_at_{k}": float((hits / k).mean()),
            f"recall_at_{k}": float((hits / relevant).mean()),
        }
    return found


def _by_members(
    columns: Mapping[tuple[str, str], NDArray],
) -> Iterator[tuple[NDArray[np.bool_], list[tuple[str, str]]]]:
    """The columns that speak of the same users, together: one resampling serves them all."""
    groups: dict[bytes, list[tuple[str, str]]] = {}
    for key, column in columns.items():
        groups.setdefault(np.packbits(np.isfinite(column)).tobytes(), []).append(key)
    for group in groups.values():
        members = np.isfinite(columns[group[0]])
        if members.any():
            yield members, group

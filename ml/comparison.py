"""Is one model better than another on the same users, or is it luck: paired tests, and what they can see at all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ml.errors import MismatchedHoldoutError, NothingToJudgeError
from ml.metrics import (
    BLOCK_DRAWS,
    CHUNK_USERS,
    DECIMALS,
    PRIMARY,
    Interval,
    PerUser,
    percentiles,
    resampled_means,
)

PERMUTATIONS = 9_999
"""With the observed one they are 10,000, so the smallest p-value is 0.0001: 21 pairs of it are still under 0.05."""

_COUNTED = 13
"""Up to so many users every flip is counted: 2^13 of them are fewer than would be drawn."""

# Normal quantiles of a two-sided test at 5% and of a power of 80%.
_Z_TEST, _Z_POWER = 1.959964, 0.841621


@dataclass(frozen=True)
class PairedComparison:
    """What the same users say of model a against model b.

    `difference`: mean of (a - b) per user with its paired bootstrap interval; `relative`: mean of a / mean of b - 1,
    resampled likewise, None where b's mean is 0 in a resample. `p_value`: two-sided sign-flip test, see
    `sign_flip_p_values`. `wins`, `losses`, `ties` count users. `detectable`: the true difference that a sample like
    this one would find (5% two-sided) four times out of five.

    All of it takes the two models as they are. Another seed or another fortnight would train other models: that
    uncertainty is not in here.
    """

    difference: Interval
    relative: Interval | None
    p_value: float
    users: int
    wins: int
    losses: int
    ties: int
    detectable: float


@dataclass(frozen=True)
class Pair:
    """One of several comparisons; `better` has the higher mean. `p_adjusted` is Holm's over all of them."""

    better: str
    worse: str
    comparison: PairedComparison
    p_adjusted: float


def compare(a: PerUser, b: PerUser, seed: int, metric: str = PRIMARY) -> PairedComparison:
    """Model a against model b by one metric; rows are the same users in the same order.

    Raises `MismatchedHoldoutError` when they cannot be the same users, `NothingToJudgeError` without any.
    """
    return compare_values(a[metric], b[metric], seed)


def compare_values(a: NDArray, b: NDArray, seed: int) -> PairedComparison:
    """As `compare`, on one value a user, (n,) each: also for a slice of the users."""
    first, second = (np.asarray(values, dtype=np.float64) for values in (a, b))
    if first.shape != second.shape or first.ndim != 1:
        raise MismatchedHoldoutError(f"values of {first.shape} and {second.shape} are not of the same users")
    return _compare(first[:, None], second[:, None], seed)[0]


def compare_all(values: Mapping[str, NDArray], seed: int) -> list[Pair]:
    """Every pair of models by one value a user, (n,) each, in order of the adjusted p-value.

    The family that Holm's correction is over is all of these pairs: whichever of them is picked afterwards, because
    it looks best, the chance of one false "better" among them stays 5%.
    """
    columns = {name: np.asarray(column, dtype=np.float64) for name, column in values.items()}
    ranking = sorted(columns, key=lambda name: (-columns[name].mean(), name))
    names = list(combinations(ranking, 2))
    if not names:
        return []
    comparisons = _compare(
        np.stack([columns[better] for better, _ in names], axis=1),
        np.stack([columns[worse] for _, worse in names], axis=1),
        seed,
    )
    adjusted = holm([found.p_value for found in comparisons])
    pairs = [
        Pair(better, worse, found, p)
        for (better, worse), found, p in zip(names, comparisons, adjusted, strict=True)
    ]
    return sorted(pairs, key=lambda pair: (pair.p_adjusted, -pair.comparison.difference.value))


def sign_flip_p_values(
    differences: NDArray[np.float64], seed: int, permutations: int = PERMUTATIONS
) -> NDArray[np.float64]:
    """Two-sided p-value of each column's mean, (m,), from per-user differences (n, m).

    Tested: that which model gets which of a user's two values is a coin's toss, so that each difference might as well
    have the other sign (Fisher's randomisation test). Exact at any n for that, and for large n also a test of "the
    mean difference is 0" without symmetry. p = (1 + flips at least as extreme) / (1 + flips) (Phipson and Smyth 2010,
    never 0); up to 13 users all flips are counted instead of drawn. The draws depend on n and the seed alone.
    """
    n = len(differences)
    total, size = differences.sum(axis=0), np.abs(differences).sum(axis=0)
    # Sums in another order differ by rounding: what ought to be a tie must count as one.
    bound = np.abs(total) - 1e-9 * size
    few = n <= _COUNTED
    flipped = -np.tile(total, (2**n if few else permutations, 1))
    for rows, users, heads in _all_flips(n) if few else _drawn_flips(n, permutations, seed):
        of_block = differences[users]
        telling = of_block.any(axis=1)
        flipped[rows] += 2 * (heads[:, telling].astype(np.float64) @ of_block[telling])
    extreme = (np.abs(flipped) >= bound).sum(axis=0)
    return extreme / 2**n if few else (extreme + 1) / (permutations + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the given order (Holm 1979): under 5% of families have one wrongly below 0.05."""
    adjusted = np.empty(len(p_values))
    order = np.argsort(p_values, kind="stable")
    steps = np.asarray(p_values, dtype=np.float64)[order] * np.arange(len(p_values), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted.tolist()


def detectable(differences: NDArray[np.float64]) -> float:
    """The true mean difference that a sample of these per-user differences (n,) would find at 5%, two-sided, four
    times out of five: (1.96 + 0.84) standard errors. 0 for a single user or differences that are all the same."""
    n = len(differences)
    if n < 2:
        return 0.0
    return round(float((_Z_TEST + _Z_POWER) * differences.std(ddof=1) / np.sqrt(n)), DECIMALS)


def _compare(a: NDArray[np.float64], b: NDArray[np.float64], seed: int) -> list[PairedComparison]:
    """A comparison of each column of a and b, (n, m) both; all share their draws."""
    n, m = a.shape
    if not n:
        raise NothingToJudgeError("there are no users to compare two models on")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a user's metric is not finite: take the users of the slice alone")
    differences = a - b
    p_values = sign_flip_p_values(differences, seed)
    resampled = resampled_means(np.hstack([differences, b]), seed)
    centre, low_high = differences.mean(axis=0), percentiles(resampled[:, :m])
    return [
        PairedComparison(
            difference=Interval.of(centre[i], low_high[0][i], low_high[1][i]),
            relative=_relative(centre[i], b[:, i].mean(), resampled[:, i], resampled[:, m + i]),
            p_value=float(p_values[i]),
            users=n,
            wins=int((differences[:, i] > 0).sum()),
            losses=int((differences[:, i] < 0).sum()),
            ties=int((differences[:, i] == 0).sum()),
            detectable=detectable(differences[:, i]),
        )
        for i in range(m)
    ]


def _relative(
    difference: float, base: float, differences: NDArray[np.float64], bases: NDArray[np.float64]
) -> Interval | None:
    if base <= 0 or (bases <= 0).any():
        return None
    low, high = percentiles((differences / bases)[:, None])
    return Interval.of(difference / base, low[0], high[0])


_Flips = Iterator[tuple[slice, slice, NDArray[np.uint8]]]
"""Parts of a table of coins, a row a flip and a column a user: which rows, which columns, and the coins."""


def _all_flips(n: int) -> _Flips:
    yield slice(None), slice(None), ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(np.uint8)


def _drawn_flips(n: int, flips: int, seed: int) -> _Flips:
    rng = np.random.default_rng(seed)
    for first in range(0, n, CHUNK_USERS):
        users = slice(first, min(first + CHUNK_USERS, n))
        size = users.stop - users.start
        width, step = -(-size // 8), max(1, BLOCK_DRAWS // size)
        for start in range(0, flips, step):
            rows = slice(start, min(start + step, flips))
            packed = np.frombuffer(rng.bytes((rows.stop - rows.start) * width), dtype=np.uint8)
            yield rows, users, np.unpackbits(packed.reshape(-1, width), axis=1, count=size)

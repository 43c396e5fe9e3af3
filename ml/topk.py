"""The k best of each row of a score matrix, exactly and reproducibly."""

import numpy as np
from numpy.typing import NDArray

NO_CANDIDATE = -1

# Floats in one block of scores: 64 MB, whatever the size of the catalogue.
BLOCK_ELEMENTS = 16_000_000

# Columns that share one entry of the first look, see `_bounds`.
GROUP = 16

_EMPTY = np.uint64(2**64 - 1)
_LOW = np.uint64(2**32 - 1)


def rows_per_block(n_columns: int) -> int:
    return max(1, BLOCK_ELEMENTS // max(1, n_columns))


def top_k(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Columns and scores of the k highest of each row, best first; equal scores: the lower column first.

    `scores` (n, m); both results (n, min(k, m)). Scores of -inf are no candidates: their places hold
    `NO_CANDIDATE`. A plain `argpartition` would pick arbitrarily among equal scores at the k-th place, and models
    with many equal scores (popularity) would then differ from batch to batch.
    """
    n, m = scores.shape
    k = min(k, m)
    columns = np.full((n, k), NO_CANDIDATE, dtype=np.int64)
    values = np.full((n, k), -np.inf, dtype=np.float32)
    if not n or not k:
        return columns, values
    bounds = _bounds(scores, k)
    wanted = scores >= bounds
    if np.isneginf(bounds).any():
        wanted &= scores > -np.inf
    places = np.flatnonzero(wanted)
    row = places // m
    keys = _sort_keys(scores.reshape(-1)[places], places - row * m)
    counts = np.bincount(row, minlength=n)
    nth = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.full((n, max(k, counts.max())), _EMPTY)
    table[row, nth] = keys
    table.sort(axis=1)
    best = table[:, :k]
    row, place = np.nonzero(best != _EMPTY)
    column = (best[row, place] & _LOW).astype(np.int64)
    columns[row, place] = column
    values[row, place] = scores[row, column]
    return columns, values


def _bounds(scores: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """A score that at least k of each row reach, close to the k-th highest; shape (n, 1).

    The k-th highest of the maxima of groups of columns: k groups reach it, so k columns do. Looking for it among the
    maxima is several times faster than among all columns.
    """
    n, m = scores.shape
    groups = m // GROUP
    if groups > 4 * k:
        scores = scores[:, : groups * GROUP].reshape(n, GROUP, groups).max(axis=1)
    return np.partition(scores, -k, axis=1)[:, -k, None]


def _sort_keys(scores: NDArray[np.float32], columns: NDArray[np.int64]) -> NDArray[np.uint64]:
    """One number for each (score, column) that sorts as wanted: higher scores first, then lower columns.

    The bits of a positive float sort as the float does, those of a negative one the other way round.
    """
    bits = (scores + np.float32(0)).view(np.uint32)  # -0 becomes 0: they are equal
    negative = bits >> 31 == 1
    falling = np.where(negative, bits, ~bits & np.uint32(2**31 - 1))
    return (falling.astype(np.uint64) << np.uint64(32)) | columns.astype(np.uint64)

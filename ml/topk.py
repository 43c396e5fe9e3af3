"""The k best of each row of a score matrix, exactly and reproducibly."""

import numpy as np
from numpy.typing import NDArray

NO_CANDIDATE = -1

# Floats in one block of scores: 64 MB, whatever the size of the catalogue.
BLOCK_ELEMENTS = 16_000_000


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
    threshold = np.partition(scores, m - k, axis=1)[:, m - k, None]
    row, column = np.nonzero((scores >= threshold) & (scores > -np.inf))
    score = scores[row, column]
    order = np.lexsort((column, -score, row))
    row, column, score = row[order], column[order], score[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    kept = place < k
    columns[row[kept], place[kept]] = column[kept]
    values[row[kept], place[kept]] = score[kept]
    return columns, values

"""Public ids to matrix rows: one sorted array of ids is the whole vocabulary."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.str_]
Rows = NDArray[np.int64]

MISSING = -1


def as_ids(values: Iterable[str]) -> Ids:
    """Ids as a numpy unicode array, in the given order; an empty array keeps a string type."""
    array = np.asarray(list(values) if not isinstance(values, np.ndarray) else values)
    return array.astype(np.str_) if array.dtype.kind != "U" else array


def vocabulary(*groups: Iterable[str]) -> Ids:
    """The sorted distinct ids of all groups."""
    arrays = [ids for ids in map(as_ids, groups) if ids.size]
    return np.unique(np.concatenate(arrays)) if arrays else np.empty(0, dtype="<U1")


def lookup(sorted_ids: Ids, wanted: Sequence[str] | Ids) -> Rows:
    """Row of each wanted id in `sorted_ids`, `MISSING` (-1) where it is not there. Shape (len(wanted),).

    Longer ids than any known one are set aside first: comparing them would make numpy copy the whole vocabulary
    to their width, which a caller with one absurd id must not be able to cause.
    """
    queries = as_ids(wanted)
    if queries.dtype == sorted_ids.dtype and np.array_equal(queries, sorted_ids):
        return np.arange(len(queries))  # two vocabularies that are one: nothing to search for
    rows = np.full(len(queries), MISSING, dtype=np.int64)
    if not len(sorted_ids) or not len(queries):
        return rows
    possible = np.flatnonzero(np.char.str_len(queries) <= sorted_ids.dtype.itemsize // 4)
    queries = queries[possible].astype(sorted_ids.dtype)
    found = np.minimum(np.searchsorted(sorted_ids, queries), len(sorted_ids) - 1)
    rows[possible] = np.where(sorted_ids[found] == queries, found, MISSING)
    return rows


def find(sorted_ids: Ids, wanted: str) -> int:
    """Row of one id, `MISSING` if it is not there: `lookup` for a request, without its overhead for many."""
    if not len(sorted_ids) or len(wanted) > sorted_ids.dtype.itemsize // 4:
        return MISSING
    row = int(sorted_ids.searchsorted(wanted))
    return row if row < len(sorted_ids) and sorted_ids[row] == wanted else MISSING

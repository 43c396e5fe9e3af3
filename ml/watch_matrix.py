"""Who watched what, as a sparse matrix."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ml.dataset import Encoded
from ml.ids import Rows


def watch_matrix(data: Encoded, strengths: NDArray[np.float32]) -> sparse.csr_matrix:
    """(users, videos), float32: the largest of a pair's `strengths`, which are one a row of the interactions.

    Watching again does not add up: a video that loops in the background would otherwise count as ten interests. Rows
    of strength 0 say nothing and make no entry.
    """
    rows = np.flatnonzero(strengths > 0)
    users, videos, values = data.users[rows], data.videos[rows], strengths[rows]
    order = np.lexsort((values, videos, users))
    users, videos, values = users[order], videos[order], values[order]
    last = np.ones(len(rows), dtype=np.bool_)
    last[:-1] = (users[1:] != users[:-1]) | (videos[1:] != videos[:-1])
    shape = (len(data.user_ids), len(data.video_ids))
    return sparse.csr_matrix((values[last].astype(np.float32), (users[last], videos[last])), shape=shape)


def places_from_the_end(users: Rows, ended_at_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many later rows the user has, for each row, (n,): 0 for the newest. Rows that ended together: the order of
    the file."""
    order = np.lexsort((ended_at_ms, users))
    ends = np.searchsorted(users[order], users[order], side="right")
    places = np.empty(len(users), dtype=np.int64)
    places[order] = ends - 1 - np.arange(len(users))
    return places

"""SVD's loop over the ratings, compiled. Imported by fitting alone: who only asks a model needs no numba."""

from collections.abc import Callable

import numpy as np
from numba import float32, float64, int64, njit
from numpy.typing import NDArray

# Sums may be reordered and products fused, which SIMD needs; infinities and NaNs keep their meaning, because a
# training that diverges is told by them.
_FAST_MATH = {"reassoc", "contract", "nsz", "arcp"}
_SIGNATURE = float64(
    float32[:, ::1], float32[:, ::1], int64[::1], int64[::1], float32[::1], float32, float32, int64
)


def _compiled(function: Callable) -> Callable:
    """Compiled once per machine: kept beside this file or in the user's cache folder, in memory if neither can be."""
    try:
        return njit(_SIGNATURE, nogil=True, fastmath=_FAST_MATH, cache=True)(function)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
        return njit(_SIGNATURE, nogil=True, fastmath=_FAST_MATH)(function)


@_compiled
def epoch(
    P: NDArray[np.float32],
    Q: NDArray[np.float32],
    users: NDArray[np.int64],
    videos: NDArray[np.int64],
    targets: NDArray[np.float32],
    rate: np.float32,
    regularisation: np.float32,
    d: int,
) -> float:
    """Visit each rating once, in the given order; changes P and Q, returns the sum of squared errors before updates.

    Rows are P[u] = [p_u (d), b_u, 1, 0...] and Q[v] = [q_v (d), 1, b_v, 0...], of one width: their product holds the
    biases too, and one step serves all columns. The ones it moved are put back; zeros stay zeros. `targets` are
    ratings less their mean. One thread: the order is the result, and two threads on blocks of users and videos,
    whose order differs, were no faster when it was tried (1M ratings, 2 cores: 25 ns a rating against 31-50).
    """
    width = P.shape[1]
    keep = np.float32(1) - rate * regularisation
    squares = 0.0
    for row in range(len(users)):
        p, q = P[users[row]], Q[videos[row]]
        product = np.float32(0)
        for column in range(width):
            product += p[column] * q[column]
        error = targets[row] - product
        squares += np.float64(error) * np.float64(error)
        step = rate * error
        for column in range(width):
            of_user, of_video = p[column], q[column]
            p[column] = keep * of_user + step * of_video
            q[column] = keep * of_video + step * of_user
        p[d + 1] = np.float32(1)
        q[d] = np.float32(1)
    return squares

"""EASE: which videos go with which, in closed form (Steck 2019, "Embarrassingly shallow autoencoders")."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ml.collaborative_config import ItemItemConfig
from ml.dataset import Encoded, Known
from ml.errors import DivergedError, EmptyTrainingSetError
from ml.fitting import Fitted, Progress
from ml.ids import Rows
from ml.neighbours import NeighbourModel
from ml.watch_matrix import places_from_the_end, watch_matrix

ROWS_AT_ONCE = 512

Dense = NDArray[np.float32]


def fit(
    known: Known,
    config: ItemItemConfig,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Fitted:
    """Weights B with a zero diagonal that minimise |X - XB|^2 + sum_v (reg + p/(1-p) X'X_vv) |B_v|^2; X holds each
    watched pair's weight ** `weight_power`, p is `dropout`.

    What a user is scored by are the same watches, fading with every later one. Strangers get zeros for all videos.
    Nothing here is random: the result does not depend on `seed`. Memory: see `ItemItemConfig`. Raises
    `EmptyTrainingSetError` when no watch has a weight.
    """
    rows = known.interactions
    data = Encoded.of(rows, known.catalogue)
    strengths = np.where(rows.weights > 0, rows.weights**config.weight_power, 0).astype(np.float32)
    watched = watch_matrix(data, strengths)
    if not watched.nnz:
        raise EmptyTrainingSetError("item-item: no interaction has a weight")
    videos = most_watched(watched, config.max_videos)
    inverse = regularised_inverse(watched[:, videos], config.regularisation, config.dropout)
    weights = largest_weights(inverse, config.neighbours)
    if progress:
        progress(1, 1, 0.0)
    faded = strengths * np.exp2(-places_from_the_end(data.users, rows.ended_at_ms) / config.half_life_videos)
    model = NeighbourModel(
        kind="item-item",
        user_ids=data.user_ids,
        video_ids=data.video_ids,
        history=watch_matrix(data, faded.astype(np.float32)),
        weights=_among_all(weights, videos, len(data.video_ids)),
        video_bias=np.zeros(len(data.video_ids), dtype=np.float32),
        half_life_videos=config.half_life_videos,
        weight_power=config.weight_power,
    )
    return Fitted(model)


def most_watched(watched: sparse.csr_matrix, at_most: int) -> Rows:
    """Rows of the videos with the most watchers, sorted; of equal numbers the lower row. Never one nobody watched."""
    watchers = np.bincount(watched.indices, minlength=watched.shape[1])
    best = np.argsort(-watchers, kind="stable")[:at_most]
    return np.sort(best[watchers[best] > 0])


def regularised_inverse(watched: sparse.csr_matrix, regularisation: float, dropout: float) -> Dense:
    """(X'X + diag(reg + p/(1-p) X'X))^-1, (m, m) float32, made in the place of X'X: one dense matrix in memory."""
    from scipy.linalg import lapack

    gram = _gram(watched)
    diagonal = np.einsum("ii->i", gram)
    diagonal += np.float32(regularisation) + np.float32(dropout / (1 - dropout)) * diagonal
    factor, failed = lapack.spotrf(gram, lower=1, overwrite_a=1)
    if not failed:
        factor, failed = lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed or not np.isfinite(np.diag(factor)).all():
        raise DivergedError(
            f"item-item: X'X + reg cannot be inverted ({failed}); a larger regularisation may help"
        )
    _mirror(factor)
    return factor


def _gram(watched: sparse.csr_matrix) -> Dense:
    """X'X, dense in LAPACK's order, some columns at a time: whole and sparse it would take three times the memory."""
    m = watched.shape[1]
    by_video, columns = watched.T.tocsr(), watched.tocsc()
    gram = np.empty((m, m), dtype=np.float32, order="F")
    for start in range(0, m, ROWS_AT_ONCE):
        block = slice(start, start + ROWS_AT_ONCE)
        gram[:, block] = (by_video @ columns[:, block]).toarray()
    return gram


def _mirror(lower: Dense) -> None:
    """Copy the lower triangle onto the upper one, in place."""
    for start in range(0, len(lower), ROWS_AT_ONCE):
        block = slice(start, start + ROWS_AT_ONCE)
        square = np.tril(lower[block, block])
        lower[block, block] = square + np.tril(square, -1).T
        lower[block, start + ROWS_AT_ONCE :] = lower[start + ROWS_AT_ONCE :, block].T


def largest_weights(inverse: Dense, keep: int) -> sparse.csr_matrix:
    """B = -P / diag(P), of each video (row) the `keep` weights to others that are largest in size; (m, m) CSR."""
    m = len(inverse)
    keep = min(keep, m)
    scale = -1 / np.diag(inverse)
    columns, values = [], []
    for start in range(0, m, ROWS_AT_ONCE):
        block = inverse[start : start + ROWS_AT_ONCE] * scale
        block[np.arange(len(block)), np.arange(start, start + len(block))] = 0
        kept = np.argpartition(-np.abs(block), keep - 1, axis=1)[:, :keep].astype(np.int32)
        kept.sort(axis=1)
        columns.append(kept)
        values.append(np.take_along_axis(block, kept, axis=1))
    weights = sparse.csr_matrix(
        (np.concatenate(values).ravel(), np.concatenate(columns).ravel(), np.arange(0, m * keep + 1, keep)),
        shape=(m, m),
        dtype=np.float32,
    )
    weights.eliminate_zeros()
    return weights


def _among_all(weights: sparse.csr_matrix, videos: Rows, m: int) -> sparse.csr_matrix:
    """The weights of some videos as those of all; the others have none."""
    some = weights.tocoo()
    return sparse.csr_matrix(
        (some.data, (videos[some.row], videos[some.col])), shape=(m, m), dtype=np.float32
    )

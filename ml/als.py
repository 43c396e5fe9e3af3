"""Implicit ALS: 64 numbers a user and a video that explain who watched what (Hu, Koren and Volinsky 2008)."""

import numpy as np

from ml.collaborative_config import ALSConfig
from ml.dataset import Encoded, Known
from ml.errors import EmptyTrainingSetError
from ml.factors import FactorModel
from ml.fitting import Fitted, Progress
from ml.fold_in import LeastSquaresFoldIn
from ml.watch_matrix import watch_matrix


def fit(
    known: Known,
    config: ALSConfig,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Fitted:
    """Minimise sum over all pairs of c_uv (p_uv - x_u . y_v)^2 + reg (|x|^2 + |y|^2): p = 1 for watched pairs, else 0;
    c = 1 + alpha * the pair's largest weight.

    The sweeps are `implicit`'s (conjugate gradients) on one thread, so that the same seed gives the same model. At the
    end every user is solved exactly: a known user and a stranger with the same past get the same vector. Raises
    `EmptyTrainingSetError` when no watch has a weight.
    """
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    data = Encoded.of(known.interactions, known.catalogue)
    confidence = watch_matrix(data, known.interactions.weights)
    if not confidence.nnz:
        raise EmptyTrainingSetError("als: no interaction has a weight")
    confidence.data = 1 + np.float32(config.alpha) * confidence.data

    def swept(epoch: int, _seconds: float, _loss: float | None) -> None:
        if progress:
            progress(epoch + 1, config.n_epochs, 0.0)

    with threadpool_limits(1, "blas"):
        sweeps = AlternatingLeastSquares(
            factors=config.n_factors,
            regularization=config.regularisation,
            alpha=1.0,  # it is in the confidence, for implicit's own leaves out the 1
            iterations=config.n_epochs,
            num_threads=1,
            random_state=seed,
        )
        sweeps.fit(confidence, show_progress=False, callback=swept)
        user_factors = sweeps.recalculate_user(np.arange(len(data.user_ids)), confidence)
    video_factors = np.ascontiguousarray(sweeps.item_factors, dtype=np.float32)
    model = FactorModel(
        kind="als",
        user_ids=data.user_ids,
        video_ids=data.video_ids,
        user_factors=np.ascontiguousarray(user_factors, dtype=np.float32),
        video_factors=video_factors,
        user_bias=np.zeros(len(data.user_ids), dtype=np.float32),
        video_bias=np.zeros(len(data.video_ids), dtype=np.float32),
        fold_in=LeastSquaresFoldIn(video_factors.T @ video_factors, config.alpha, config.regularisation),
    )
    return Fitted(model)

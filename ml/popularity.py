"""What is watched now, the same for everybody: the baseline to beat and the answer for strangers."""

import numpy as np
from numpy.typing import NDArray

from ml.content_config import PopularityConfig
from ml.dataset import Encoded, Known
from ml.errors import EmptyTrainingSetError
from ml.factors import FactorModel
from ml.fitting import Fitted, Progress, decayed


def fit(
    known: Known,
    config: PopularityConfig,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Fitted:
    """Score of a video = sum of its plays, each halved every `half_life_days` before the newest interaction, times
    `lift` ** trend.

    Plays fade because a feed is asked what is watched now: all-time counts rank what was a hit before, and a window
    forgets all at once. The model knows no user: `knows` is False for everyone and all get
    the same scores. Raises `EmptyTrainingSetError`.
    """
    interactions = known.interactions
    if not len(interactions):
        raise EmptyTrainingSetError("popularity: there are no interactions")
    data = Encoded.of(interactions, known.catalogue)
    plays = _plays(data, config.half_life_days)
    scores = plays
    if config.trend:
        recent = _plays(data, config.trend_half_life_days)
        scores = plays * lift(recent, plays, config.smoothing) ** config.trend
    if progress:
        progress(1, 1, 0.0)
    model = FactorModel(
        kind="popularity",
        user_ids=np.empty(0, dtype="<U1"),
        video_ids=data.video_ids,
        user_factors=np.zeros((0, 1), dtype=np.float32),
        video_factors=np.zeros((len(data.video_ids), 1), dtype=np.float32),
        user_bias=np.zeros(0, dtype=np.float32),
        video_bias=scores.astype(np.float32),
    )
    return Fitted(model)


def lift(recent: NDArray[np.float64], older: NDArray[np.float64], smoothing: float) -> NDArray[np.float64]:
    """Share of the recent plays over share of the older ones, of each video; 1: neither rises nor falls. Both (m,).

    `smoothing` plays are added to every video on both sides, so that one play of a video hardly anybody knows is no
    trend.
    """
    m = len(recent)
    share = (recent + smoothing) / (recent.sum() + smoothing * m)
    return share / ((older + smoothing) / (older.sum() + smoothing * m))


def _plays(data: Encoded, half_life_days: float) -> NDArray[np.float64]:
    started_at_ms = data.interactions.started_at_ms
    counts = decayed(started_at_ms, int(started_at_ms.max()), half_life_days)
    return np.bincount(data.videos, counts, minlength=len(data.video_ids)).astype(np.float64)

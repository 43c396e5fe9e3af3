"""What is watched now, the same for everybody: the baseline to beat and the answer for strangers."""

import numpy as np

from ml.config import PopularityConfig
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
    """Score of a video = sum of its plays, each halved every `half_life_days` before the newest interaction.

    The model knows no user: `knows` is False for everyone and all get the same scores.
    """
    interactions = known.interactions
    if not len(interactions):
        raise EmptyTrainingSetError("popularity: there are no interactions")
    data = Encoded.of(interactions, known.catalogue)
    now_ms = int(interactions.started_at_ms.max())
    plays = decayed(interactions.started_at_ms, now_ms, config.half_life_days)
    scores = np.bincount(data.videos, weights=plays, minlength=len(data.video_ids))
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

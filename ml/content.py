"""The content model: videos by what is known of them, so that one nobody has seen can be recommended."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ml.content_config import ContentConfig
from ml.content_encoder import ContentEncoder, TextEncoder, Vectors, scaled_to_one
from ml.content_sentences import text_encoder_of
from ml.dataset import Catalogue, Encoded, Known
from ml.errors import EmptyTrainingSetError
from ml.factors import FactorModel
from ml.fitting import Fitted, Progress, decayed
from ml.fold_in import MeanFoldIn
from ml.ids import MISSING, Ids, Rows, lookup, vocabulary


def fit(
    known: Known,
    config: ContentConfig,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    text_encoder: TextEncoder | None = None,
) -> Fitted:
    """score(u, v) = cosine of v's vector and the weighted mean of what u watched, older watches fading.

    Nothing here is random: the result does not depend on `seed`. `Fitted.weights` are the `ContentEncoder`'s arrays,
    which embed a video that comes later (`with_new_videos`). `text_encoder` stands in for the one at
    `config.encoder_path`. Raises `EmptyTrainingSetError` and, for a wrong `encoder_path`, `ConfigurationError`.
    """
    interactions = known.interactions
    if not len(interactions):
        raise EmptyTrainingSetError("content: there are no interactions")
    data = Encoded.of(interactions, known.catalogue)
    fading = decayed(interactions.started_at_ms, known.as_of_ms, config.half_life_days)
    strength = (interactions.weights * fading).astype(np.float32)
    plays = np.bincount(data.videos, interactions.weights, len(data.video_ids)).astype(np.float64)
    encoder = ContentEncoder.fit(
        known.catalogue,
        config,
        text_encoder or text_encoder_of(config),
        plays[lookup(data.video_ids, known.catalogue.video_ids)],
    )
    vectors = _in_order(encoder.encode(known.catalogue), known.catalogue, data.video_ids)
    shape = (len(data.user_ids), len(data.video_ids))
    history = sparse.csr_matrix((strength, (data.users, data.videos)), shape=shape)
    if progress:
        progress(1, 1, 0.0)
    model = FactorModel(
        kind="content",
        user_ids=data.user_ids,
        video_ids=data.video_ids,
        user_factors=scaled_to_one(history @ vectors),
        video_factors=vectors,
        user_bias=np.zeros(len(data.user_ids), dtype=np.float32),
        video_bias=np.zeros(len(data.video_ids), dtype=np.float32),
        fold_in=MeanFoldIn(config.half_life_days),
    )
    return Fitted(model, weights=encoder.arrays())


def embeddings(catalogue: Catalogue, config: ContentConfig) -> Vectors:
    """A vector of length 1 (or 0: nothing known) of each video of the catalogue, (n, d), in its order."""
    return ContentEncoder.fit(catalogue, config, text_encoder_of(config)).encode(catalogue)


def with_new_videos(model: FactorModel, encoder: ContentEncoder, catalogue: Catalogue) -> FactorModel:
    """The content model with the videos of this catalogue that it lacks as further candidates, nothing fitted again."""
    video_ids = vocabulary(model.video_ids, catalogue.video_ids)
    vectors = np.zeros((len(video_ids), model.video_factors.shape[1]), dtype=np.float32)
    new = np.flatnonzero(lookup(model.video_ids, catalogue.video_ids) == MISSING)
    vectors[lookup(video_ids, catalogue.video_ids[new])] = encoder.encode(_only(catalogue, new))
    vectors[lookup(video_ids, model.video_ids)] = model.video_factors
    return replace(
        model, video_ids=video_ids, video_factors=vectors, video_bias=np.zeros(len(video_ids), np.float32)
    )


def _only(catalogue: Catalogue, rows: Rows) -> Catalogue:
    """The catalogue with these of its rows."""
    columns: dict[str, Any] = {
        name: tuple(column[row] for row in rows) if isinstance(column, tuple) else column[rows]
        for name, column in vars(catalogue).items()
    }
    return Catalogue(**columns)


def _in_order(vectors: Vectors, catalogue: Catalogue, video_ids: Ids) -> NDArray[np.float32]:
    """The catalogue's vectors in the order of `video_ids`, zeros for those that are not in it."""
    rows = catalogue.rows_of(video_ids)
    return np.where(
        (rows == MISSING)[:, None], np.float32(0), vectors[rows] if len(vectors) else np.float32(0)
    )

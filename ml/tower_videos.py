"""The vectors of videos the two-tower never saw, by its video tower from their features alone. Needs only numpy."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ml.errors import ModelFilesError
from ml.factors import FactorModel
from ml.features import UNKNOWN, VideoFeatures, VideoSchema, restored_schema
from ml.ids import MISSING, Ids, lookup, vocabulary
from ml.tower_arrays import Floats, Layers, unit

if TYPE_CHECKING:
    from ml.dataset import Catalogue


@dataclass(frozen=True)
class VideoTower:
    """The video tower for videos without an id of their own: `tables` (one a column of `VIDEO_COLUMNS`) and `tags` are
    (codes, d), `content` (d, content_dim)."""

    schema: VideoSchema
    tables: tuple[Floats, ...]
    tags: Floats
    content: Floats
    layers: Layers

    @classmethod
    def of(cls, state: Mapping[str, NDArray], schema: VideoSchema) -> Self:
        """From the towers' `state_dict`."""
        tables = tuple(state[f"features.{column}.weight"] for column in range(4))
        content = state.get("content.weight", np.zeros((tables[0].shape[1], 0), dtype=np.float32))
        return cls(schema, tables, state["tags.weight"], content, Layers.of(state, "video_tower"))

    def vectors(self, features: VideoFeatures) -> Floats:
        """Unit vectors (n, d) of new videos with these features."""
        x = features.content @ self.content.T
        for column, table in enumerate(self.tables):
            x = x + table[features.codes[:, column]]
        named = (features.tags != UNKNOWN).astype(np.float32)
        shares = named / np.maximum(named.sum(axis=1, keepdims=True), 1)
        x = x + (self.tags[features.tags] * shares[:, :, None]).sum(axis=1)
        return unit(x + self.layers(x))

    def settings(self) -> dict[str, Any]:
        return {"content_dim": self.schema.content_dim, "layers": len(self.layers.weights)}

    def arrays(self) -> dict[str, NDArray]:
        tables = {f"features.{column}.weight": table for column, table in enumerate(self.tables)}
        own = {"tags.weight": self.tags, "content.weight": self.content}
        return {**tables, **own, **self.layers.arrays("video_tower"), **self.schema.arrays()}

    @classmethod
    def restored(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> Self:
        return cls.of(arrays, restored_schema(settings, arrays))


def with_new_videos(model: FactorModel, catalogue: "Catalogue", content: Floats | None = None) -> FactorModel:
    """The two-tower model with the videos of this catalogue that it lacks as further candidates, nothing fitted again.

    A new video is as popular as one nobody has watched. `content` (len(catalogue), content_dim) are the vectors of the
    encoder that the model was trained with, if it was. Raises `ModelFilesError` for a model without towers.
    """
    from ml.tower_fold_in import TowerFoldIn

    if not isinstance(model.fold_in, TowerFoldIn):
        raise ModelFilesError(
            f"{model.kind}: the model has no video tower to make vectors of new videos with"
        )
    video_ids = vocabulary(model.video_ids, catalogue.video_ids)
    old = lookup(video_ids, model.video_ids)
    new: Ids = video_ids[lookup(model.video_ids, video_ids) == MISSING]
    tower = model.fold_in.videos
    vectors = np.empty((len(video_ids), model.video_factors.shape[1]), dtype=np.float32)
    vectors[old] = model.video_factors
    vectors[lookup(video_ids, new)] = tower.vectors(tower.schema.encode(catalogue, new, content))
    bias = np.full(len(video_ids), model.video_bias.min(initial=0), dtype=np.float32)
    bias[old] = model.video_bias
    return replace(
        model,
        video_ids=video_ids,
        video_factors=vectors,
        video_bias=bias,
        fold_in=model.fold_in.moved(old, len(video_ids)),
    )

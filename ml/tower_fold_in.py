"""A user's vector by the two-tower's user tower from a past alone: what torch computes, in numpy."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ml.features import PROFILE_COLUMNS, VideoSchema
from ml.tower_arrays import Floats, Layers, unit
from ml.tower_videos import VideoTower

_EMPTY = 1e-3  # as in ml.towers, which needs torch


@dataclass(frozen=True)
class TowerFoldIn:
    """The user tower for strangers without a profile, and the video tower for new videos.

    `history` (n_videos, w) is what a watch of each video says, `no_history` (w,) stands for an empty past, `stranger`
    (p,) for what is known of somebody unknown. `scale` is the length of vectors.
    """

    history: Floats
    no_history: Floats
    stranger: Floats
    skip: Floats
    layers: Layers
    videos: VideoTower
    weight_power: float
    rank_decay: float
    half_life_days: float
    min_weight: float
    length: int
    scale: float
    name: ClassVar[str] = "towers"

    @classmethod
    def of(
        cls,
        state: Mapping[str, NDArray],
        schema: VideoSchema,
        *,
        half_life_days: float,
        min_weight: float,
        length: int,
    ) -> Self:
        """From the towers' `state_dict`."""
        nobody = np.zeros(state["users.weight"].shape[1], dtype=np.float32)
        profile = sum(state[f"profiles.{column}.weight"][0] for column in range(len(PROFILE_COLUMNS)))
        return cls(
            history=state["history.weight"][1:],
            no_history=state["no_history"],
            stranger=np.concatenate([nobody, profile]).astype(np.float32),
            skip=state["user_skip.weight"],
            layers=Layers.of(state, "user_tower"),
            videos=VideoTower.of(state, schema),
            weight_power=float(state["weight_power"]),
            rank_decay=float(np.exp(state["log_rank_decay"])),
            half_life_days=half_life_days,
            min_weight=min_weight,
            length=length,
            scale=float(np.exp(state["log_scale"])),
        )

    def user_vector(
        self,
        rows: NDArray[np.int64],
        weights: Floats,
        ages_days: Floats,
        video_factors: Floats,
    ) -> Floats:
        """As `TwoTower.user_vectors` for a stranger; the past is oldest first, its newest `length` are looked at."""
        heard = np.flatnonzero((weights > 0) & (weights >= self.min_weight))[::-1][: self.length]
        weights, ages_days = weights[heard], ages_days[heard]
        logs = self.weight_power * np.log(np.maximum(weights, 1e-6)) - self.rank_decay * np.arange(len(heard))
        shares = np.exp2(-ages_days / self.half_life_days) * np.exp(logs)
        pooled = (
            shares @ self.history[rows[heard]] / (shares.sum() + _EMPTY) if len(heard) else self.no_history
        )
        x = self.skip @ pooled + self.layers(np.concatenate([pooled, self.stranger]).astype(np.float32))
        return np.float32(self.scale) * unit(x)

    def moved(self, rows: NDArray[np.int64], n_videos: int) -> Self:
        """With the videos at these rows of n; a watch of any other says nothing yet."""
        history = np.zeros((n_videos, self.history.shape[1]), dtype=np.float32)
        history[rows] = self.history
        return replace(self, history=history)

    def settings(self) -> dict[str, Any]:
        numbers = ("weight_power", "rank_decay", "half_life_days", "min_weight", "length", "scale")
        return {**{name: getattr(self, name) for name in numbers}, "videos": self.videos.settings()}

    def arrays(self) -> dict[str, NDArray]:
        own = {name: getattr(self, name) for name in ("history", "no_history", "stranger", "skip")}
        return {**own, **self.layers.arrays("user_tower"), **self.videos.arrays()}

    @classmethod
    def restored(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> Self:
        own: dict[str, Any] = {name: arrays[name] for name in ("history", "no_history", "stranger", "skip")}
        own |= {name: value for name, value in settings.items() if name != "videos"}
        videos = VideoTower.restored(settings["videos"], arrays)
        return cls(**own, layers=Layers.of(arrays, "user_tower"), videos=videos)

"""How a user the model never saw becomes a vector, from their history alone. Needs only numpy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ml.errors import ModelFilesError


class FoldIn(Protocol):
    """Makes a user's vector of a past: `rows` (n,) are the model's video rows, oldest first, with `weights` and
    `ages_days` (n,); n >= 1. `video_factors` (m, d) are the model's."""

    name: ClassVar[str]

    def user_vector(
        self,
        rows: NDArray[np.int64],
        weights: NDArray[np.float32],
        ages_days: NDArray[np.float32],
        video_factors: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """The user's factors, (d,)."""
        ...

    def settings(self) -> dict[str, Any]:
        """JSON: what `restored` needs besides the arrays."""
        ...

    def arrays(self) -> dict[str, NDArray]:
        """What is saved as arrays."""
        ...

    @classmethod
    def restored(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> "FoldIn": ...


def faded(
    weights: NDArray[np.float32], ages_days: NDArray[np.float32], half_life_days: float
) -> NDArray[np.float32]:
    """weight * 0.5 ** (age / half life)."""
    return (weights * np.exp2(-ages_days / half_life_days)).astype(np.float32)


@dataclass(frozen=True)
class MeanFoldIn:
    """The weighted mean of the watched videos' factors, older watches fading, scaled to length `scale`."""

    half_life_days: float
    scale: float = 1.0
    name: ClassVar[str] = "mean"

    def user_vector(
        self,
        rows: NDArray[np.int64],
        weights: NDArray[np.float32],
        ages_days: NDArray[np.float32],
        video_factors: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        pooled = faded(weights, ages_days, self.half_life_days) @ video_factors[rows]
        length = np.linalg.norm(pooled)
        return (self.scale * pooled / length if length else pooled).astype(np.float32)

    def settings(self) -> dict[str, Any]:
        return {"half_life_days": self.half_life_days, "scale": self.scale}

    def arrays(self) -> dict[str, NDArray]:
        return {}

    @classmethod
    def restored(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> "MeanFoldIn":
        return cls(**settings)


@dataclass(frozen=True)
class LeastSquaresFoldIn:
    """One half-step of implicit ALS: x = (Y'Y + Y'(C - I)Y + reg I)^-1 Y'C p with p = 1 for what was watched and
    C = 1 + alpha * weight (Hu, Koren and Volinsky 2008); `gram` is Y'Y, (d, d). Ages play no part, as in training."""

    gram: NDArray[np.float32]
    alpha: float
    regularisation: float
    name: ClassVar[str] = "least-squares"

    def user_vector(
        self,
        rows: NDArray[np.int64],
        weights: NDArray[np.float32],
        ages_days: NDArray[np.float32],
        video_factors: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        Y = video_factors[rows].astype(np.float64)
        extra = self.alpha * weights.astype(np.float64)
        left = self.gram + (Y.T * extra) @ Y + self.regularisation * np.eye(len(self.gram))
        return np.linalg.solve(left, Y.T @ (1 + extra)).astype(np.float32)

    def settings(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "regularisation": self.regularisation}

    def arrays(self) -> dict[str, NDArray]:
        return {"gram": self.gram}

    @classmethod
    def restored(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> "LeastSquaresFoldIn":
        return cls(gram=arrays["gram"], **settings)


def restored(name: str, settings: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> FoldIn:
    """The fold-in that was saved under this name; raises `ModelFilesError` for a name this code does not know."""
    for known in (MeanFoldIn, LeastSquaresFoldIn):
        if known.name == name:
            return known.restored(settings, arrays)
    if name == "towers":
        from ml.tower_fold_in import TowerFoldIn

        return TowerFoldIn.restored(settings, arrays)
    raise ModelFilesError(f"fold_in: {name!r} is none this code knows")

"""What every model's `fit` takes and gives."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.errors import DivergedError
from ml.recommender import Recommender

Progress = Callable[[int, int, float], None]
"""Called after each epoch with (epoch from 1, epochs in all, mean loss)."""

Validate = Callable[[Recommender], float]
"""How good a model is on rows it has not seen, inside the training period; higher is better."""


@dataclass(frozen=True)
class Fitted:
    """A model, its loss per epoch, for torch models the weights that training could go on from, and settings that this
    fit found out (such as the number of epochs, by early stopping) and that later fits should use."""

    model: Recommender
    curve: list[float] = field(default_factory=list)
    weights: Mapping[str, NDArray] = field(default_factory=dict)
    found: Mapping[str, Any] = field(default_factory=dict)


def finite(kind: str, epoch: int, loss: float) -> float:
    """The loss, or `DivergedError`: a model of NaNs must never be saved."""
    if not math.isfinite(loss):
        raise DivergedError(f"{kind}: the loss of epoch {epoch} is {loss}; a lower learning rate may help")
    return loss


def decayed(
    times_ms: NDArray[np.int64], now_ms: int | NDArray[np.int64], half_life_days: float
) -> NDArray[np.float64]:
    """0.5 ** (age / half life): what a play of each time still counts at `now_ms`."""
    age_days = (now_ms - times_ms) / 86_400_000.0
    return np.exp2(-age_days / half_life_days)

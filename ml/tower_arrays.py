"""Layers of a trained tower as numpy arrays: what it computes, without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Layers:
    """Linear layers, (outputs, inputs) and (outputs,) each, with ReLU between them."""

    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]

    def __call__(self, x: Floats) -> Floats:
        last = len(self.weights) - 1
        for place, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = x @ weight.T + bias
            if place < last:
                x = np.maximum(x, 0)
        return x

    @classmethod
    def of(cls, state: Mapping[str, NDArray], prefix: str) -> Self:
        """From the `state_dict` of an `nn.Sequential` of that name."""
        places = sorted(
            int(n.split(".")[1]) for n in state if n.startswith(f"{prefix}.") and n.endswith(".weight")
        )
        return cls(
            tuple(state[f"{prefix}.{place}.weight"] for place in places),
            tuple(state[f"{prefix}.{place}.bias"] for place in places),
        )

    def arrays(self, prefix: str) -> dict[str, NDArray]:
        named = {}
        for place, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            named[f"{prefix}.{place}.weight"], named[f"{prefix}.{place}.bias"] = weight, bias
        return named


def unit(x: Floats) -> Floats:
    """Rows of length 1; of zeros: zeros."""
    return (x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)).astype(np.float32)

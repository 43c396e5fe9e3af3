"""One score for each candidate, between 0 and 1: the model's, what other signals say, and the session's share."""

from collections.abc import Mapping

import numpy as np

from serving.pipeline.space import Vector

_LEAST_SPAN = 1e-12


def scaled(scores: Vector) -> Vector:
    """R5's norm among the candidates: the lowest is 0, the highest 1; equal scores say nothing and become 0."""
    if not len(scores):
        return scores
    low, high = float(scores.min()), float(scores.max())
    span = high - low
    if span <= _LEAST_SPAN:
        return np.zeros(len(scores), np.float32)
    return (scores - np.float32(low)) * np.float32(1 / span)


def blend(scores: Vector, others: Mapping[str, tuple[float, Vector]]) -> dict[str, Vector]:
    """The parts of a weighted mean of scaled scores, by name: the model's (`model`) takes the weight that `others`
    (name -> weight, scores) leave. Their sum lies between 0 and 1."""
    asked = sum(weight for weight, _ in others.values())
    left = max(0.0, 1.0 - asked)
    shrink = 1.0 / max(1.0, asked)  # weights that add up to more than 1 are shares of 1
    parts = {"model": np.float32(left) * scaled(scores)}
    for name, (weight, values) in others.items():
        parts[name] = np.float32(weight * shrink) * scaled(values)
    return parts


def with_session(parts: dict[str, Vector], short: Vector, share: float) -> dict[str, Vector]:
    """R5's 0.7 long + 0.3 short: every part times `1 - share`, and `session`, the scaled likeness to the short-term
    interest, times `share`."""
    together = {name: np.float32(1 - share) * values for name, values in parts.items()}
    together["session"] = np.float32(share) * scaled(short)
    return together

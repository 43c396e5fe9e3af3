"""The hybrid's form: other models' scores, made comparable for each user, times learned weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ml.errors import ModelFilesError
from ml.ids import Ids, vocabulary
from ml.recommender import Past, Recommender, Scores, check_array

ARRAYS_FILE = "arrays.npz"


@dataclass(frozen=True)
class BlendModel(Recommender):
    """score(u, v) = video_bias[v] + sum over parts of weights[part] * standardised(part's scores of u)[v].

    All parts rank the same videos. `video_bias` (m,) is what does not depend on the user (recency, age).
    """

    form: ClassVar[str] = "blend"

    kind: str
    parts: Mapping[str, Recommender]
    weights: Mapping[str, float]
    video_bias: NDArray[np.float32]
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.parts or set(self.parts) != set(self.weights):
            raise ModelFilesError(f"weights: of {sorted(self.weights)}, the parts are {sorted(self.parts)}")
        check_array("video_bias", self.video_bias, (len(self.video_ids),))
        for name, part in self.parts.items():
            if not np.array_equal(part.video_ids, self.video_ids):
                raise ModelFilesError(f"parts: {name} ranks other videos than the others")

    @property
    def video_ids(self) -> Ids:  # type: ignore[override]
        return next(iter(self.parts.values())).video_ids

    @property
    def user_ids(self) -> Ids:  # type: ignore[override]
        return vocabulary(*(part.user_ids for part in self.parts.values()))

    def knows(self, user_id: str) -> bool:
        return any(part.knows(user_id) for part in self.parts.values())

    def scores(self, user_ids: Sequence[str] | Ids) -> Scores:
        return self._blended(lambda part: part.scores(user_ids), len(user_ids))

    def scores_for(self, pasts: Sequence[Past]) -> Scores:
        return self._blended(lambda part: part.scores_for(pasts), len(pasts))

    def similarities(self, row: int) -> Scores:
        """The mean of what the parts say, each between its lowest and its highest, by their weights."""
        total = np.zeros(len(self.video_ids), dtype=np.float32)
        for name, part in self.parts.items():
            of_part = part.similarities(row)
            known = np.isfinite(of_part)
            if known.any() and self.weights[name] > 0:
                low, high = of_part[known].min(), of_part[known].max()
                total[known] += (
                    np.float32(self.weights[name]) * (of_part[known] - low) / max(high - low, 1e-9)
                )
        total[row] = -np.inf
        return total

    def _blended(self, scores_of: Callable[[Recommender], Scores], n: int) -> Scores:
        total = np.tile(self.video_bias, (n, 1))
        for name, part in self.parts.items():
            total += np.float32(self.weights[name]) * standardised(scores_of(part))
        return total

    def write(self, folder: Path) -> dict[str, Any]:
        np.savez(folder / ARRAYS_FILE, allow_pickle=False, video_bias=self.video_bias)
        for name, part in self.parts.items():
            part.save(folder / name)
        return {"weights": dict(self.weights)}

    @classmethod
    def read(cls, folder: Path, about: Mapping[str, Any]) -> Self:
        from ml.saved import load

        with np.load(folder / ARRAYS_FILE, allow_pickle=False) as arrays:
            video_bias = arrays["video_bias"]
        parts = {name: load(folder / name) for name in about["weights"]}
        return cls(
            kind=about["kind"],
            parts=parts,
            weights=about["weights"],
            video_bias=video_bias,
            info=about["info"],
        )


def standardised(scores: Scores) -> Scores:
    """Each row with mean 0 and standard deviation 1; a row of equal scores becomes zeros."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12)

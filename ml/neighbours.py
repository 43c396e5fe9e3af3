"""Models of which videos go with which: sparse item-item weights times what a user watched. Needs numpy and scipy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ml.arrays import read_arrays
from ml.errors import ModelFilesError
from ml.ids import MISSING, Ids, lookup
from ml.recommender import Past, Recommender, Scores, check_array, check_ids

ARRAYS_FILE = "arrays.npz"
_PARTS = ("data", "indices", "indptr")


@dataclass(frozen=True)
class NeighbourModel(Recommender):
    """score(u, v) = video_bias[v] + sum over watched w of history[u, w] * weights[w, v].

    `history` (n, m) and `weights` (m, m) are float32 CSR matrices, `video_bias` (m,) is what a stranger's ranking is
    made of. In a history a watch counts weight ** `weight_power`, halved by every `half_life_videos` watches that came
    after it (0: it does not fade), and a video watched again its largest count.
    """

    form: ClassVar[str] = "neighbours"

    kind: str
    user_ids: Ids
    video_ids: Ids
    history: sparse.csr_matrix
    weights: sparse.csr_matrix
    video_bias: NDArray[np.float32]
    half_life_videos: float = 0.0
    weight_power: float = 1.0
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, m = len(self.user_ids), len(self.video_ids)
        check_ids(user_ids=self.user_ids, video_ids=self.video_ids)
        check_array("video_bias", self.video_bias, (m,))
        for name, matrix, shape in (("history", self.history, (n, m)), ("weights", self.weights, (m, m))):
            if matrix.shape != shape or matrix.dtype != np.float32:
                raise ModelFilesError(f"{name}: {matrix.dtype} {matrix.shape}, must be float32 {shape}")
            if not np.isfinite(matrix.data).all():
                raise ModelFilesError(f"{name}: holds a value that is not finite")

    def scores(self, user_ids: Sequence[str] | Ids) -> Scores:
        rows = lookup(self.user_ids, user_ids)
        known = rows != MISSING
        scores = np.tile(self.video_bias, (len(rows), 1))
        if known.any():
            scores[known] += (self.history[rows[known]] @ self.weights).toarray()
        return scores

    def scores_for(self, pasts: Sequence[Past]) -> Scores:
        scores = np.tile(self.video_bias, (len(pasts), 1))
        for place, past in enumerate(pasts):
            rows = lookup(self.video_ids, past.video_ids)
            weights, _ = past.arrays()
            known = (rows != MISSING) & (weights > 0)
            rows, weights = rows[known], weights[known]
            if len(rows):
                later = np.arange(len(rows))[::-1]
                fading = np.exp2(-later / self.half_life_videos) if self.half_life_videos else 1
                counts = weights ** np.float32(self.weight_power) * fading
                largest = np.zeros(len(self.video_ids), dtype=np.float32)
                np.maximum.at(largest, rows, counts.astype(np.float32))
                watched = np.flatnonzero(largest)
                scores[place] += largest[watched] @ self.weights[watched]
        return scores

    def similarities(self, row: int) -> Scores:
        """The weights from this video to the others; -inf where there is none."""
        found = np.full(len(self.video_ids), -np.inf, dtype=np.float32)
        of_row = self.weights[[row]]
        found[of_row.indices] = of_row.data
        found[row] = -np.inf
        return found

    def write(self, folder: Path) -> dict[str, Any]:
        arrays: dict[str, NDArray] = {
            "user_ids": self.user_ids,
            "video_ids": self.video_ids,
            "video_bias": self.video_bias,
        }
        for name in ("history", "weights"):
            matrix = getattr(self, name)
            arrays |= {f"{name}.{part}": getattr(matrix, part) for part in _PARTS}
        np.savez(folder / ARRAYS_FILE, allow_pickle=False, **arrays)
        return {"half_life_videos": self.half_life_videos, "weight_power": self.weight_power}

    @classmethod
    def read(cls, folder: Path, about: Mapping[str, Any]) -> Self:
        arrays = read_arrays(folder / ARRAYS_FILE)
        user_ids, video_ids = arrays["user_ids"], arrays["video_ids"]

        def matrix(name: str, rows: int) -> sparse.csr_matrix:
            parts = tuple(arrays[f"{name}.{part}"] for part in _PARTS)
            return sparse.csr_matrix(parts, shape=(rows, len(video_ids)))

        return cls(
            kind=about["kind"],
            user_ids=user_ids,
            video_ids=video_ids,
            history=matrix("history", len(user_ids)),
            weights=matrix("weights", len(video_ids)),
            video_bias=arrays["video_bias"],
            half_life_videos=about["half_life_videos"],
            weight_power=about["weight_power"],
            info=about["info"],
        )

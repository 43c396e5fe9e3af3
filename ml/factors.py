"""Models whose scores are dot products: factors, biases and the ids they belong to. Needs only numpy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ml.arrays import read_arrays
from ml.fold_in import FoldIn, restored
from ml.ids import MISSING, Ids, lookup
from ml.recommender import Past, Recommender, Scores, check_array, check_ids, cosines

ARRAYS_FILE = "arrays.npz"
_ARRAYS = ("user_ids", "video_ids", "user_factors", "video_factors", "user_bias", "video_bias")
_FOLD_IN = "fold_in."


@dataclass(frozen=True)
class FactorModel(Recommender):
    """score(u, v) = offset + user_bias[u] + video_bias[v] + user_factors[u] . video_factors[v].

    `user_factors` (n, d), `video_factors` (m, d), `user_bias` (n,) and `video_bias` (m,) are float32. With `fold_in`
    it scores for people it never saw by their past; without, and for an empty past, by the biases.
    """

    form: ClassVar[str] = "factors"

    kind: str
    user_ids: Ids
    video_ids: Ids
    user_factors: NDArray[np.float32]
    video_factors: NDArray[np.float32]
    user_bias: NDArray[np.float32]
    video_bias: NDArray[np.float32]
    offset: float = 0.0
    info: dict[str, Any] = field(default_factory=dict)
    fold_in: FoldIn | None = None

    def __post_init__(self) -> None:
        n, m = len(self.user_ids), len(self.video_ids)
        d = self.video_factors.shape[-1]
        check_ids(user_ids=self.user_ids, video_ids=self.video_ids)
        check_array("user_factors", self.user_factors, (n, d))
        check_array("video_factors", self.video_factors, (m, d))
        check_array("user_bias", self.user_bias, (n,))
        check_array("video_bias", self.video_bias, (m,))

    def scores(self, user_ids: Sequence[str] | Ids) -> Scores:
        rows = lookup(self.user_ids, user_ids)
        known = rows != MISSING
        if not known.any():
            return self._of_strangers(len(rows))
        vectors = np.where(
            known[:, None], self.user_factors[rows], np.float32(0)
        )  # strangers: the biases alone
        scores = vectors @ self.video_factors.T
        scores += self.video_bias + np.float32(self.offset)
        scores += np.where(known, self.user_bias[rows], np.float32(0))[:, None]
        return scores

    def scores_for(self, pasts: Sequence[Past]) -> Scores:
        scores = self._of_strangers(len(pasts))
        if self.fold_in is None:
            return scores
        for place, past in enumerate(pasts):
            rows = lookup(self.video_ids, past.video_ids)
            weights, ages_days = past.arrays()
            known = (rows != MISSING) & (weights > 0)
            if known.any():
                vector = self.fold_in.user_vector(
                    rows[known], weights[known], ages_days[known], self.video_factors
                )
                scores[place] += self.video_factors @ vector
        return scores

    def similarities(self, row: int) -> Scores:
        """Cosine of the factors."""
        return cosines(self.video_factors, row)

    def _of_strangers(self, n: int) -> Scores:
        return np.tile(self.video_bias + np.float32(self.offset), (n, 1))

    def write(self, folder: Path) -> dict[str, Any]:
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        about: dict[str, Any] = {"offset": self.offset, "fold_in": None}
        if self.fold_in is not None:
            arrays |= {_FOLD_IN + name: array for name, array in self.fold_in.arrays().items()}
            about["fold_in"] = {"name": self.fold_in.name, "settings": self.fold_in.settings()}
        np.savez(folder / ARRAYS_FILE, allow_pickle=False, **arrays)
        return about

    @classmethod
    def read(cls, folder: Path, about: Mapping[str, Any]) -> Self:
        arrays = read_arrays(folder / ARRAYS_FILE)
        columns = {name: arrays[name] for name in _ARRAYS}
        rest = {n.removeprefix(_FOLD_IN): array for n, array in arrays.items() if n.startswith(_FOLD_IN)}
        made = about["fold_in"]
        fold_in = restored(made["name"], made["settings"], rest) if made else None
        return cls(kind=about["kind"], offset=about["offset"], info=about["info"], fold_in=fold_in, **columns)

"""The one form every trained model takes: factors, biases and the ids they belong to. Needs only numpy."""

import json
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ml.errors import ModelFilesError, UnknownVideoError
from ml.files import replaced, write_json
from ml.ids import MISSING, Ids, lookup
from ml.topk import NO_CANDIDATE, rows_per_block, top_k

KINDS = ("svd", "two-tower", "popularity")
FORMAT = 1

Ranked = list[tuple[str, float]]

_ARRAYS = ("user_ids", "video_ids", "user_factors", "video_factors", "user_bias", "video_bias")


@dataclass(frozen=True)
class FactorModel:
    """score(u, v) = offset + user_bias[u] + video_bias[v] + user_factors[u] . video_factors[v].

    `user_ids` (n,) and `video_ids` (m,) are sorted and distinct; `user_factors` (n, d), `video_factors` (m, d),
    `user_bias` (n,) and `video_bias` (m,) float32. `info` is JSON: how the model was made.
    """

    kind: str
    user_ids: Ids
    video_ids: Ids
    user_factors: NDArray[np.float32]
    video_factors: NDArray[np.float32]
    user_bias: NDArray[np.float32]
    video_bias: NDArray[np.float32]
    offset: float = 0.0
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, m = len(self.user_ids), len(self.video_ids)
        d = self.video_factors.shape[-1]
        expected = {"user_factors": (n, d), "video_factors": (m, d), "user_bias": (n,), "video_bias": (m,)}
        for name, shape in expected.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.float32:
                raise ModelFilesError(f"{name}: {array.dtype} {array.shape}, must be float32 {shape}")
            if not np.isfinite(array).all():
                raise ModelFilesError(f"{name}: holds a value that is not finite")
        for name in ("user_ids", "video_ids"):
            ids = getattr(self, name)
            if ids.dtype.kind != "U" or (ids[1:] <= ids[:-1]).any():
                raise ModelFilesError(f"{name}: must be distinct strings in sorted order")

    # --- asking ---------------------------------------------------------------------------------------------

    def knows(self, user_id: str) -> bool:
        """Whether the model learned something about this user; scores of others are the biases alone."""
        return bool(lookup(self.user_ids, [user_id])[0] != MISSING)

    def scores(self, user_ids: Sequence[str] | Ids) -> NDArray[np.float32]:
        """Score of every video for each user, shape (len(user_ids), n_videos), columns as in `video_ids`."""
        rows = lookup(self.user_ids, user_ids)
        known = rows != MISSING
        scores = np.tile(self.video_bias + np.float32(self.offset), (len(rows), 1))
        if known.any():
            mine = rows[known]
            scores[known] += self.user_factors[mine] @ self.video_factors.T
            scores[known] += self.user_bias[mine, None]
        return scores

    def recommend(
        self,
        user_ids: Sequence[str] | Ids,
        k: int,
        exclude: Mapping[str, Collection[str]] | None = None,
    ) -> list[Ranked]:
        """The k best videos of each user, best first, without those in `exclude[user]`; fewer if fewer are left."""
        exclude = exclude or {}
        lists: list[Ranked] = []
        for block in self._blocks(user_ids):
            scores = self.scores(block)
            for row, user_id in enumerate(block):
                if unwanted := exclude.get(str(user_id)):
                    columns = lookup(self.video_ids, list(unwanted))
                    scores[row, columns[columns != MISSING]] = -np.inf
            columns, values = top_k(scores, k)
            for of_user, points in zip(columns, values, strict=True):
                kept = of_user != NO_CANDIDATE
                ids = self.video_ids[of_user[kept]].tolist()
                lists.append(list(zip(ids, points[kept].tolist(), strict=True)))
        return lists

    def similar(self, video_id: str, k: int) -> Ranked:
        """The k videos whose factors point the same way (cosine), best first, never the video itself.

        Empty when the model learned nothing about the video (its factors are zero); raises `UnknownVideoError`
        for an id that is not in the catalogue.
        """
        row = int(lookup(self.video_ids, [video_id])[0])
        if row == MISSING:
            raise UnknownVideoError(f"video {video_id!r} is not in the {self.kind} model's catalogue")
        lengths = np.linalg.norm(self.video_factors, axis=1)
        if lengths[row] == 0:
            return []
        with np.errstate(invalid="ignore", divide="ignore"):
            cosines = (self.video_factors @ self.video_factors[row]) / (lengths * lengths[row])
        cosines[(lengths == 0) | (np.arange(len(lengths)) == row)] = -np.inf
        columns, values = top_k(cosines[None, :], k)
        kept = columns[0] != NO_CANDIDATE
        return list(zip(self.video_ids[columns[0][kept]].tolist(), values[0][kept].tolist(), strict=True))

    def _blocks(self, user_ids: Sequence[str] | Ids) -> Iterator[Sequence[str] | Ids]:
        step = rows_per_block(len(self.video_ids))
        for start in range(0, len(user_ids), step):
            yield user_ids[start : start + step]

    # --- files ----------------------------------------------------------------------------------------------

    def save(self, directory: Path) -> None:
        """Write `model.json` and `arrays.npz`; whole or not at all, replacing what was there."""
        with replaced(Path(directory)) as fresh:
            about = {"format": FORMAT, "kind": self.kind, "offset": self.offset, "info": self.info}
            write_json(fresh / "model.json", about)
            np.savez(
                fresh / "arrays.npz", allow_pickle=False, **{name: getattr(self, name) for name in _ARRAYS}
            )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote; raises `ModelFilesError` naming what is wrong with it."""
        directory = Path(directory)
        try:
            about = json.loads((directory / "model.json").read_text("utf-8"))
            if about.get("format") != FORMAT:
                raise ModelFilesError(f"{directory}: format {about.get('format')}, this code reads {FORMAT}")
            with np.load(directory / "arrays.npz", allow_pickle=False) as arrays:
                columns = {name: arrays[name] for name in _ARRAYS}
            return cls(kind=about["kind"], offset=about["offset"], info=about["info"], **columns)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ModelFilesError(f"{directory}: not a saved model ({error})") from error

"""What every saved model can be asked, whatever fitted it. Needs only numpy (and scipy for sparse forms)."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ml.errors import ModelFilesError, UnknownVideoError
from ml.files import replaced, sha256_of, write_json
from ml.ids import MISSING, Ids, lookup
from ml.topk import NO_CANDIDATE, rows_per_block, top_k

KINDS = ("svd", "als", "item-item", "content", "popularity", "two-tower", "hybrid")
BASELINE = "popularity"

FORMAT = 2
ABOUT_FILE = "model.json"

Ranked = list[tuple[str, float]]
Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Past:
    """What somebody did until now, oldest first, as a client or a session knows it: enough to score for a stranger.

    `weights` say how strong the evidence of interest is, as in `Interactions` (all 1 unless given), `ages_days` how
    long ago it was (all 0 unless given). Videos a model does not know are passed over.
    """

    video_ids: Sequence[str]
    weights: Sequence[float] = ()
    ages_days: Sequence[float] = ()

    def __post_init__(self) -> None:
        n = len(self.video_ids)
        for name in ("weights", "ages_days"):
            values = np.asarray(getattr(self, name) or (), dtype=np.float64)
            if len(values) not in (0, n):
                raise ValueError(f"{name}: {len(values)} values for {n} videos")
            if not np.isfinite(values).all() or (values < 0).any():
                raise ValueError(f"{name}: a value is negative or not finite")

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weights and ages, with their defaults; (n,) each."""
        n = len(self.video_ids)
        weights = np.asarray(self.weights, np.float32) if len(self.weights) else np.ones(n, np.float32)
        ages = np.asarray(self.ages_days, np.float32) if len(self.ages_days) else np.zeros(n, np.float32)
        return weights, ages


class Recommender(ABC):
    """A model as arrays. `user_ids` (n,) and `video_ids` (m,) are sorted and distinct; `info` is JSON: how it was made.

    Scores of one user can be compared with each other, not with those of another user or model.
    """

    form: ClassVar[str]
    """How it is saved; `ml.saved` reads it back."""

    kind: str
    user_ids: Ids
    video_ids: Ids
    info: dict[str, Any]

    # --- what a form must say -------------------------------------------------------------------------------

    @abstractmethod
    def scores(self, user_ids: Sequence[str] | Ids) -> Scores:
        """Score of every video for each user, (len(user_ids), m), columns as in `video_ids`. Strangers get what the
        model says of nobody in particular. A fresh array: the caller may write into it."""

    @abstractmethod
    def scores_for(self, pasts: Sequence[Past]) -> Scores:
        """Score of every video for somebody with each past, (len(pasts), m), without training again. An empty past,
        or a model that cannot: the scores of a stranger."""

    @abstractmethod
    def similarities(self, row: int) -> Scores:
        """How alike each video is to the one in this row, (m,); -inf where nothing is known, and for itself."""

    @abstractmethod
    def write(self, folder: Path) -> dict[str, Any]:
        """Save the arrays into an existing empty folder; returns what to add to `model.json`."""

    @classmethod
    @abstractmethod
    def read(cls, folder: Path, about: Mapping[str, Any]) -> Self:
        """The model that `write` saved; `about` is the content of `model.json`."""

    # --- what all forms share -------------------------------------------------------------------------------

    def knows(self, user_id: str) -> bool:
        """Whether the model learned something about this user."""
        return bool(lookup(self.user_ids, [user_id])[0] != MISSING)

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
            lists += self._ranked(scores, k)
        return lists

    def similar(self, video_id: str, k: int) -> Ranked:
        """The k videos most like this one, best first, never itself; raises `UnknownVideoError`. Empty when the model
        learned nothing about the video."""
        row = int(lookup(self.video_ids, [video_id])[0])
        if row == MISSING:
            raise UnknownVideoError(f"video {video_id!r} is not in the {self.kind} model's catalogue")
        return self._ranked(self.similarities(row)[None, :], k)[0]

    def save(self, directory: Path) -> None:
        """Write `model.json` and the arrays; whole or not at all, replacing what was there. Nothing is pickled."""
        with replaced(Path(directory)) as fresh:
            about = {"format": FORMAT, "form": self.form, "kind": self.kind, "info": self.info}
            own = self.write(fresh)
            write_json(fresh / ABOUT_FILE, {**about, **own, "sha256": digests(fresh)})

    def _blocks(self, user_ids: Sequence[str] | Ids) -> Iterator[Sequence[str] | Ids]:
        step = rows_per_block(len(self.video_ids))
        for start in range(0, len(user_ids), step):
            yield user_ids[start : start + step]

    def _ranked(self, scores: Scores, k: int) -> list[Ranked]:
        columns, values = top_k(scores, k)
        lists: list[Ranked] = []
        for of_user, points in zip(columns, values, strict=True):
            kept = of_user != NO_CANDIDATE
            lists.append(
                list(zip(self.video_ids[of_user[kept]].tolist(), points[kept].tolist(), strict=True))
            )
        return lists


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of arrays in the folder itself (a blend's parts have their own)."""
    found = {}
    for path in sorted(folder.glob("*.npz")):
        found[path.name] = sha256_of(path)
    return found


def check_ids(**ids: Ids) -> None:
    """Raises `ModelFilesError` unless each is an array of distinct strings in sorted order."""
    for name, values in ids.items():
        if values.dtype.kind != "U" or values.ndim != 1 or (values[1:] <= values[:-1]).any():
            raise ModelFilesError(f"{name}: must be distinct strings in sorted order")


def check_array(name: str, array: NDArray, shape: tuple[int, ...]) -> None:
    """Raises `ModelFilesError` unless it is a float32 array of this shape with finite values."""
    if array.shape != shape or array.dtype != np.float32:
        raise ModelFilesError(f"{name}: {array.dtype} {array.shape}, must be float32 {shape}")
    if not np.isfinite(array).all():
        raise ModelFilesError(f"{name}: holds a value that is not finite")


def cosines(vectors: NDArray[np.float32], row: int) -> Scores:
    """Cosine of each row with this one, (m,); -inf for itself and where either is zero."""
    lengths = np.linalg.norm(vectors, axis=1)
    if lengths[row] == 0:
        return np.full(len(vectors), -np.inf, dtype=np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (vectors @ vectors[row]) / (lengths * lengths[row])
    found[(lengths == 0) | (np.arange(len(vectors)) == row)] = -np.inf
    return found.astype(np.float32)

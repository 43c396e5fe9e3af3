"""The hybrid's form: other models' scores, made comparable for each user, times learned weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ml.arrays import read_arrays
from ml.errors import ModelFilesError
from ml.ids import MISSING, Ids, lookup
from ml.recommender import Past, Recommender, Scores, check_array, check_ids

ARRAYS_FILE = "arrays.npz"

# What a part that says nothing good of a video counts: log(.1). Found on KuaiRand-late's validation days, where .03
# to .3 were alike and plain standardised scores far worse: products of models rank better than their sums.
_LEAST = np.float32(0.1)


@dataclass(frozen=True)
class Mixture:
    """Weights of the parts, (m,) what is added whoever asks (recency, trend, how well a video is liked), and how much
    more the part about content counts for a video that nobody has met."""

    weights: Mapping[str, float]
    video_bias: NDArray[np.float32]
    of_new: float = 0.0


@dataclass(frozen=True)
class BlendModel(Recommender):
    """score(u, v) = t * of_known(u, v) + (1 - t) * of_strangers(u, v), t = n / (n + history_scale) with n watches of u.

    Each of the two is video_bias[v] + sum over parts of weights[part] * comparable(part's scores of u)[v]. All parts
    rank the same videos. `watches` (n,) belong to `user_ids`.

    Of a video that few have met, what people watched together says little: there the weight of the part `content` is
    larger by `of_new` * newness[v]; `newness` (m,) is 1 for a video nobody met and falls towards 0.
    """

    form: ClassVar[str] = "blend"

    kind: str
    parts: Mapping[str, Recommender]
    user_ids: Ids
    watches: NDArray[np.float32]
    of_known: Mixture
    of_strangers: Mixture
    history_scale: float
    newness: NDArray[np.float32]
    content: str = ""
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names, m = set(self.parts), len(self.video_ids)
        check_ids(user_ids=self.user_ids)
        for mixture in (self.of_known, self.of_strangers):
            if not names or names != set(mixture.weights):
                raise ModelFilesError(f"weights: of {sorted(mixture.weights)}, the parts are {sorted(names)}")
            check_array("video_bias", mixture.video_bias, (m,))
        check_array("watches", self.watches, (len(self.user_ids),))
        check_array("newness", self.newness, (m,))
        if self.content and self.content not in names:
            raise ModelFilesError(f"content: {self.content} is none of the parts {sorted(names)}")
        for name, part in self.parts.items():
            if not np.array_equal(part.video_ids, self.video_ids):
                raise ModelFilesError(f"parts: {name} ranks other videos than the others")

    @property
    def video_ids(self) -> Ids:  # type: ignore[override]
        if not self.parts:
            raise ModelFilesError("parts: a blend needs at least one")
        return next(iter(self.parts.values())).video_ids

    def scores(self, user_ids: Sequence[str] | Ids) -> Scores:
        rows = lookup(self.user_ids, user_ids)
        known = rows != MISSING
        watches = np.zeros(len(rows), dtype=np.float32)
        watches[known] = self.watches[rows[known]]
        return self._blended(lambda part: part.scores(user_ids), watches)

    def scores_for(self, pasts: Sequence[Past]) -> Scores:
        known = [(lookup(self.video_ids, p.video_ids) != MISSING) & (p.arrays()[0] > 0) for p in pasts]
        watches = np.asarray([of_past.sum() for of_past in known], dtype=np.float32)
        return self._blended(lambda part: part.scores_for(pasts), watches)

    def similarities(self, row: int) -> Scores:
        """The weighted mean of what the parts that know say, each between its lowest and its highest; -inf where none
        knows anything."""
        total = np.zeros(len(self.video_ids), dtype=np.float32)
        told = np.zeros(len(self.video_ids), dtype=np.bool_)
        for name, part in self.parts.items():
            of_part, weight = part.similarities(row), np.float32(self.of_known.weights[name])
            known = np.isfinite(of_part)
            if known.any() and weight > 0:
                low, high = of_part[known].min(), of_part[known].max()
                total[known] += weight * (of_part[known] - low) / max(high - low, np.float32(1e-9))
                told |= known
        total[~told] = -np.inf
        total[row] = -np.inf
        return total

    def _blended(self, scores_of: Callable[[Recommender], Scores], watches: NDArray[np.float32]) -> Scores:
        said = {name: comparable(scores_of(part)) for name, part in self.parts.items()}
        return self.mixed(said, trusted(watches, self.history_scale))

    def mixed(self, said: Mapping[str, Scores], t: NDArray[np.float32]) -> Scores:
        """The blend of what the parts say, (n, m) each and `comparable`, of users known by `t` (n,)."""
        t = t[:, None]
        total = t * self.of_known.video_bias + (1 - t) * self.of_strangers.video_bias
        for name, values in said.items():
            weight = t * np.float32(self.of_known.weights[name])
            weight = weight + (1 - t) * np.float32(self.of_strangers.weights[name])
            if name == self.content:
                more = t * np.float32(self.of_known.of_new) + (1 - t) * np.float32(self.of_strangers.of_new)
                weight = weight + more * self.newness
            if weight.any():
                total += weight * values
        return total

    def write(self, folder: Path) -> dict[str, Any]:
        np.savez(
            folder / ARRAYS_FILE,
            allow_pickle=False,
            user_ids=self.user_ids,
            watches=self.watches,
            newness=self.newness,
            of_known=self.of_known.video_bias,
            of_strangers=self.of_strangers.video_bias,
        )
        for name, part in self.parts.items():
            part.save(folder / name)
        return {
            "parts": list(self.parts),  # their order: sums of floats depend on it
            "weights": dict(self.of_known.weights),
            "stranger_weights": dict(self.of_strangers.weights),
            "history_scale": self.history_scale,
            "of_new": [self.of_known.of_new, self.of_strangers.of_new],
            "content": self.content,
        }

    @classmethod
    def read(cls, folder: Path, about: Mapping[str, Any]) -> Self:
        from ml.saved import plain_name, read

        stored = read_arrays(folder / ARRAYS_FILE)
        return cls(
            kind=about["kind"],
            parts={name: _part(read(folder / plain_name(name))) for name in about["parts"]},
            user_ids=stored["user_ids"],
            watches=stored["watches"],
            of_known=Mixture(about["weights"], stored["of_known"], about["of_new"][0]),
            of_strangers=Mixture(about["stranger_weights"], stored["of_strangers"], about["of_new"][1]),
            history_scale=about["history_scale"],
            newness=stored["newness"],
            content=about["content"],
            info=about["info"],
        )


def _part(model: Recommender) -> Recommender:
    if isinstance(model, BlendModel):
        raise ModelFilesError("parts: a blend cannot be a part of a blend")
    return model


def trusted(counts: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """count / (count + scale): 0 for nothing seen, a half at `scale`, towards 1."""
    return (counts / (counts + np.float32(scale))).astype(np.float32)


def comparable(scores: Scores) -> Scores:
    """log(max(z, 0) + .1), z being each row with mean 0 and deviation 1; a row of equal scores becomes zeros.

    Written into `scores`. Only what a part says above its own average counts: models differ in how they spread the
    many videos that nobody would watch.
    """
    scores -= scores.mean(axis=1, keepdims=True)
    spread = scores.std(axis=1, keepdims=True)
    flat = spread[:, 0] <= 1e-12
    scores /= np.where(spread > 1e-12, spread, 1)
    np.maximum(scores, 0, out=scores)
    scores += _LEAST
    np.log(scores, out=scores)
    scores[flat] = 0
    return scores

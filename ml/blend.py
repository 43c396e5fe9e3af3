"""The hybrid's form: other models' scores, made comparable for each user, times learned weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ml.errors import ModelFilesError
from ml.ids import MISSING, Ids, lookup
from ml.recommender import Past, Recommender, Scores, check_array, check_ids

ARRAYS_FILE = "arrays.npz"

# What a part that says nothing good of a video counts: log(.1). Found on KuaiRand-late's validation days, where .03
# to .3 were alike and plain standardised scores far worse: products of models rank better than their sums.
_LEAST = np.float32(0.1)


@dataclass(frozen=True)
class Mixture:
    """Weights of the parts, and (m,) what is added whoever asks: recency, trend, how well a video is liked."""

    weights: Mapping[str, float]
    video_bias: NDArray[np.float32]


@dataclass(frozen=True)
class BlendModel(Recommender):
    """score(u, v) = t * of_known(u, v) + (1 - t) * of_strangers(u, v), t = n / (n + history_scale) with n watches of u.

    Each of the two is video_bias[v] + sum over parts of weights[part] * comparable(part's scores of u)[v]. All parts
    rank the same videos. `watches` (n,) belong to `user_ids`.

    For a video that few have met, what people watched together says little: there the part `stand_in` (what the video
    is about) speaks for the parts in `stands_in_for`, by 1 - `trust`; `trust` (m,) is between 0 and 1.
    """

    form: ClassVar[str] = "blend"

    kind: str
    parts: Mapping[str, Recommender]
    user_ids: Ids
    watches: NDArray[np.float32]
    of_known: Mixture
    of_strangers: Mixture
    history_scale: float
    trust: NDArray[np.float32]
    stand_in: str = ""
    stands_in_for: tuple[str, ...] = ()
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names, m = set(self.parts), len(self.video_ids)
        check_ids(user_ids=self.user_ids)
        for mixture in (self.of_known, self.of_strangers):
            if not names or names != set(mixture.weights):
                raise ModelFilesError(f"weights: of {sorted(mixture.weights)}, the parts are {sorted(names)}")
            check_array("video_bias", mixture.video_bias, (m,))
        check_array("watches", self.watches, (len(self.user_ids),))
        check_array("trust", self.trust, (m,))
        if {*self.stands_in_for, *([self.stand_in] if self.stand_in else [])} - names:
            raise ModelFilesError(f"stand_in: {self.stand_in} for {self.stands_in_for}, of {sorted(names)}")
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
        watches = np.asarray([len(past.video_ids) for past in pasts], dtype=np.float32)
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
        said = comparable_parts(
            {name: scores_of(part) for name, part in self.parts.items()},
            self.stand_in,
            self.stands_in_for,
            self.trust,
        )
        t = trusted(watches, self.history_scale)[:, None]
        total = t * self.of_known.video_bias + (1 - t) * self.of_strangers.video_bias
        for name, values in said.items():
            weight = t * np.float32(self.of_known.weights[name])
            weight += (1 - t) * np.float32(self.of_strangers.weights[name])
            if weight.any():
                total += weight * values
        return total

    def write(self, folder: Path) -> dict[str, Any]:
        np.savez(
            folder / ARRAYS_FILE,
            allow_pickle=False,
            user_ids=self.user_ids,
            watches=self.watches,
            trust=self.trust,
            of_known=self.of_known.video_bias,
            of_strangers=self.of_strangers.video_bias,
        )
        for name, part in self.parts.items():
            part.save(folder / name)
        return {
            "weights": dict(self.of_known.weights),
            "stranger_weights": dict(self.of_strangers.weights),
            "history_scale": self.history_scale,
            "stand_in": self.stand_in,
            "stands_in_for": list(self.stands_in_for),
        }

    @classmethod
    def read(cls, folder: Path, about: Mapping[str, Any]) -> Self:
        from ml.saved import load

        with np.load(folder / ARRAYS_FILE, allow_pickle=False) as arrays:
            stored = {name: arrays[name] for name in arrays.files}
        return cls(
            kind=about["kind"],
            parts={name: load(folder / name) for name in about["weights"]},
            user_ids=stored["user_ids"],
            watches=stored["watches"],
            of_known=Mixture(about["weights"], stored["of_known"]),
            of_strangers=Mixture(about["stranger_weights"], stored["of_strangers"]),
            history_scale=about["history_scale"],
            trust=stored["trust"],
            stand_in=about["stand_in"],
            stands_in_for=tuple(about["stands_in_for"]),
            info=about["info"],
        )


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


def comparable_parts(
    scores: Mapping[str, Scores], stand_in: str, stands_in_for: Sequence[str], trust: NDArray[np.float32]
) -> dict[str, Scores]:
    """The parts' scores, comparable, with the stand-in's mixed in where there is little trust. A part that says nothing
    of a user (all scores equal) goes on saying nothing, and a stand-in that does is not asked. Overwrites `scores`."""
    said = {name: comparable(of_part) for name, of_part in scores.items()}
    if stand_in:
        distrust = 1 - trust
        rare = np.flatnonzero(distrust > 0.01)
        for name in stands_in_for:
            tells = np.asarray(said[name].any(axis=1) & said[stand_in].any(axis=1))[:, None]
            values = said[name][:, rare]
            said[name][:, rare] += tells * distrust[rare] * (said[stand_in][:, rare] - values)
    return said

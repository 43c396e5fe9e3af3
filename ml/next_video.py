"""What to play after this video: R5's blend of collaborative and content scores, and R5's session vector."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ml.factors import FactorModel
from ml.ids import MISSING, Ids, lookup, vocabulary
from ml.recommender import Past, Ranked, Recommender, Scores
from ml.topk import NO_CANDIDATE, top_k

# R5: next-video score = 0.6 * norm(collaborative) + 0.4 * norm(content).
COLLABORATIVE_SHARE = 0.6
CONTENT_SHARE = 0.4

# R5: session vector = 0.7 * long + 0.3 * short, short = 0.5 * old + 0.5 * current video.
LONG_SHARE = 0.7
SHORT_SHARE = 0.3
EMA_OLD = 0.5
EMA_CURRENT = 0.5

Vector = NDArray[np.float32]


def norm(scores: Scores, candidates: NDArray[np.bool_] | None = None) -> Scores:
    """R5's norm: each score between the lowest (0) and the highest (1) of the candidates, (m,).

    Scores that are not finite (nothing is known) become 0 and do not count for the lowest. Where all are equal they
    say nothing about who is better and become 0; what is no candidate becomes 0, too.
    """
    counts = np.isfinite(scores) if candidates is None else np.isfinite(scores) & candidates
    result = np.zeros(len(scores), dtype=np.float32)
    if counts.any():
        known = scores[counts].astype(np.float64)  # the span of two large float32s may be infinite
        low, high = known.min(), known.max()
        if high > low:
            result[counts] = (known - low) / (high - low)
    return result


def blended(collaborative: Scores, content: Scores, candidates: NDArray[np.bool_] | None = None) -> Scores:
    """R5's next-video score of each video, (m,), between 0 and 1; -inf for what is no candidate."""
    total = COLLABORATIVE_SHARE * norm(collaborative, candidates) + CONTENT_SHARE * norm(content, candidates)
    if candidates is not None:
        total[~candidates] = -np.inf
    return total.astype(np.float32)


def next_videos(
    collaborative: Recommender,
    content: Recommender,
    current: str,
    k: int,
    *,
    past: Past | None = None,
    exclude: Collection[str] = (),
) -> Ranked:
    """The k best videos to follow `current`, best first, without it and without those in `exclude`.

    Each model says how alike the others are to the current video; one that does not know it, or learned nothing about
    it, says instead what it would recommend after `past` (nothing in particular without one). Candidates are the
    videos of either model: a new one that only the content model has takes part with its content score.
    """
    video_ids = vocabulary(collaborative.video_ids, content.video_ids)
    past = past or Past([])
    candidates = np.ones(len(video_ids), dtype=np.bool_)
    out = lookup(video_ids, [current, *exclude])
    candidates[out[out != MISSING]] = False
    together = _aligned(_after(collaborative, current, past), collaborative, video_ids)
    by_content = _aligned(_after(content, current, past), content, video_ids)
    (columns,), (values,) = top_k(blended(together, by_content, candidates)[None, :], k)
    kept = columns != NO_CANDIDATE
    return list(zip(video_ids[columns[kept]].tolist(), values[kept].tolist(), strict=True))


@dataclass(frozen=True)
class SessionVector:
    """What somebody wants now, in the space of a `FactorModel`: a long-term and a short-term interest, (d,) each.

    The long part has length 1, and the short one is made of videos' vectors of length 1: in models such as ALS users
    and videos have lengths of different order, and 0.7 and 0.3 would not be shares of anything. Zeros where nothing is
    known. Immutable: `after` gives the next one.
    """

    long: Vector
    short: Vector

    @classmethod
    def of(
        cls, model: FactorModel, user_id: str = "", past: Past | None = None, session: Sequence[str] = ()
    ) -> Self:
        """The long part is the model's user vector, for someone it does not know that of their `past`; the short one
        is of the session's videos, oldest first. Unknown ids are passed over."""
        nothing = np.zeros(model.video_factors.shape[1], dtype=np.float32)
        vector = cls(long=_unit(_long(model, user_id, past or Past([]), nothing)), short=nothing)
        for video_id in session:
            vector = vector.after(model, video_id)
        return vector

    def after(self, model: FactorModel, video_id: str) -> Self:
        """With short = 0.5 * old + 0.5 * this video; the first video is all of it. A video that the model does not
        know changes nothing."""
        row = int(lookup(model.video_ids, [video_id])[0])
        if row == MISSING or not model.video_factors[row].any():
            return self
        current = _unit(model.video_factors[row])
        short = EMA_OLD * self.short + EMA_CURRENT * current if self.short.any() else current
        return type(self)(self.long, short.astype(np.float32))

    @property
    def vector(self) -> Vector:
        """0.7 * long + 0.3 * short, (d,); where one of them is not known, the other alone; zeros for neither."""
        if not self.short.any() or not self.long.any():
            return self.long + self.short
        return (LONG_SHARE * self.long + SHORT_SHARE * self.short).astype(np.float32)

    def scores(self, model: FactorModel) -> Scores:
        """How well each of the model's videos fits, (m,): the personal part of a score, without biases."""
        return model.video_factors @ self.vector


def _after(model: Recommender, current: str, past: Past) -> Scores:
    row = int(lookup(model.video_ids, [current])[0])
    if row != MISSING:
        alike = model.similarities(row)
        if np.isfinite(alike).any():
            return alike
    return model.scores_for([past])[0]


def _aligned(scores: Scores, model: Recommender, video_ids: Ids) -> Scores:
    """In the order of `video_ids`, -inf for those that are not the model's."""
    aligned = np.full(len(video_ids), -np.inf, dtype=np.float32)
    aligned[lookup(video_ids, model.video_ids)] = scores
    return aligned


def _long(model: FactorModel, user_id: str, past: Past, nothing: Vector) -> Vector:
    user = int(lookup(model.user_ids, [user_id])[0])
    if user != MISSING:
        return model.user_factors[user]
    rows = lookup(model.video_ids, past.video_ids)
    weights, ages_days = past.arrays()
    known = (rows != MISSING) & (weights > 0)
    if model.fold_in is None or not known.any():
        return nothing
    return model.fold_in.user_vector(rows[known], weights[known], ages_days[known], model.video_factors)


def _unit(vector: Vector) -> Vector:
    length = float(np.linalg.norm(vector))
    return (vector / length).astype(np.float32) if length else vector

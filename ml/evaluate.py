"""How good a model is on what users did after the cut, served as a feed: full catalogue, met videos left out."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ml.dataset import Watched
from ml.errors import NothingToJudgeError
from ml.factors import FactorModel
from ml.ids import MISSING, Ids, Rows, lookup, vocabulary
from ml.metrics import (
    CUTOFFS,
    Interval,
    PerUser,
    catalogue_coverage,
    ranking_metrics,
    root_mean_square,
)
from ml.recommender import Recommender
from ml.split import Split
from ml.svd import RATING_SCALE, predict_ratings
from ml.topk import rows_per_block, top_k


@dataclass(frozen=True)
class TestUsers:
    """Who is judged and on what. Pairs are rows of `video_ids` per user, grouped by user.

    `user_ids` (n,) have at least one relevant video: a distinct positive of the test rows that the user had not
    met before the cut. `relevant` and `met` (before the cut) are (user row, video row) pairs; `new` (n,) marks
    users without a training row.
    """

    __test__ = False  # not a pytest class

    user_ids: Ids
    video_ids: Ids
    relevant: tuple[Rows, Rows]
    met: tuple[Rows, Rows]
    new: NDArray[np.bool_]

    @classmethod
    def of(cls, split: Split, watched: Watched) -> Self:
        """Raises `NothingToJudgeError` when no test user has anything relevant."""
        liked = split.test.take(split.test.positives)
        met_users, met_videos = watched.before(split.cut_ms)
        candidates = vocabulary(liked.user_ids)
        theirs = lookup(candidates, met_users) != MISSING
        met_users, met_videos = met_users[theirs], met_videos[theirs]
        videos = vocabulary(liked.video_ids, met_videos)

        def pairs(users: Ids, watched: Ids) -> Rows:
            return np.unique(lookup(candidates, users) * len(videos) + lookup(videos, watched))

        met = pairs(met_users, met_videos)
        relevant = np.setdiff1d(pairs(liked.user_ids, liked.video_ids), met)
        if not len(relevant):
            raise NothingToJudgeError("no test user has a positive interaction with a video new to them")
        judged = np.unique(relevant // len(videos))
        met = met[np.isin(met // len(videos), judged)]
        return cls(
            user_ids=candidates[judged],
            video_ids=videos,
            relevant=(np.searchsorted(judged, relevant // len(videos)), relevant % len(videos)),
            met=(np.searchsorted(judged, met // len(videos)), met % len(videos)),
            new=~np.isin(candidates[judged], split.train.user_ids),
        )

    def some(self, sample: int, seed: int) -> Self:
        """All users, or `sample` of them drawn without replacement."""
        n = len(self.user_ids)
        if n <= sample:
            return self
        kept = np.sort(np.random.default_rng(seed).choice(n, sample, replace=False))
        places = np.full(n, MISSING)
        places[kept] = np.arange(sample)

        def of_kept(pairs: tuple[Rows, Rows]) -> tuple[Rows, Rows]:
            inside = places[pairs[0]] != MISSING
            return places[pairs[0][inside]], pairs[1][inside]

        return type(self)(
            user_ids=self.user_ids[kept],
            video_ids=self.video_ids,
            relevant=of_kept(self.relevant),
            met=of_kept(self.met),
            new=self.new[kept],
        )


@dataclass(frozen=True)
class Evaluation:
    """One model's lists and what they are worth; rows are the `TestUsers`.

    `per_user` (n,) each; `coverage`: the share of the catalogue in anybody's list. `lists` (n, K) are the rows of the
    model's `video_ids` that were recommended, best first, `hits` (n, K) the rows of the test users' `video_ids` where
    a place holds a relevant video; `MISSING` elsewhere.
    """

    per_user: PerUser
    coverage: dict[str, float]
    lists: NDArray[np.int32]
    hits: NDArray[np.int32]


def evaluate(
    model: Recommender,
    users: TestUsers,
    cutoffs: tuple[int, ...] = CUTOFFS,
    strangers: Recommender | None = None,
) -> Evaluation:
    """Rank the model's whole catalogue for each test user, without the videos they had met, and score the lists.

    Users the model does not know get the ranking of `strangers` (the popularity model, as in serving), without it
    the model's own for nobody in particular. Relevant videos that are not in the catalogue cannot be recommended and
    count as missed.
    """
    n, depth = len(users.user_ids), max(cutoffs)
    catalogue = lookup(model.video_ids, users.video_ids)
    judged_rows = lookup(users.video_ids, model.video_ids)
    met = _Pairs.of(users.met, catalogue)
    relevant = _Pairs.of(users.relevant, catalogue)
    unknown = lookup(model.user_ids, users.user_ids) == MISSING
    for_unknown = None if strangers is None else _scores_for_strangers(strangers, model.video_ids)
    lists = np.full((n, depth), MISSING, dtype=np.int32)
    hits = np.full((n, depth), MISSING, dtype=np.int32)
    step = rows_per_block(len(model.video_ids))
    for start in range(0, n, step):
        block = slice(start, min(start + step, n))
        scores = model.scores(users.user_ids[block])
        if for_unknown is not None:
            scores[unknown[block]] = for_unknown
        scores[met.within(block)] = -np.inf
        best, _ = top_k(scores, depth)
        wanted = np.zeros(scores.shape, dtype=np.bool_)
        wanted[relevant.within(block)] = True
        found = np.take_along_axis(wanted, best.clip(0), axis=1) & (best >= 0)
        lists[block, : best.shape[1]] = best
        hits[block, : best.shape[1]] = np.where(found, judged_rows[best.clip(0)], MISSING)
    counts = np.bincount(users.relevant[0], minlength=n)
    coverage = {f"coverage_at_{k}": catalogue_coverage(lists[:, :k], len(model.video_ids)) for k in cutoffs}
    return Evaluation(ranking_metrics(hits != MISSING, counts, cutoffs), coverage, lists, hits)


def _scores_for_strangers(popularity: Recommender, video_ids: Ids) -> NDArray[np.float32]:
    """The score of each of `video_ids` for a user nobody knows; videos it never saw come last, as in serving."""
    columns = lookup(popularity.video_ids, video_ids)
    scores = popularity.scores([""])[0]
    last = np.min(scores, initial=0.0) - np.float32(1)
    return np.where(columns == MISSING, last, scores[columns]).astype(np.float32)


@dataclass(frozen=True)
class _Pairs:
    """(user row, catalogue column) pairs sorted by user, to be cut into blocks of users."""

    rows: Rows
    columns: Rows

    @classmethod
    def of(cls, pairs: tuple[Rows, Rows], catalogue: Rows) -> Self:
        columns = catalogue[pairs[1]]
        return cls(pairs[0][columns != MISSING], columns[columns != MISSING])

    def within(self, block: slice) -> tuple[Rows, Rows]:
        first, last = np.searchsorted(self.rows, [block.start, block.stop])
        return self.rows[first:last] - block.start, self.columns[first:last]


def rating_rmse(model: FactorModel, split: Split, seed: int) -> dict[str, Interval]:
    """`rmse` of the model's ratings on the test rows and `rmse_of_mean`, that of always saying the train mean.

    Intervals resample users, because the ratings of one user are not independent.
    """
    users = np.unique(split.test.user_ids, return_inverse=True)[1]
    rows = np.bincount(users)
    mean = np.clip(split.train.ratings.mean(dtype=np.float64), *RATING_SCALE)
    result = {}
    for name, predicted in (("rmse", predict_ratings(model, split.test)), ("rmse_of_mean", mean)):
        errors = np.square(np.asarray(predicted - split.test.ratings, dtype=np.float64))
        result[name] = root_mean_square(np.bincount(users, weights=errors).astype(np.float64), rows, seed)
    return result

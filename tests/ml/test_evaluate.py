"""Who is judged, on what, and against which candidates: by hand and by a slow, plain count."""

import math

import numpy as np
import pytest

from ml import evaluate as evaluation
from ml.config import TrainConfig
from ml.dataset import Known
from ml.errors import NothingToJudgeError
from ml.evaluate import TestUsers, evaluate, rating_rmse
from ml.factors import FactorModel
from ml.fit import fit
from ml.split import Split, time_split
from tests.ml.planted import HOUR_MS, START_MS, catalogue, interactions, met, taste_videos, tastes

CUT_MS = START_MS + 100 * HOUR_MS
BEFORE = [("ann", "a", 1, 1.0), ("ann", "b", 2, 0.2), ("bob", "c", 3, 1.0), ("eve", "a", 4, 1.0)]
AFTER = [
    ("ann", "c", 101, 1.0),  # relevant
    ("ann", "c", 102, 1.0),  # the same pair again counts once
    ("ann", "b", 103, 1.0),  # met before the cut, if only skimmed: not asked for
    ("ann", "d", 104, 0.3),  # not a positive
    (
        "ann",
        "e",
        104.5,
        1.0,
    ),  # scrolled past before the cut: the feed would not show it, so it is not asked for
    ("bob", "d", 105, 0.1),  # bob has no positive: left out
    ("new", "a", 106, 1.0),  # no history: judged, and counted apart
    ("new", "z", 107, 1.0),  # not in the model's catalogue: a miss
]
SCROLLED = [("ann", "e", 5), ("eve", "b", 6), ("new", "d", 106.5)]


def split() -> Split:
    return Split(interactions(BEFORE), interactions(AFTER), cut_ms=CUT_MS)


def judged() -> TestUsers:
    return TestUsers.of(split(), met(interactions(BEFORE + AFTER), SCROLLED))


def model(**bias: float) -> FactorModel:
    """The same ranking for everybody: highest bias first."""
    return FactorModel(
        kind="popularity",
        user_ids=np.empty(0, dtype="<U1"),
        video_ids=np.asarray(sorted(bias)),
        user_factors=np.zeros((0, 1), dtype=np.float32),
        video_factors=np.zeros((len(bias), 1), dtype=np.float32),
        user_bias=np.zeros(0, dtype=np.float32),
        video_bias=np.asarray([bias[video] for video in sorted(bias)], dtype=np.float32),
    )


def test_judged_are_users_with_a_new_positive() -> None:
    users = judged()
    assert users.user_ids.tolist() == ["ann", "new"]
    assert users.new.tolist() == [False, True]
    named = [(users.user_ids[u], users.video_ids[v]) for u, v in zip(*users.relevant, strict=True)]
    assert named == [("ann", "c"), ("new", "a"), ("new", "z")]
    before = [(users.user_ids[u], users.video_ids[v]) for u, v in zip(*users.met, strict=True)]
    assert before == [("ann", "a"), ("ann", "b"), ("ann", "e")]


def test_met_videos_are_no_candidates_and_unknown_ones_are_missed() -> None:
    found = evaluate(model(a=4, b=3, e=2.5, d=2, c=1), judged(), cutoffs=(2,))
    # ann's list is d, c (a and b were watched, e was scrolled past); new's is a, b
    assert found.per_user["precision_at_2"].tolist() == [0.5, 0.5]
    assert found.per_user["recall_at_2"].tolist() == [1.0, 0.5]
    assert found.per_user["mrr_at_2"].tolist() == [0.5, 1.0]
    assert found.per_user["ndcg_at_2"].tolist() == pytest.approx(
        [1 / math.log2(3), 1 / (1 + 1 / math.log2(3))]
    )
    assert found.coverage == {"coverage_at_2": 4 / 5}  # all but e


def test_lists_and_hits_are_kept_for_a_closer_look() -> None:
    users = judged()
    found = evaluate(model(a=4, b=3, e=2.5, d=2, c=1), users, cutoffs=(2,))
    assert found.lists.tolist() == [[3, 2], [0, 1]]  # d, c and a, b of the model's a, b, c, d, e
    named = [[users.video_ids[row] if row >= 0 else "" for row in hits] for hits in found.hits.tolist()]
    assert named == [["", "c"], ["a", ""]]
    short = evaluate(model(a=1, c=2), users, cutoffs=(3,))
    assert short.lists.tolist() == [[1, -1, -1], [1, 0, -1]]
    assert short.hits.tolist()[0] == [users.video_ids.tolist().index("c"), -1, -1]


def test_a_catalogue_smaller_than_the_cutoff_is_no_error() -> None:
    found = evaluate(model(a=1, c=2), judged(), cutoffs=(10,))
    assert found.per_user["precision_at_10"].tolist() == [0.1, 0.1]


def test_nobody_to_judge_is_an_error_and_never_a_zero() -> None:
    again = [("ann", "a", 101, 1.0)]
    nothing = Split(interactions(BEFORE), interactions(again), cut_ms=CUT_MS)
    with pytest.raises(NothingToJudgeError):
        TestUsers.of(nothing, met(interactions(BEFORE + again)))


def test_users_a_model_does_not_know_get_the_popularity_list_as_in_serving() -> None:
    knows_ann = FactorModel(
        kind="svd",
        user_ids=np.asarray(["ann"]),
        video_ids=np.asarray(["a", "b", "c", "d", "y"]),
        user_factors=np.ones((1, 1), dtype=np.float32),
        video_factors=np.zeros((5, 1), dtype=np.float32),
        user_bias=np.zeros(1, dtype=np.float32),
        video_bias=np.asarray([1, 2, 3, 4, 5], dtype=np.float32),  # y, d, c, b, a
    )
    alone = evaluate(knows_ann, judged(), cutoffs=(2,))
    served = evaluate(knows_ann, judged(), cutoffs=(2,), strangers=model(a=9, b=8, c=7, d=6))
    # ann's list is y, d either way; new's is y, d by the biases, a, b by popularity, which never saw y
    assert alone.per_user["precision_at_2"].tolist() == [0, 0]
    assert served.per_user["precision_at_2"].tolist() == [0, 0.5]
    last = evaluate(knows_ann, judged(), cutoffs=(5,), strangers=model(b=9, c=8, d=7, a=0))
    assert last.per_user["mrr_at_5"].tolist() == pytest.approx([1 / 3, 1 / 4])


def test_blocks_of_users_agree_with_a_plain_count(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = time_split(tastes(), 0.4)
    rng = np.random.default_rng(0)
    fans = np.unique(whole.train.user_ids)
    ranker = FactorModel(
        kind="svd",
        user_ids=fans,
        video_ids=np.asarray(sorted(taste_videos())),
        user_factors=rng.normal(size=(len(fans), 3)).astype(np.float32),
        video_factors=rng.normal(size=(31, 3)).astype(np.float32),
        user_bias=np.zeros(len(fans), dtype=np.float32),
        video_bias=rng.normal(size=31).astype(np.float32),
    )
    users = TestUsers.of(whole, met(tastes()))
    monkeypatch.setattr(evaluation, "rows_per_block", lambda _: 7)
    found = evaluate(ranker, users)

    seen: dict[str, set[str]] = {}
    rows = tastes()
    for user, video in zip(
        *(ids[rows.started_at_ms < whole.cut_ms].tolist() for ids in (rows.user_ids, rows.video_ids)),
        strict=True,
    ):
        seen.setdefault(user, set()).add(video)
    wanted: dict[str, set[str]] = {}
    liked = whole.test.take(whole.test.positives)
    for user, video in zip(liked.user_ids.tolist(), liked.video_ids.tolist(), strict=True):
        if video not in seen.get(user, ()):
            wanted.setdefault(user, set()).add(video)
    assert users.user_ids.tolist() == sorted(wanted)
    for row, user in enumerate(users.user_ids.tolist()):
        (ranked,) = ranker.recommend([user], 10, seen)
        hits = len({video for video, _ in ranked} & wanted[user])
        assert found.per_user["precision_at_10"][row] == pytest.approx(hits / 10)
        assert found.per_user["recall_at_10"][row] == pytest.approx(hits / len(wanted[user]))


def test_rmse_stands_beside_that_of_always_saying_the_mean() -> None:
    ratings = FactorModel(
        kind="svd",
        user_ids=np.asarray(["ann"]),
        video_ids=np.asarray(["c"]),
        user_factors=np.zeros((1, 1), dtype=np.float32),
        video_factors=np.zeros((1, 1), dtype=np.float32),
        user_bias=np.asarray([1], dtype=np.float32),
        video_bias=np.zeros(1, dtype=np.float32),
        offset=4.0,
    )
    train = interactions([("x", "c", 0, 0.6), ("y", "c", 0, 1.0)])  # mean rating 4
    test = interactions([("ann", "c", 101, 1.0), ("bob", "c", 102, 0.4)])  # ratings 5 and 2
    found = rating_rmse(ratings, Split(train, test, cut_ms=CUT_MS), seed=0)
    assert found["rmse"].value == pytest.approx(math.sqrt((0 + 4) / 2))
    assert found["rmse_of_mean"].value == pytest.approx(math.sqrt((1 + 4) / 2))
    assert (found["rmse"].low, found["rmse"].high) == pytest.approx((0, 2))


def test_a_sample_of_users_is_judged_as_they_are_among_all() -> None:
    rows = tastes()
    split = time_split(rows, 0.2)
    users = TestUsers.of(split, met(rows))
    known = Known.of(split.train, catalogue(taste_videos()))
    model = fit("popularity", known, TrainConfig()).model
    everybody = evaluate(model, users).per_user["ndcg_at_10"]
    some = users.some(20, seed=3)
    places = np.searchsorted(users.user_ids, some.user_ids)
    assert len(some.user_ids) == 20
    assert np.array_equal(users.user_ids[places], some.user_ids)
    np.testing.assert_array_equal(evaluate(model, some).per_user["ndcg_at_10"], everybody[places])
    assert users.some(len(users.user_ids), seed=3) is users

"""Parts of the test, by hand: who and what is in each, and that a slice of videos changes no ranking."""

import math

import numpy as np
import pytest

from ml.catalogue import Catalogue, People
from ml.dataset import Watched
from ml.evaluate import TestUsers, evaluate
from ml.factors import FactorModel
from ml.slices import Slice, restricted, slices_of
from ml.split import Split
from tests.ml.planted import HOUR_MS, START_MS, interactions, met

DAY_MS = 24 * HOUR_MS
CUT_MS = START_MS + 100 * HOUR_MS

# 10 positives before the cut: hit has 6, mid 2, odd 1, rare 1; "seen" has a row and no positive.
BEFORE = [
    *((f"fan-{i}", "hit", i, 1.0) for i in range(5)),
    ("ann", "hit", 10, 1.0),
    ("ann", "mid", 11, 1.0),
    ("ann", "seen", 12, 0.2),
    ("bob", "mid", 13, 1.0),
    ("eve", "odd", 14, 1.0),
    ("eve", "rare", 15, 1.0),
]
AFTER = [
    ("ann", "rare", 101, 1.0),
    ("ann", "fresh", 102, 1.0),
    ("bob", "hit", 103, 1.0),
    ("bob", "unlisted", 104, 1.0),
    ("new", "hit", 105, 1.0),
    ("new", "mid", 106, 1.0),
    ("new", "seen", 107, 1.0),
]
CATALOGUE = Catalogue.of(
    ["seen", "rare", "odd", "mid", "hit", "fresh"],  # in no order
    durations_ms=[30_000, 30_001, -1, 90_000, 1_000, 10_000],
    upload_ms=[CUT_MS - 3 * DAY_MS - 1, -1, 0, 0, CUT_MS - 3 * DAY_MS, CUT_MS + 1],
)
PEOPLE = People(
    user_ids=np.asarray(["new", "ann"]),
    ages=np.full(2, -1, dtype=np.int64),
    genders=np.asarray(["", ""]),
    languages=np.asarray(["", ""]),
    regions=np.asarray(["", ""]),
    device_types=np.asarray(["ios", "android"]),
)


def split() -> Split:
    return Split(interactions(BEFORE), interactions(AFTER), cut_ms=CUT_MS)


@pytest.fixture
def users() -> TestUsers:
    return TestUsers.of(split(), met(interactions(BEFORE + AFTER)))


def found(users: TestUsers, people: People = PEOPLE) -> dict[str, tuple[str, list[str]]]:
    """Each slice's kind and the ids in it."""
    parts = {}
    for part in slices_of(users, split(), CATALOGUE, people):
        ids, members = (users.user_ids, part.users) if part.of == "users" else (users.video_ids, part.videos)
        assert members is not None
        parts[part.name] = (part.of, ids[members].tolist())
    return parts


def test_users_are_told_apart_by_what_they_did_before_the_cut(users: TestUsers) -> None:
    parts = found(users)
    assert parts["known_users"] == ("users", ["ann", "bob"])
    assert parts["new_users"] == ("users", ["new"])
    # ann has 3 training rows, bob 1: the median is 2
    assert parts["short_history"] == ("users", ["bob"])
    assert parts["long_history"] == ("users", ["ann"])


def test_users_are_told_apart_by_their_device(users: TestUsers) -> None:
    parts = found(users)
    assert parts["device_android"] == ("users", ["ann"])
    assert parts["device_ios"] == ("users", ["new"])
    assert parts["device_web"] == ("users", [])
    assert parts["device_unknown"] == ("users", ["bob"])
    assert found(users, People.nobody())["device_unknown"] == ("users", ["ann", "bob", "new"])


def test_no_slice_is_made_of_gender_or_age(users: TestUsers) -> None:
    assert not [name for name in found(users) if "gender" in name or "age" in name]


def test_videos_are_told_apart_by_training_positives(users: TestUsers) -> None:
    assert users.video_ids.tolist() == ["fresh", "hit", "mid", "rare", "seen", "unlisted"]
    parts = found(users)
    # hit (6) and mid (2) have 8 of the 10 positives; odd, rare and all without one are the tail
    assert parts["head_videos"] == ("videos", ["hit", "mid"])
    assert parts["tail_videos"] == ("videos", ["fresh", "rare", "seen", "unlisted"])
    assert parts["known_videos"] == ("videos", ["hit", "mid", "rare"])
    assert parts["new_videos"] == ("videos", ["fresh", "seen", "unlisted"])


def test_videos_are_told_apart_by_upload_and_duration_where_known(users: TestUsers) -> None:
    parts = found(users)
    assert parts["fresh_videos"] == ("videos", ["fresh", "hit"])
    assert parts["short_videos"] == ("videos", ["fresh", "hit", "seen"])
    assert parts["long_videos"] == ("videos", ["mid", "rare"])


def test_a_slice_says_what_it_is(users: TestUsers) -> None:
    about = {part.name: part.about for part in slices_of(users, split(), CATALOGUE, PEOPLE)}
    assert about["short_history"] == "1 to 2 training rows (the median)"
    assert about["head_videos"] == "the 2 most liked videos, which have 80% of the training positives"


def ranker() -> FactorModel:
    """Everybody's list: rare, hit, seen, mid, fresh, odd."""
    order = ["rare", "hit", "seen", "mid", "fresh", "odd"]
    return FactorModel(
        kind="popularity",
        user_ids=np.empty(0, dtype="<U1"),
        video_ids=np.asarray(sorted(order)),
        user_factors=np.zeros((0, 1), dtype=np.float32),
        video_factors=np.zeros((6, 1), dtype=np.float32),
        user_bias=np.zeros(0, dtype=np.float32),
        video_bias=np.asarray([-order.index(video) for video in sorted(order)], dtype=np.float32),
    )


def test_a_slice_of_videos_asks_for_its_videos_alone_and_keeps_the_ranking(users: TestUsers) -> None:
    evaluation = evaluate(ranker(), users, cutoffs=(2,))
    parts = {part.name: part for part in slices_of(users, split(), CATALOGUE, PEOPLE)}
    # lists: ann rare, fresh (hit, mid, seen met); bob rare, hit; new rare, hit
    members, head = restricted(evaluation, users, parts["head_videos"], cutoffs=(2,))
    assert members.tolist() == [False, True, True]
    assert head["recall_at_2"].tolist() == [1, 0.5]  # new's mid is not in the list
    assert head["mrr_at_2"].tolist() == [0.5, 0.5]  # rare stays before hit
    members, tail = restricted(evaluation, users, parts["tail_videos"], cutoffs=(2,))
    assert members.tolist() == [True, True, True]
    assert tail["recall_at_2"].tolist() == [1, 0, 0]
    assert tail["ndcg_at_2"].tolist() == pytest.approx([1, 0, 0])


def test_a_slice_of_users_has_their_metrics_unchanged(users: TestUsers) -> None:
    evaluation = evaluate(ranker(), users, cutoffs=(2,))
    members, values = restricted(evaluation, users, Slice("x", "", users=np.asarray([False, True, True])))
    assert members.tolist() == [False, True, True]
    assert values["recall_at_2"].tolist() == [0.5, 1 / 3]
    assert values["ndcg_at_2"].tolist() == pytest.approx([1 / math.log2(3) / (1 + 1 / math.log2(3))] * 2)


def test_head_and_tail_together_have_every_hit(users: TestUsers) -> None:
    evaluation = evaluate(ranker(), users)
    parts = {part.name: part for part in slices_of(users, split(), CATALOGUE, PEOPLE)}
    hits = np.zeros(3)
    for name in ("head_videos", "tail_videos"):
        members, values = restricted(evaluation, users, parts[name])
        hits[members] += 10 * values["precision_at_10"]
    np.testing.assert_allclose(hits, 10 * evaluation.per_user["precision_at_10"])


def test_an_empty_slice_has_nobody(users: TestUsers) -> None:
    evaluation = evaluate(ranker(), users)
    nothing = Slice("x", "", videos=np.zeros(len(users.video_ids), dtype=np.bool_))
    members, values = restricted(evaluation, users, nothing)
    assert not members.any()
    assert {len(column) for column in values.values()} == {0}


def test_a_test_of_new_users_alone_has_slices_too() -> None:
    strangers = Split(interactions(BEFORE[:5]), interactions(AFTER[4:]), cut_ms=CUT_MS)
    users = TestUsers.of(strangers, Watched.nothing())
    parts = {part.name: part for part in slices_of(users, strangers, CATALOGUE, PEOPLE)}
    assert [int(parts[name].users.sum()) for name in ("new_users", "short_history", "long_history")] == [
        1,
        0,
        0,
    ]

"""Sample viewers: any bundle has some, of the kinds they claim to be."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import bundle
from serving.sample_users import NEWCOMER, PER_KIND, SampleUser, sample_users
from serving.watched import Watched

from .conftest import tiny_pack


@pytest.fixture
def loaded(tmp_path):
    def make(**options):
        tiny_pack(tmp_path / "bundle", **options)
        return bundle.load(tmp_path / "bundle")

    return make


def test_each_is_told_by_what_they_met(loaded):
    watched = {"ann": ["v0", "v1", "v2", "v5"], "bob": ["v2", "v3"], "cay": ["v5"]}
    assert sample_users(loaded(watched=watched)) == [
        SampleUser("ann", "heavy", 4, "dogs"),
        SampleUser("bob", "regular", 2, "cats"),
        SampleUser("cay", "light", 1, None),
        SampleUser("someone-new", "new", 0, None),
    ]


def test_categories_met_as_often_are_told_by_name(loaded):
    (ann, *_) = sample_users(loaded(watched={"ann": ["v0", "v2"]}))
    assert ann.mostly == "cats"


def test_the_newcomer_is_an_id_that_nobody_has(loaded):
    made = loaded(users=("ann", NEWCOMER), watched={NEWCOMER + "-": ["v0"]})
    assert sample_users(made)[-1] == SampleUser(NEWCOMER + "--", "new", 0, None)


def test_nobody_with_a_history_leaves_the_newcomer(loaded):
    assert sample_users(loaded(watched={"ann": ["not in the catalogue"]})) == [
        SampleUser(NEWCOMER, "new", 0, None)
    ]


def test_of_many_users_evenly_spaced_ones_are_looked_at(monkeypatch):
    monkeypatch.setattr("serving.sample_users.MOST_LOOKED_AT", 10)
    counts = np.arange(1, 26)
    watched = Watched(
        user_ids=np.array([f"u{i:02d}" for i in range(25)]),
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        rows=np.concatenate([np.arange(n, dtype=np.int32) for n in counts]),
    )
    catalogue = SimpleNamespace(categories=np.full(30, -1, np.int32))
    *known, _ = sample_users(SimpleNamespace(watched=watched, catalogue=catalogue, models={}))
    assert sorted(user.user_id for user in known) == [f"u{i:02d}" for i in range(0, 25, 3)]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=300))
def test_kinds_are_in_order_bounded_and_distinct(counts):
    watched = Watched(
        user_ids=np.array([f"u{i:03d}" for i in range(len(counts))]),
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        rows=np.concatenate([np.arange(n, dtype=np.int32) for n in counts]),
    )
    catalogue = SimpleNamespace(categories=np.full(30, -1, np.int32))
    *known, _ = sample_users(SimpleNamespace(watched=watched, catalogue=catalogue, models={}))
    met = {kind: [u.videos_met for u in known if u.kind == kind] for kind in ("heavy", "regular", "light")}
    assert all(len(found) <= PER_KIND for found in met.values())
    assert len({u.user_id for u in known}) == len(known)
    assert (len(known) > 0) == any(counts)
    assert all(u.videos_met == counts[int(u.user_id[1:])] > 0 for u in known)
    ordered = [found for found in (met["light"], met["regular"], met["heavy"]) if found]
    assert all(max(low) <= min(high) for low, high in pairwise(ordered))

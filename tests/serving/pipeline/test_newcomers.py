"""New videos: the hardly met, in an order that favours nobody's ids, by taste where content says something of it."""

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.pipeline.newcomers import KNOWN_FROM, POOL, POOL_OF_A_USER, Newcomers
from serving.pipeline.space import Space

from .made import bundle_of, catalogue_of, model_of, names

NONE = np.empty(0, np.int64)


def bundle_met(counts, content=None):
    """Row i was met by `counts[i]` people; a pool may hold as many as one of a large catalogue."""
    videos = names(len(counts))
    people = names(max(counts), "p")
    watched = {p: [row for row, count in enumerate(counts) if count > i] for i, p in enumerate(people)}
    models = [model_of("svd", {"u": (1.0,)}, dict.fromkeys(videos, (1.0,)))]
    bundle = bundle_of(*models, champion="svd", catalogue=catalogue_of(videos), watched=watched)
    found = Newcomers.of(bundle, content and Space.of("content", content, bundle.catalogue))
    return dataclasses.replace(found, most=POOL_OF_A_USER)


def test_of_a_small_catalogue_a_tenth_stands_aside():
    bundle = bundle_of(
        model_of("svd", {"u": (1.0,)}, dict.fromkeys(names(40), (1.0,))), champion="svd",
        catalogue=catalogue_of(names(40)), watched={},
    )  # fmt: skip
    assert len(Newcomers.of(bundle, None).pool("u", NONE, NONE)) == 4


def test_newcomers_were_met_by_few_the_least_met_first():
    found = bundle_met([3, KNOWN_FROM + 1, 0, KNOWN_FROM, 1])
    assert found.rows.tolist() == [0, 2, 3, 4]
    assert found.pool("u", NONE, NONE).tolist() == [2, 4, 0, 3]


def test_what_was_met_or_is_listed_is_not_drawn():
    found = bundle_met([3, KNOWN_FROM + 1, 0, KNOWN_FROM, 1])
    assert found.pool("u", np.array([4, 1, 4]), np.array([2])).tolist() == [0, 3]
    assert found.pool("u", np.arange(5), NONE).tolist() == []


def test_without_newcomers_there_is_nothing_to_explore():
    assert not bundle_met([KNOWN_FROM + 1] * 3)
    assert bundle_met([KNOWN_FROM])


def test_among_equals_the_order_is_not_that_of_the_ids_and_the_pool_is_bounded():
    found = bundle_met([0] * 1500 + [1])
    pool = found.pool("u", NONE, NONE)
    assert (len(found.rows), len(pool), len(set(pool.tolist()))) == (POOL, POOL_OF_A_USER, POOL_OF_A_USER)
    assert pool.tolist() != sorted(pool.tolist())
    assert pool.max() > 1000
    assert 1500 not in found.rows


def test_whose_taste_in_content_is_known_gets_what_fits():
    videos = names(5)
    vectors = [(1, 0), (0, 2), (3, 3), (-1, 0), (0, 0)]
    content = model_of("content", {"ann": (0.0, 1.0)}, dict(zip(videos, vectors, strict=True)))
    found = bundle_met([1, 1, 0, 1, 2], content)
    assert found.pool("ann", NONE, NONE).tolist() == [1, 2, 0, 3, 4]  # cosines 0, 1, .7, 0, and nothing known
    assert found.pool("stranger", NONE, NONE).tolist()[0] == 2  # the least met


def test_a_video_the_content_model_does_not_have_fits_nobody_in_particular():
    content = model_of("content", {"ann": (1.0,)}, {"v0001": (1.0,), "v0002": (-1.0,)})
    assert bundle_met([1, 1, 1, 1], content).pool("ann", NONE, NONE).tolist() == [1, 0, 3, 2]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, KNOWN_FROM + 2), min_size=1, max_size=30).filter(any),
    st.sets(st.integers(0, 29)),
    st.sets(st.integers(0, 29)),
)
def test_a_pool_is_exactly_the_newcomers_outside(counts, met, listed):
    found = bundle_met(counts)
    if not found:
        return
    rows = [np.array(sorted(some), np.int64) for some in (met, listed)]
    expected = {row for row, count in enumerate(counts) if count <= KNOWN_FROM} - met - listed
    pool = found.pool("u", *rows).tolist()
    assert set(pool) == expected
    assert [counts[row] for row in pool] == sorted(counts[row] for row in pool)
    assert dataclasses.replace(found).pool("u", *rows).tolist() == pool  # the same for every page

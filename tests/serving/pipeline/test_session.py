"""What the last minutes say: R5's moving average by hand, wanted categories, creators met of late, blocked videos."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.fold_in import MeanFoldIn
from ml.next_video import SessionVector
from serving.context.session import NOTHING, SessionContext
from serving.pipeline.config import PipelineConfig
from serving.pipeline.retrieval import query_of
from serving.pipeline.session import EMPTY, Session, intent_boost, repeat_penalty, session_of
from serving.pipeline.space import Space

from .made import bundle_of, catalogue_of, model_of, names, pipeline_of, world

VIDEOS = names(6)
# Two categories, three creators; of the last video neither is known.
CATALOGUE = catalogue_of(VIDEOS, [0, 0, 1, 1, 1, -1], [0, 1, 2, 0, 1, -1])
VECTORS = dict(zip(VIDEOS, [(2, 0), (0, 3), (4, 0), (0.1, -1), (3, 4), (0, 0)], strict=True))


def space(known=VIDEOS, fold_in=None, catalogue=CATALOGUE):
    model = model_of("two-tower", {"ann": (0.0, 5.0)}, {v: VECTORS[v] for v in known}, fold_in=fold_in)
    return Space.of("two-tower", model, catalogue)


def test_short_is_half_the_old_and_half_the_current_video_the_first_is_all_of_it():
    # Newest first: v4 (.6, .8) now, before it v1 (0, 1), and v0 (1, 0) at the start.
    short = space().short([4, 1, 0])
    np.testing.assert_allclose(
        short, 0.5 * np.array([0.6, 0.8]) + 0.25 * np.array([0, 1]) + 0.25 * np.array([1, 0])
    )
    assert space().short([2]).tolist() == [1, 0]


def test_videos_nothing_is_known_of_are_passed_over():
    assert space().short([5]) is None  # no vector
    assert space(known=VIDEOS[:4]).short([4]) is None  # not the model's
    assert space().short([]) is None
    np.testing.assert_allclose(space().short([5, 2, 5, 1]), [0.5, 0.5])
    np.testing.assert_allclose(space(known=VIDEOS[1:]).short([0, 2]), [1, 0])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=20), st.sampled_from([VIDEOS, VIDEOS[1:], VIDEOS[::2]])
)
def test_short_and_long_are_those_of_the_models_session_vector(recent, known):
    mine = space(known)
    expected = SessionVector.of(mine.factors, "ann", session=[VIDEOS[row] for row in recent[::-1]])
    short = mine.short(recent)
    if not expected.short.any():
        assert short is None or not short.any()
        return
    np.testing.assert_allclose(short, expected.short, atol=1e-6)
    query = query_of(mine, "ann", np.empty(0, np.int64), recent)
    # R5's 0.7 long + 0.3 short of directions; ours is as long as the user's own vector, so that biases keep their part.
    length = float(np.linalg.norm(short))
    np.testing.assert_allclose(query.vector / 5, 0.7 * expected.long + 0.3 * short / length, atol=1e-5)


def test_a_stranger_is_folded_in_by_what_they_met():
    mine = space(fold_in=MeanFoldIn(7.0))
    np.testing.assert_allclose(mine.long("stranger", [2]), [1, 0])
    assert mine.long("stranger", []) is None
    assert space().long("stranger", [2]) is None
    np.testing.assert_allclose(mine.long("ann", [2]), [0, 5])


def test_likeness_is_the_cosine_and_0_of_what_is_not_known():
    found = space(known=VIDEOS[1:]).cosines(np.arange(6), np.array([0, 2], np.float32))
    np.testing.assert_allclose(found, [0, 1, 0, -0.995037, 0.8, 0], atol=1e-6)
    units = space(known=VIDEOS[1:]).units(np.arange(6))
    np.testing.assert_allclose(
        units, [[0, 0], [0, 1], [1, 0], [0.099504, -0.995037], [0.6, 0.8], [0, 0]], atol=1e-6
    )


# --- the context in catalogue rows ------------------------------------------------------------------------------


def session(recent=(), signals=(), blocked=()):
    context = SessionContext(recent=tuple(recent), signals=tuple(signals), blocked=frozenset(blocked))
    return session_of(context, CATALOGUE)


def test_nothing_done_is_an_empty_session():
    assert session_of(NOTHING, CATALOGUE) is EMPTY
    assert session_of(SessionContext(missing=("redis",)), CATALOGUE) is EMPTY
    assert session(recent=["gone"], signals=[("like", "gone")], blocked=["gone"]) == EMPTY


def test_ids_become_rows_newest_first():
    found = session(recent=["v0004", "gone", "v0001", "x" * 5000], blocked=["v0002", "gone"])
    assert (found.met, found.liked, found.blocked) == ((4, 1), (4, 1), (2,))


@pytest.mark.parametrize("event", ["scroll_pass", "report"])
def test_what_was_passed_over_is_met_but_does_not_count_as_liked(event):
    found = session(recent=["v0004", "v0001"], signals=[(event, "v0004"), ("view_start", "v0004")])
    assert (found.met, found.liked) == ((4, 1), (1,))


@pytest.mark.parametrize(
    ("event", "points"),
    [
        ("like", 1.0), ("save", 1.0), ("share", 1.0), ("comment", 0.8), ("follow_creator", 1.0), ("replay", 0.8),
        ("view_end", 0.5), ("scroll_pass", -0.5), ("report", -1.0),
    ],
)  # fmt: skip
def test_a_signal_says_how_much_more_of_its_category_is_wanted(event, points):
    assert session(signals=[(event, "v0003")]).intent == {1: points}


@pytest.mark.parametrize("event", ["view_start", "pause", "resume", "seek", "click", "something new"])
def test_other_events_say_nothing_of_it(event):
    assert session(recent=["v0003"], signals=[(event, "v0003")]).intent == {}


def test_older_signals_count_less_and_no_category_more_than_1():
    found = session(
        signals=[("view_end", "v0000"), ("scroll_pass", "v0003"), ("like", "v0005"), ("view_end", "v0001")]
    )
    # The third says nothing of a category, and takes no place.
    assert found.intent == pytest.approx({0: 0.5 + 0.64 * 0.5, 1: -0.8 * 0.5})
    assert session(signals=[("like", "v0000"), ("save", "v0001")]).intent == {0: 1.0}
    many = session(signals=[("report", f"v000{i}") for i in (2, 3, 4)])
    assert many.intent == {1: -1.0}


def test_creators_met_of_late_count_the_more_the_later():
    found = session(recent=["v0000", "v0001", "v0003", "v0005"])
    assert found.creators == pytest.approx({0: 1 + 0.64, 1: 0.8})


def test_the_boost_is_per_category_and_the_penalty_per_creator():
    asked = Session(intent={0: 1.0, 1: -0.5}, creators={0: 1.64, 2: 9.0})
    categories, creators = np.array([0, 1, 2, -1], np.int32), np.array([0, 1, 2, -1], np.int32)
    np.testing.assert_allclose(intent_boost(asked, categories, 0.2), [0.2, -0.1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(repeat_penalty(asked, creators, 0.1), [-0.164, 0, -0.2, 0], atol=1e-6)
    assert intent_boost(asked, categories, 0) is None
    assert repeat_penalty(asked, creators, 0) is None
    assert intent_boost(EMPTY, categories, 0.2) is None
    assert repeat_penalty(EMPTY, creators, 0.2) is None


# --- in the feed ------------------------------------------------------------------------------------------------

PLAIN = PipelineConfig(diversity=0, exploration=0)


def test_a_like_moves_its_category_up_and_a_pass_moves_it_down():
    pipeline = pipeline_of(world(200, seed=3))
    categories = pipeline.bundle.catalogue.categories

    def mean_place(category, event):
        row = int(np.flatnonzero(categories == category)[0])
        context = SessionContext(signals=((event, str(pipeline.bundle.catalogue.video_ids[row])),))
        found = session_of(context, pipeline.bundle.catalogue)
        page = pipeline.feed("u0001", 200, session=found, config=PLAIN)
        return float(np.flatnonzero(categories[list(page.rows)] == category).mean())

    for category in range(6):
        assert (
            mean_place(category, "like") < mean_place(category, "view_start") < mean_place(category, "report")
        )


def test_a_feed_after_a_session_is_of_that_session():
    vectors = [(1, 0), (0.9, 0.1), (0.8, 0.2), (0.1, 0.9), (0, 1), (0, 0.95)]
    model = model_of("svd", {"ann": (1.0, 0.0)}, dict(zip(VIDEOS, vectors, strict=True)))
    pipeline = pipeline_of(bundle_of(model, champion="svd", catalogue=catalogue_of(VIDEOS)))
    before = pipeline.feed("ann", 5, config=PLAIN).rows
    assert before == [0, 1, 2, 3, 4]
    met = session_of(SessionContext(recent=("v0004",)), pipeline.bundle.catalogue)
    all_session = pipeline.feed("ann", 5, session=met, config=PLAIN.changed({"session_share": 1.0}))
    assert all_session.rows[0] == 5  # the most like v0004
    page = pipeline.feed("ann", 5, session=met, config=PLAIN, explain=True)
    assert max(parts["session"] for parts in page.parts) == pytest.approx(0.3)
    assert max(parts["model"] for parts in page.parts) == pytest.approx(0.7)


def test_what_was_met_before_the_session_does_not_come_back_and_changes_nothing_else():
    pipeline = pipeline_of(world(200, seed=3))
    catalogue = pipeline.bundle.catalogue
    recent = tuple(str(catalogue.video_ids[row]) for row in (3, 1))
    before = session_of(SessionContext(recent=recent), catalogue)
    shown = pipeline.feed("u0001", 30, session=before, config=PLAIN).rows
    met = (*recent, *(str(catalogue.video_ids[row]) for row in shown), "gone")
    after = session_of(SessionContext(recent=recent, met=met), catalogue)
    assert after == replace(before, seen=(3, 1, *shown))
    assert not {3, 1, *shown} & set(pipeline.feed("u0001", 100, session=after, config=PLAIN).rows)
    days_later = session_of(SessionContext(met=met), catalogue)
    assert days_later == Session(seen=(3, 1, *shown))
    assert not {3, 1, *shown} & set(pipeline.feed("u0001", 100, session=days_later, config=PLAIN).rows)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["like", "scroll_pass", "report", "view_end"]), st.integers(0, 59)),
        max_size=20,
    ),
    st.sets(st.integers(0, 59), max_size=59),
    st.integers(1, 60),
)
def test_whatever_was_done_blocked_videos_are_never_shown_and_the_page_is_full(signals, blocked, limit):
    pipeline = _SMALL
    ids = pipeline.bundle.catalogue.video_ids
    context = SessionContext(
        recent=tuple(dict.fromkeys(str(ids[row]) for _, row in signals)),
        signals=tuple((event, str(ids[row])) for event, row in signals),
        blocked=frozenset(str(ids[row]) for row in blocked),
    )
    page = pipeline.feed("u0002", limit, session=session_of(context, pipeline.bundle.catalogue))
    assert not set(page.rows) & blocked
    assert page.rows
    assert len(set(page.rows)) == len(page.rows) <= limit
    assert np.isfinite(page.scores).all()


_SMALL = pipeline_of(world(60, seed=4))


@pytest.mark.parametrize(
    ("signals", "liked"),
    [
        ([("scroll_pass", "v0001"), ("like", "v0001")], True),  # liked, then swiped on
        ([("like", "v0001"), ("scroll_pass", "v0001")], True),
        ([("scroll_pass", "v0001"), ("view_end", "v0001")], False),
        ([("like", "v0001"), ("report", "v0001")], False),
    ],
)
def test_who_likes_a_video_and_swipes_on_has_passed_nothing_over(signals, liked):
    context = SessionContext(recent=("v0001",), signals=tuple(signals))
    found = session_of(context, catalogue_of(names(3)))
    assert found.liked == ((1,) if liked else ())

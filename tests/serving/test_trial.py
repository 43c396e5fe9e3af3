"""Before a bundle serves: what it answers must be sane, to people of every kind and to what was asked just now."""

import dataclasses

import numpy as np
import pytest

from serving.context.session import NOTHING, SessionContext
from serving.errors import SmokeTestError
from serving.pipeline.planning import EVERYTHING_WAS_MET
from serving.trial import KEPT_REQUESTS, SMOKE_USERS, Recorded, RecordedRequests, smoke_test

from .pipeline.made import bundle_of, catalogue_of, model_of, names, pipeline_of, world


@pytest.fixture
def pipeline():
    return pipeline_of(world(60, seed=1))


def with_changes(pipeline, monkeypatch, only=lambda user: True, **changes):
    """The pipeline, its lists changed on the way."""
    feed = type(pipeline).feed

    def changed(self, user_id, *more, **named):
        page = feed(self, user_id, *more, **named)
        return dataclasses.replace(page, **changes) if only(user_id) else page

    monkeypatch.setattr(type(pipeline), "feed", changed)
    return pipeline


def test_a_sound_bundle_passes(pipeline):
    smoke_test(pipeline)
    smoke_test(pipeline_of(world(60, n_users=1, kinds=("svd",))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": [], "scores": []}, "is empty"),
        ({"rows": [4, 4], "scores": [1.0, 0.5]}, "a video comes twice"),
        ({"scores": [float("nan")]}, "a score is not finite"),
        ({"degraded": ("the svd model failed",)}, "is degraded: the svd model failed"),
    ],
)
def test_the_smoke_test_says_what_is_not_sane(pipeline, monkeypatch, changes, message):
    met = pipeline.bundle.watched.of("u0000").tolist()
    assert 4 not in met
    with pytest.raises(SmokeTestError, match=f"the feed of a sample user.*{message}"):
        smoke_test(with_changes(pipeline, monkeypatch, **changes))


def test_whoever_must_not_be_held_up_gets_a_pause_before_every_list(pipeline, monkeypatch):
    slept = []
    monkeypatch.setattr("serving.trial.time.sleep", slept.append)
    smoke_test(pipeline, [Recorded("u0000", 5, 0, NOTHING)] * 7, 0.5)
    assert slept == [0.5] * (SMOKE_USERS + 1 + 7 + 3)  # nobody is a user too; three videos


def test_what_is_cleared_under_way_is_not_gone_on_with():
    """Somebody in it has been erased."""
    requests = RecordedRequests()
    for i in range(3):
        requests.add(Recorded(f"u{i:04d}", 5, 0, NOTHING))
    tried = []
    for request in requests:
        tried.append(request.user_id)
        requests.clear()
        requests.add(Recorded("somebody else", 5, 0, NOTHING))
    assert tried == ["u0000"]
    assert [request.user_id for request in requests] == ["somebody else"]


def test_a_list_with_what_was_watched_is_not_sane(pipeline, monkeypatch):
    met = pipeline.bundle.watched.of("u0000").tolist()
    with pytest.raises(SmokeTestError, match="holds a watched video"):
        smoke_test(with_changes(pipeline, monkeypatch, rows=met[:1]))


def test_that_everything_comes_again_is_sane():
    bundle = world(20, n_users=3)
    met = dataclasses.replace(
        bundle.watched, starts=np.array([0, 20, 40, 60]), rows=np.tile(np.arange(20), 3)
    )
    pipeline = pipeline_of(dataclasses.replace(bundle, watched=met))
    assert pipeline.feed("u0001", 5).degraded == (EVERYTHING_WAS_MET,)
    smoke_test(pipeline)


def test_one_video_is_enough():
    svd = model_of("svd", {"ann": (1.0,)}, {"only": (1.0,)})
    smoke_test(
        pipeline_of(bundle_of(svd, champion="svd", catalogue=catalogue_of(["only"]), watched={"ann": [0]}))
    )


def test_what_people_asked_for_is_asked_of_the_new_bundle(pipeline, monkeypatch):
    recorded = RecordedRequests()
    recorded.add(Recorded("a viewer", 10, 5, NOTHING))
    smoke_test(pipeline, recorded)
    broken = with_changes(pipeline, monkeypatch, lambda user: user == "a viewer", scores=[np.inf])
    smoke_test(broken)
    with pytest.raises(
        SmokeTestError, match="the feed of a recorded request: a score is not finite"
    ) as caught:
        smoke_test(broken, recorded)
    assert "a viewer" not in str(caught.value)  # the reason of a refusal is public


@pytest.mark.parametrize(
    "session",
    [
        SessionContext(recent=("v0001", "gone"), signals=(("like", "v0001"), ("report", "gone"))),
        SessionContext(missing=("session context is unavailable",)),
        SessionContext(recent=tuple(names(60)), blocked=frozenset(names(60))),
        SessionContext(blocked=frozenset(names(59))),
    ],
)
def test_no_session_that_can_be_recorded_makes_a_sound_bundle_refused(pipeline, session):
    for user, offset in [("u0001", 0), ("stranger", 0), ("", 0), ("u0001", 50), ("u0001", 100_000)]:
        smoke_test(pipeline, [Recorded(user, 20, offset, session)])


@pytest.mark.parametrize("blocked", [names(1), names(58), names(59), names(60), ["gone"]])
def test_no_list_of_blocked_videos_makes_a_sound_bundle_refused(pipeline, blocked):
    pipeline.block(blocked)
    smoke_test(pipeline)


def test_of_what_was_asked_the_last_is_kept():
    recorded = RecordedRequests()
    for number in range(KEPT_REQUESTS + 50):
        recorded.add(Recorded(f"u{number}", 10, 0, NOTHING))
    kept = [request.user_id for request in recorded]
    assert kept == [f"u{number}" for number in range(50, KEPT_REQUESTS + 50)]
    recorded.clear()
    assert list(recorded) == []

"""The bundle in service: taken up, rolled back, refused, never lost."""

import gc
import json
import logging
import threading
import weakref
from dataclasses import replace

import pytest

from serving import bento, bundle
from serving.context.session import NOTHING
from serving.errors import BundleMissingError, CorruptBundleError, SmokeTestError
from serving.live import LiveBundle
from serving.pipeline.feed import FeedPipeline
from serving.telemetry.metrics import Metrics
from serving.trial import Recorded
from stack.erased_users import ErasedUsers, pseudonym, write_opt_out

from .conftest import wait_for


@pytest.fixture
def live(home):
    return LiveBundle(home, Metrics(), poll_s=0.02)


def damage(settings, tag):
    (bento.bundle_dir(settings, tag) / "cards.bin").write_bytes(b"?")


def value(live, name, **labels):
    return live._metrics.registry.get_sample_value(name, labels)


def test_nothing_published_is_nothing_in_service(live):
    assert live.check() is False
    assert live.current is None


def test_a_published_bundle_is_taken_up_and_a_newer_one_replaces_it(home, live, shelved):
    first, second = shelved("a"), shelved("b", champion="two-tower")
    bento.publish(home, first)
    assert live.check() is True
    assert live.current.tag == first
    assert live.check() is False

    before = live.current
    bento.publish(home, second)
    assert live.check() is True
    assert (live.current.tag, live.current.record.champion) == (second, "two-tower")
    assert before.record.champion == "svd"  # a request that still holds the old one is answered from it alone
    assert value(live, "reelgraph_bundle_swaps_total", result="taken") == 2
    record = live.current.record
    labels = {"bundle": record.bundle_id, "champion": "two-tower", "version": "2"}
    assert value(live, "reelgraph_bundle_loaded", **labels) == 1
    assert (
        value(live, "reelgraph_bundle_loaded", bundle=before.record.bundle_id, champion="svd", version="1")
        is None
    )


def test_publishing_an_older_tag_rolls_back(home, live, shelved):
    first, second = shelved("a"), shelved("b", champion="two-tower")
    for tag in (first, second, first):
        bento.publish(home, tag)
        assert live.check() is True
        assert live.current.tag == tag


def test_a_rollback_and_its_undoing_read_nothing(home, live, shelved, monkeypatch):
    first, second = shelved("a"), shelved("b", champion="two-tower")
    for tag in (first, second):
        bento.publish(home, tag)
        live.check()
    monkeypatch.setattr("serving.bundle.read", lambda folder, record: pytest.fail(f"{folder} was read"))
    home.blocked_videos_file.write_text("v1\n")
    for tag in (first, second, first):
        bento.publish(home, tag)
        assert live.check() is True
        assert live.current.tag == tag
        assert live.current.pipeline.blocked.tolist() == [1]  # also what was blocked meanwhile
        record = live.current.record
        labels = {"bundle": record.bundle_id, "champion": record.champion}
        version = str(record.models[record.champion].version)
        assert value(live, "reelgraph_bundle_loaded", **labels, version=version) == 1


def test_a_bundle_that_was_put_in_order_since_it_served_is_read_again(home, live, shelved):
    first, second = shelved("a"), shelved("b", champion="two-tower")
    served = []
    for tag in (first, second):
        bento.publish(home, tag)
        live.check()
        served.append(live.current)
    cards = bento.bundle_dir(home, first) / "cards.bin"
    content = cards.read_bytes()
    cards.unlink()
    cards.write_bytes(content)
    bento.publish(home, first)
    assert live.check() is True
    assert live.current.tag == first
    assert live.current is not served[0]


def test_lists_of_whom_and_what_not_do_not_wait_for_a_bundle_that_is_tried(home, live, shelved, monkeypatch):
    first, second = shelved("a"), shelved("b", champion="two-tower")
    bento.publish(home, first)
    live.check()
    begun, go_on = threading.Event(), threading.Event()

    def slow(pipeline, recorded, pause_s):
        begun.set()
        assert go_on.wait(10)

    monkeypatch.setattr("serving.live.smoke_test", slow)
    live.recorded.add(Recorded("ann", 7, 0, NOTHING))
    live.start()
    try:
        bento.publish(home, second)
        assert begun.wait(10)
        erased = ErasedUsers(b"k" * 32, frozenset({pseudonym(b"k" * 32, "ann")}))
        write_opt_out(home, erased)
        home.blocked_videos_file.write_text("v1\n")
        wait_for(lambda: live.opt_out.version == erased.version, "the opt-out list", timeout=10)
        wait_for(lambda: live.current.pipeline.blocked.tolist() == [1], "the block list", timeout=10)
        assert (live.current.tag, list(live.recorded)) == (first, [])
        go_on.set()
        wait_for(lambda: live.current.tag == second, "the bundle", timeout=10)
        assert live.current.pipeline.blocked.tolist() == [1]
    finally:
        go_on.set()
        live.stop()


def test_the_bundle_before_is_not_held_when_that_is_not_wished(home, shelved):
    live = LiveBundle(home.model_copy(update={"keep_previous_bundle": False}), Metrics(), poll_s=0.02)
    for tag in (shelved("a"), shelved("b", champion="two-tower"), shelved("a")):
        bento.publish(home, tag)
        assert live.check() is True
        assert (live.current.tag, live.before) == (tag, None)


def test_two_bundles_are_held_at_most(home, live, shelved, monkeypatch):
    """The oldest is gone, without the collector's help, before another is read."""
    held, seen, read = [], [], bundle.read

    def reading(folder, record):
        seen.append([one() is not None for one in held])
        loaded = read(folder, record)
        held.append(weakref.ref(loaded))
        return loaded

    monkeypatch.setattr("serving.bundle.read", reading)
    tags = shelved("a"), shelved("b", champion="two-tower"), shelved("c", version=5)
    gc.disable()
    try:
        for tag in tags:
            bento.publish(home, tag)
            assert live.check() is True
    finally:
        gc.enable()
    assert seen == [[], [True], [False, True]]


def test_a_broken_bundle_is_refused_and_the_old_one_stays(home, live, shelved, caplog):
    good, bad = shelved("a"), shelved("b", version=5)
    bento.publish(home, good)
    live.check()
    bento.publish(home, bad)
    damage(home, bad)
    with caplog.at_level(logging.ERROR):
        assert live.check() is False
    assert live.current.tag == good
    assert live.refused.tag == bad
    assert "cards.bin is damaged" in live.refused.reason
    assert f"{bad} is refused, {good} keeps serving" in caplog.text
    assert value(live, "reelgraph_bundle_refused") == 1
    assert value(live, "reelgraph_bundle_swaps_total", result="refused") == 1
    assert live.check() is False  # and it is not tried again and again
    assert value(live, "reelgraph_bundle_swaps_total", result="refused") == 1

    bento.publish(home, good)
    live.check()
    assert live.refused is None
    assert value(live, "reelgraph_bundle_refused") == 0


def test_a_repaired_bundle_is_taken_when_published_again(home, live, shelved, packed):
    tag = shelved("a")
    bento.publish(home, tag)
    damage(home, tag)
    assert live.check() is False
    assert live.current is None
    shelved("a")
    bento.publish(home, tag)
    assert live.check() is True
    assert live.current.tag == tag


def test_a_fresh_endpoint_serves_the_newest_sound_bundle_when_the_published_one_is_broken(
    home, live, shelved
):
    older, newer, broken = shelved("a"), shelved("b", version=3), shelved("c", version=5)
    bento.publish(home, broken)
    damage(home, broken)
    assert live.check() is True
    assert live.current.tag == newer
    assert live.refused.tag == broken
    assert value(live, "reelgraph_bundle_refused") == 1
    assert older in [item.tag for item in bento.stored(home)]


@pytest.mark.parametrize("content", ["", "reelgraph:../../etc", "other:abc", "reelgraph:absent"])
def test_a_pointer_to_nothing_of_ours_is_refused(home, live, content):
    home.current_bundle_pointer.parent.mkdir(parents=True)
    home.current_bundle_pointer.write_text(content)
    assert live.check() is False
    assert live.current is None
    assert live.refused.tag == content


def test_a_bundle_that_answers_nonsense_is_refused(home, live, shelved, monkeypatch):
    def fail(pipeline, recorded, pause_s):
        raise SmokeTestError("the feed of user 'ann' is empty")

    bento.publish(home, shelved("a"))
    monkeypatch.setattr("serving.live.smoke_test", fail)
    assert live.check() is False
    assert live.refused.reason == "the feed of user 'ann' is empty"


def test_a_bundle_broken_in_an_unforeseen_way_is_refused(home, live, shelved, monkeypatch):
    def fail(bundle):
        raise ZeroDivisionError("?")

    bento.publish(home, shelved("a"))
    monkeypatch.setattr("serving.live.Ranker", fail)
    assert live.check() is False
    assert live.refused.reason == "it cannot be loaded: ZeroDivisionError"


def test_the_watcher_takes_a_bundle_up_within_its_interval(home, live, shelved, caplog):
    live.start()
    try:
        tag = shelved("a")
        bento.publish(home, tag)
        wait_for(lambda: live.current is not None, "the watcher", timeout=5)
        assert live.current.tag == tag
    finally:
        live.stop()
    assert not live._watch.is_running


def test_the_watcher_outlives_what_it_meets(home, live, shelved, monkeypatch, caplog):
    calls = []

    def flaky(settings):
        calls.append(1)
        if len(calls) == 1:
            raise PermissionError("not now")

    monkeypatch.setattr("serving.bento.published", flaky)
    live.start()
    try:
        wait_for(lambda: len(calls) > 2, "further checks", timeout=5)
    finally:
        live.stop()
    assert "not now" in caplog.text


def test_a_bundle_that_cannot_answer_what_was_asked_just_now_is_refused(home, live, shelved, monkeypatch):
    first, second = shelved("a"), shelved("b", version=5)
    bento.publish(home, first)
    live.check()
    live.recorded.add(Recorded("a viewer", 7, 0, NOTHING))
    feed = FeedPipeline.feed

    def failing(self, user_id, *more, **named):
        page = feed(self, user_id, *more, **named)
        return replace(page, rows=[], scores=[]) if user_id == "a viewer" else page

    monkeypatch.setattr(FeedPipeline, "feed", failing)
    bento.publish(home, second)
    assert live.check() is False
    assert (live.current.tag, live.refused.reason) == (first, "the feed of a recorded request is empty")


def test_after_an_erasure_no_bundle_is_tried_on_what_was_asked_before(home, live):
    live.recorded.add(Recorded("ann", 7, 0, NOTHING))
    live.check()
    assert len(list(live.recorded)) == 1
    write_opt_out(home, ErasedUsers(b"k" * 32, frozenset({pseudonym(b"k" * 32, "ann")})))
    live.check()
    assert list(live.recorded) == []


def test_who_wants_to_know_is_told_of_every_swap(home, live, shelved):
    told = []
    live.on_swap(lambda serving: told.append(serving.tag))
    tags = shelved("a"), shelved("b", version=5)
    for tag in (*tags, tags[0]):
        bento.publish(home, tag)
        live.check()
    assert told == [tags[0], tags[1], tags[0]]
    assert live.current.tag == tags[0]


def test_other_code_than_the_endpoints_is_said_and_a_later_release_refused(home, live, shelved, caplog):
    tag = shelved("a")
    bento.publish(home, tag)
    live.code = live.code.model_copy(update={"sha256": "0" * 64, "git_commit": None})
    assert live.check() is True
    assert "served by 000000000000" in live.current.code_differs
    assert value(live, "reelgraph_bundle_code_differs") == 1
    live.code = live.code.model_copy(update={"package": "0.0.1"})
    bento.publish(home, shelved("b", version=5))
    assert live.check() is False
    assert live.current.tag == tag
    assert "this endpoint is 0.0.1" in live.refused.reason


def test_only_a_sound_stored_bundle_can_be_published(home, shelved):
    with pytest.raises(BundleMissingError):
        bento.publish(home, "reelgraph:absent")
    tag = shelved("a")
    damage(home, tag)
    with pytest.raises(CorruptBundleError):
        bento.publish(home, tag)
    assert bento.current(home) is None


def test_pruning_keeps_the_newest_and_the_one_in_service(home, shelved):
    tags = [shelved(f"b{i}", version=i + 1) for i in range(5)]
    bento.publish(home, tags[0])
    assert bento.prune(home, keep=2) == [tags[2], tags[1]]
    assert [item.tag for item in bento.stored(home)] == [tags[4], tags[3], tags[0]]
    assert bento.prune(home, keep=2) == []


def test_an_unreadable_bundle_in_the_store_is_left_out_of_its_list(home, shelved, caplog):
    good, bad = shelved("a"), shelved("b", version=5)
    (bento.bundle_dir(home, bad) / "bundle.json").write_text(json.dumps({"schema_version": 99}))
    assert [item.tag for item in bento.stored(home)] == [good]
    assert "schema_version 99" in caplog.text

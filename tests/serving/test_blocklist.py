"""Videos that moderation blocks: taken up while serving, in no list of any kind, and never lost with a broken file."""

import json

import pytest
from fastapi.testclient import TestClient

from serving import bento, blocklist
from serving.api.app import create_app
from serving.api.state import State
from serving.blocklist import Blocklist
from serving.gateway import Gateway
from serving.live import LiveBundle


@pytest.fixture
def path(tmp_path):
    return tmp_path / "blocked_videos.txt"


def test_the_file_holds_an_id_a_line(path):
    path.write_text("v1\n\n# why: a comment\n  v2  \nv/3 ünï\n", "utf-8")
    found = Blocklist(path)
    assert found.ids == frozenset()
    assert found.refresh() is True
    assert found.ids == {"v1", "v2", "v/3 ünï"}
    assert found.refresh() is False  # the same file


def test_a_change_is_taken_up_and_an_emptied_file_blocks_nothing(path):
    path.write_text("v1\n")
    found = Blocklist(path)
    found.refresh()
    path.write_text("v1\nv22\n")
    assert found.refresh() is True
    assert found.ids == {"v1", "v22"}
    path.write_text("# v1\n")
    assert found.refresh() is True
    assert found.ids == frozenset()


def test_the_same_ids_in_another_file_are_no_change(path):
    path.write_text("v1\nv2\n")
    found = Blocklist(path)
    found.refresh()
    path.write_text("# sorted otherwise\nv2\nv1\n")
    assert found.refresh() is False


@pytest.mark.parametrize("damage", [b"\xff\xfe v", None, b"v" * 2000])
def test_a_file_that_cannot_be_read_leaves_blocked_what_was_blocked(path, damage, monkeypatch, caplog):
    monkeypatch.setattr(blocklist, "MAX_BYTES", 1000)
    path.write_text("v1\n")
    found = Blocklist(path)
    found.refresh()
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    assert found.refresh() is False
    assert found.ids == {"v1"}
    assert ("stays as it was" in caplog.text) is (damage is not None)


def test_no_file_blocks_nothing(path):
    assert Blocklist(path).refresh() is False


@pytest.fixture
def state(home, shelved):
    state = State()
    state.live = LiveBundle(home, state.metrics)
    bento.publish(home, shelved("a", watched={"ann": ["v0"]}))
    state.live.check()
    return state


def test_a_blocked_video_is_in_no_list(state, home, shelved):
    told = []
    state.live.exclusions.on_blocked(lambda: told.append(state.serving.pipeline.blocked.tolist()))
    client = TestClient(Gateway(create_app(state), state.metrics), raise_server_exceptions=False)
    paths = [
        "/api/v1/recommendations/feed?user_id=ann",
        "/api/v1/recommendations/feed?user_id=stranger",
        "/api/v1/recommendations/similar/v0",
        "/api/v1/recs/ann",
        "/api/v1/recs/ann?type=trending",
        "/api/v1/recs/ann/v0",
    ]
    for path in paths:
        assert "v1" in json.dumps(client.get(path).json()["items"])
    home.blocked_videos_file.parent.mkdir(parents=True, exist_ok=True)
    home.blocked_videos_file.write_text("v1\ngone\n")
    state.live.check()
    assert told == [[1]]
    for path in paths:
        items = client.get(path).json()["items"]
        assert items
        assert "v1" not in [item["video_id"] for item in items]

    bento.publish(home, shelved("b", version=5))  # and in no bundle that comes later
    state.live.check()
    assert state.serving.record.models["svd"].version == 5
    for path in paths:
        assert "v1" not in [item["video_id"] for item in client.get(path).json()["items"]]

    home.blocked_videos_file.write_text("")
    state.live.check()
    assert "v1" in [item["video_id"] for item in client.get(paths[0]).json()["items"]]

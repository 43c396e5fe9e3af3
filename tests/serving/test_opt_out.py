"""An erased user is to the endpoint somebody it never met, within the time of one look at the list."""

import pytest
from fastapi.testclient import TestClient

from serving import bento
from serving.api.app import create_app
from serving.api.state import State
from serving.context.session import SessionContext
from serving.decisions.shipping import DecisionShipper
from serving.events.intake import EventIntake
from serving.events.schemas import TrackRequest
from serving.gateway import Gateway
from serving.live import LiveBundle
from serving.opt_out import OptOut
from stack.erased_users import (
    ErasedUsers,
    OptOutFileError,
    opt_out_file,
    pseudonym,
    read_opt_out,
    write_opt_out,
)

FEED = "/api/v1/recommendations/feed"
SVD, DL = "/api/v1/inference/recommend", "/api/v1/inference/recommend-dl"
KEY = b"k" * 32


def erased(*users: str) -> ErasedUsers:
    return ErasedUsers(KEY, frozenset(pseudonym(KEY, user) for user in users))


class Context:
    """Stands for Redis; notes whom it was asked about."""

    available = True

    def __init__(self):
        self.asked = []

    async def of(self, user_id):
        self.asked.append(user_id)
        return SessionContext(recent=("v3",))


@pytest.fixture
def state(home, shelved):
    state = State()
    state.live = LiveBundle(home, state.metrics)
    state.context = Context()
    bento.publish(home, shelved("a", watched={"ann": ["v0"], "bob": ["v5"]}))
    state.live.check()
    return state


@pytest.fixture
def client(state):
    return TestClient(Gateway(create_app(state), state.metrics), raise_server_exceptions=False)


def seen(client, user, path=FEED):
    """How the list came about, and its videos."""
    body = client.post(path, json={"user_id": user}).json()
    return body["source"], body["degraded"], [item["video_id"] for item in body["items"]]


@pytest.mark.parametrize("path", [FEED, SVD, DL])
def test_an_erased_user_is_answered_like_an_unknown_one(client, state, home, path):
    assert seen(client, "ann", path)[0] == "personal"
    state.context.asked.clear()
    write_opt_out(home, erased("ann"))
    state.live.check()

    # No factors, no history (v0 comes back), nothing of Redis (v3 comes back).
    assert seen(client, "ann", path) == ("trending", False, ["v0", "v1", "v2", "v3", "v4", "v5"])
    assert state.context.asked == []
    assert client.get(FEED, params={"user_id": "ann"}).json()["user_id"] == "ann"


def test_everybody_else_is_answered_as_before(client, state, home):
    before = seen(client, "bob")
    write_opt_out(home, erased("ann", "bob2", "bo"))
    state.live.check()
    assert seen(client, "bob") == before
    assert before[0] == "personal"
    assert "bob" in state.context.asked


def test_another_bundle_that_knows_the_user_changes_nothing(client, state, home, shelved):
    write_opt_out(home, erased("ann"))
    bento.publish(home, shelved("b", version=5))
    state.live.check()
    assert state.live.current.record.models["svd"].version == 5
    assert seen(client, "ann")[0] == "trending"


def test_readiness_names_the_list_in_force(client, state, home):
    assert client.get("/health/ready").json()["opt_out"] == ErasedUsers().version
    write_opt_out(home, erased("ann"))
    assert client.get("/health/ready").json()["opt_out"] == ErasedUsers().version
    state.live.check()
    assert client.get("/health/ready").json()["opt_out"] == erased("ann").version


@pytest.mark.parametrize("damage", ["{", "[]", '{"key": "zz", "users": []}', '{"users": []}', None])
def test_a_lost_or_broken_list_leaves_the_last_in_force(client, state, home, damage):
    write_opt_out(home, erased("ann"))
    state.live.check()
    path = opt_out_file(home)
    path.unlink()
    if damage is not None:
        path.write_text(damage)
    state.live.check()
    assert seen(client, "ann")[0] == "trending"
    write_opt_out(home, erased("bob"))
    state.live.check()
    assert (seen(client, "ann")[0], seen(client, "bob")[0]) == ("personal", "trending")


@pytest.mark.parametrize("damage", ["{", "[]", '{"key": "zz", "users": []}', None])
def test_before_a_list_that_is_there_can_be_read_everybody_is_a_stranger(client, state, home, damage):
    """An endpoint that starts beside a broken list: it must not take it for an empty one."""
    path = opt_out_file(home)
    path.mkdir() if damage is None else path.write_text(damage)
    state.context.asked.clear()
    state.live.check()
    assert [seen(client, user)[0] for user in ("ann", "bob")] == ["trending", "trending"]
    assert state.context.asked == []
    assert client.get("/health/ready").json()["opt_out"] == "unknown"
    with pytest.raises(OptOutFileError):
        state.is_erased("bob")  # so decisions wait

    path.rmdir() if damage is None else path.unlink()
    write_opt_out(home, erased("ann"))
    state.live.check()
    assert [seen(client, user)[0] for user in ("ann", "bob")] == ["trending", "personal"]
    assert [state.is_erased(user) for user in ("ann", "bob")] == [True, False]
    assert client.get("/health/ready").json()["opt_out"] == erased("ann").version


def test_a_list_that_could_not_be_read_at_start_is_tried_again_though_it_did_not_change(home, monkeypatch):
    write_opt_out(home, erased("ann"))
    out = OptOut(opt_out_file(home))

    def unreadable(path):
        raise OptOutFileError("opt_out.json cannot be read: OSError: Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("serving.opt_out.read_opt_out", unreadable)
        out.refresh()
        assert out.known_as("bob") == ""
    out.refresh()
    assert (out.known_as("ann"), out.known_as("bob")) == ("", "bob")


def test_decisions_and_events_wait_for_a_list_that_cannot_be_read(state, home):
    opt_out_file(home).write_text("{")
    state.live.check()
    shipper = DecisionShipper(home, state.is_erased)
    with pytest.raises(OptOutFileError):
        shipper.ship(b'{"user_id": "ann"}\n', "s-1")
    shipper.close()
    intake = EventIntake(home, state)
    event = TrackRequest(user_id="ann", video_id="v0", event_type="like", session_id="s")
    assert intake.enriched(event).row["user_id"] == "ann"  # kept on disk until it can be said


def test_an_unchanged_list_is_not_read_again(home, monkeypatch):
    write_opt_out(home, erased("ann"))
    out = OptOut(opt_out_file(home))
    out.refresh()
    monkeypatch.setattr("serving.opt_out.read_opt_out", lambda path: pytest.fail("read again"))
    out.refresh()
    assert out.known_as("ann") == ""


def test_the_file_names_nobody_and_comes_back_as_it_was(home):
    write_opt_out(home, erased("ann", "ünï'%*"))
    path = opt_out_file(home)
    assert "ann" not in path.read_text()
    assert read_opt_out(path) == erased("ann", "ünï'%*")
    assert list(path.parent.iterdir()) == [path]
    path.write_bytes(b"\xff")
    with pytest.raises(OptOutFileError):
        read_opt_out(path)


def test_membership_is_of_the_exact_id():
    users = erased("ann", "ünï'%*")
    assert [user in users for user in ("ann", "ann ", "an", "Ann", "", "ünï'%*", 5)] == [
        True, False, False, False, False, True, False,
    ]  # fmt: skip
    assert "ann" not in ErasedUsers()
    assert not ErasedUsers()
    assert users.version != erased("ann").version

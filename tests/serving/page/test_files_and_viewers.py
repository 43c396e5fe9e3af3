"""The demo page's files and the sample viewers it offers, in process."""

import re
import threading
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from serving import bento
from serving.api import page
from serving.api.app import create_app
from serving.api.page_schemas import DemoUsers
from serving.api.state import State
from serving.gateway import Gateway
from serving.live import LiveBundle
from stack.erased_users import ErasedUsers, pseudonym, write_opt_out
from tests.serving.conftest import shelve

from .world import page_pack

USERS = "/api/v1/demo/users"


@pytest.fixture
def state(home):
    state = State(settings=home)
    state.live = LiveBundle(home, state.metrics)
    return state


@pytest.fixture
def client(state):
    return TestClient(Gateway(create_app(state), state.metrics), raise_server_exceptions=False)


@pytest.fixture
def serving(home, state, tmp_path):
    page_pack(tmp_path / "bundle")
    bento.publish(home, shelve(home, tmp_path / "bundle"))
    state.live.check()
    return state.live.current


def references(text: str) -> set[str]:
    return set(re.findall(r'(?:src|href)="(/[^"#]*)"', text))


def test_the_page_and_every_file_it_names_are_there(client):
    index = client.get("/")
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    named = {name for name in references(index.text) if name.startswith("/static/demo/")}
    types = {name: client.get(name).headers["content-type"].partition(";")[0] for name in named}
    assert {name: types[name] for name in sorted(types)} == {
        f"/static/demo/{name}": {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}[
            name.rpartition(".")[2]
        ]
        for name in sorted(path.name for path in page.FILES.iterdir() if path.name != page.INDEX)
    }


def test_every_module_is_loaded_ahead(client):
    """Else the first feed waits for a chain of requests."""
    imported = {
        f"/static/demo/{name}"
        for path in page.FILES.glob("*.js")
        for name in re.findall(r'from "\./([a-z]+\.js)"', path.read_text())
    }
    assert imported < references(client.get("/").text)


def test_a_file_is_asked_about_each_time_and_sent_once(client):
    first = client.get("/static/demo/main.js")
    assert first.headers["cache-control"] == "no-cache"
    tag = first.headers["etag"]
    for held in (tag, f'W/{tag}, "other"', "*"):
        again = client.get("/static/demo/main.js", headers={"If-None-Match": held})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert client.get("/static/demo/main.js", headers={"If-None-Match": '"other"'}).content == first.content
    assert client.head("/").headers["etag"] == client.get("/").headers["etag"]


@pytest.mark.parametrize("name", ["nope.js", "..%2f..%2fapi%2fpage.py", "%00", "docs.html"])
def test_no_other_file_can_be_had(client, name):
    assert client.get(f"/static/demo/{name}").status_code == 404


def test_the_page_is_light_and_needs_nothing_from_outside():
    files = [path for path in page.FILES.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 60_000
    for path in files:
        foreign = set(re.findall(r"https?://[\w.-]+", path.read_text())) - {"http://www.w3.org"}
        assert foreign == set(), path.name


def test_a_strict_policy_holds_nothing_back():
    """No script or style within the HTML, and text never becomes markup."""
    html = (page.FILES / page.INDEX).read_text()
    assert re.findall(r"<style|<script(?![^>]* src=)|\son\w+=|\sstyle=|javascript:", html) == []
    for path in page.FILES.glob("*.js"):
        code = path.read_text()
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", code
        )
        assert found == [], path.name


def test_viewers_of_all_kinds_are_offered_in_turn(client, serving):
    body = client.get(USERS, params={"limit": 7}).json()
    DemoUsers.model_validate(body, strict=True)
    assert body["bundle"] == serving.record.bundle_id
    assert [(u["user_id"], u["kind"], u["videos_met"]) for u in body["users"]] == [
        ("viewer-00", "heavy", 20),
        ("viewer-08", "regular", 12),
        ("viewer-11", "light", 9),
        ("viewer-02", "heavy", 18),
        ("viewer-06", "regular", 14),
        ("viewer-10", "light", 10),
        ("someone-new", "new", 0),
    ]
    assert len(client.get(USERS).json()["users"]) == 12
    assert [u["kind"] for u in client.get(USERS, params={"limit": 1}).json()["users"]] == ["new"]


def test_links_are_those_of_the_settings(client, serving, home):
    assert client.get(USERS).json()["links"] == {"dagster": home.dagster_url, "mlflow": home.mlflow_ui_url}


def test_an_erased_viewer_is_not_offered(client, serving, state, home):
    assert client.get(USERS).json()["users"][0]["user_id"] == "viewer-00"
    write_opt_out(home, ErasedUsers(b"key", frozenset({pseudonym(b"key", "viewer-00")})))
    state.live.opt_out.refresh()
    offered = [user["user_id"] for user in client.get(USERS, params={"limit": 50}).json()["users"]]
    assert offered[0] == "viewer-08"
    assert "viewer-00" not in offered


def test_viewers_are_chosen_once_a_bundle_and_beside_the_loop(
    client, serving, state, home, packed, monkeypatch
):
    threads = []
    choose = page.sample_users

    def counted(bundle):
        threads.append(threading.current_thread())
        return choose(bundle)

    monkeypatch.setattr(page, "sample_users", counted)
    answers = [client.get(USERS).json() for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert len(threads) == 1
    assert "AnyIO" not in threads[0].name
    assert threads[0] is not threading.main_thread()
    bento.publish(home, shelve(home, packed("other", watched={"ann": ["v0"]})))
    state.live.check()
    assert [user["user_id"] for user in client.get(USERS).json()["users"]] == ["ann", "someone-new"]
    assert len(threads) == 2


@pytest.mark.parametrize(
    "asked",
    [{"limit": "0"}, {"limit": "51"}, {"limit": "many"}, {"limits": "1"}],
    ids=lambda asked: str(asked),
)
def test_a_bad_field_is_named(client, serving, asked):
    response = client.get(USERS, params=asked)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, *asked)


def test_before_any_bundle_there_is_a_page_but_nobody_to_pick(client):
    assert client.get("/").status_code == 200
    response = client.get(USERS)
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")


def test_files_are_read_once(client, monkeypatch):
    def read(path: Path) -> bytes:
        raise AssertionError(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    assert client.get("/").status_code == 200

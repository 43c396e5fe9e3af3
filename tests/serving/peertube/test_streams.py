"""Where a video can be played: from PeerTube, from memory, and what is said when somebody is down."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from serving.peertube.copies import copy_of
from serving.peertube.schemas import StreamAnswer
from tests.serving.peertube.conftest import Make, Query, send
from tests.serving.peertube.double import PeerTubeDouble

pytestmark = pytest.mark.stack


def path(video_id: str) -> str:
    return f"/api/v1/videos/{video_id}/stream"


@pytest.fixture
def video_id(client: TestClient, peertube: PeerTubeDouble) -> str:
    """An uploaded video; the double has not been asked anything since."""
    found = send(client).json()["video_id"]
    peertube.calls.clear()
    return str(found)


def test_a_stream_is_answered_with_all_that_a_player_needs(
    client: TestClient, peertube: PeerTubeDouble, video_id: str
) -> None:
    response = client.get(path(video_id))
    assert response.status_code == 200, response.text
    StreamAnswer.model_validate_json(response.content, strict=True)
    body = response.json()
    [uuid] = peertube.videos
    base = f"{peertube.url}/static/{uuid}"
    assert body == {
        "request_id": response.headers["x-request-id"],
        "video_id": video_id,
        "status": "ready",
        "hls_url": f"{base}/master.m3u8",
        "formats": [
            {"resolution": 720, "label": "720p", "url": f"{base}-720.mp4", "size": 720_000},
            {"resolution": 360, "label": "360p", "url": f"{base}-360.mp4", "size": 360_000},
        ],
        "thumbnail_url": f"{peertube.url}/lazy-static/thumbnails/{uuid}.jpg",
        "duration_ms": 12_000,
        "degraded": False,
        "degraded_because": [],
    }
    peertube.videos[uuid].hls_only = False  # web videos: the same files, elsewhere in the JSON
    assert copy_of({"uuid": uuid, "files": [], "streamingPlaylists": []}, peertube.url).formats == ()


def test_peertube_is_asked_once_in_five_minutes_and_once_for_many(
    client: TestClient, peertube: PeerTubeDouble, video_id: str
) -> None:
    peertube.fail("video", delay_s=0.2)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.get(path(video_id)).status_code, range(8)))
    assert answers == [200] * 8
    assert client.get(path(video_id)).status_code == 200
    assert peertube.count("video") == 1


@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"drop": "before"}, {"delay_s": 2.0}, {"body": b"<html>"}]
)
def test_peertube_down_is_a_marked_answer_of_before_or_a_503(
    make_client: Make, peertube: PeerTubeDouble, fault: dict
) -> None:
    client = make_client(fresh_s=0.0, read_budget_s=0.5)
    known, unknown = send(client, key="a").json()["video_id"], send(client, key="b").json()["video_id"]
    before = client.get(path(known)).json()
    peertube.fail("video", times=30, **fault)
    after = client.get(path(known)).json()
    assert after.pop("degraded") is True
    assert after.pop("degraded_because") == ["PeerTube does not answer now"]
    assert {**after, "request_id": ""} == {
        **{k: v for k, v in before.items() if not k.startswith("degraded")},
        "request_id": "",
    }
    response = client.get(path(unknown))
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"


def test_a_hiccup_is_not_noticed(client: TestClient, peertube: PeerTubeDouble, video_id: str) -> None:
    peertube.fail("video", times=2, status=502)
    body = client.get(path(video_id)).json()
    assert (body["status"], body["degraded"]) == ("ready", False)


def test_a_video_that_is_being_transcoded_says_so_and_is_looked_at_again(
    make_client: Make, peertube: PeerTubeDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.peertube.stream_cache.UNFINISHED_FRESH_S", 0.0)
    client = make_client()
    video_id = send(client).json()["video_id"]
    [stored] = peertube.videos.values()
    stored.state = 2
    assert client.get(path(video_id)).json()["status"] == "processing"
    stored.state = 7
    assert client.get(path(video_id)).json()["status"] == "failed"
    stored.state = 1
    assert client.get(path(video_id)).json()["status"] == "ready"


def test_what_cannot_be_streamed_is_a_404_that_says_why(
    make_client: Make, peertube: PeerTubeDouble, query: Query
) -> None:
    client = make_client(fresh_s=0.0)
    query("INSERT INTO videos (video_id, creator_id) VALUES ('demo', 'c')")
    response = client.get(path("demo"))
    assert response.status_code == 404
    assert response.json()["detail"] == "video demo came with a data set: there is no file of it to stream"
    response = client.get(path("none"))
    assert (response.status_code, response.json()["detail"]) == (404, "no video none")
    video_id = send(client).json()["video_id"]
    assert client.get(path(video_id)).status_code == 200
    peertube.videos.clear()
    response = client.get(path(video_id))
    assert (response.status_code, response.json()["detail"]) == (404, "PeerTube no longer has this video")
    peertube.fail("video", times=30, status=500)
    assert client.get(path(video_id)).status_code == 503  # what is gone is not served from before


@pytest.mark.parametrize(
    ("in_bundle", "words"),
    [(True, "; the bundle in service has it"), (False, "; the bundle in service has it not"), (None, "")],
)
def test_postgres_down_is_a_503_that_says_what_the_bundle_knows(
    make_client: Make, in_bundle: bool | None, words: str
) -> None:
    nowhere = "postgresql+psycopg2://reelgraph@127.0.0.1:9/none"
    client = make_client(database_url=nowhere, in_bundle=lambda video_id: in_bundle)
    response = client.get(path("v1"))
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert response.json()["detail"] == f"the catalogue of videos cannot be read or written now{words}"


def test_a_published_video_is_streamed_without_a_login(make_client: Make, peertube: PeerTubeDouble) -> None:
    client = make_client(fresh_s=0.0)
    video_id = send(client).json()["video_id"]
    login = client.state.videos._peertube._login  # type: ignore[attr-defined]
    login._username = None
    peertube.calls.clear()
    assert client.get(path(video_id)).json()["status"] == "ready"
    assert peertube.calls == ["video"]

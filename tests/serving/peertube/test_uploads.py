"""Uploads through the real client, a PeerTube double and a real Postgres: one video a key, whatever breaks."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from serving.peertube.schemas import UploadAnswer
from tests.serving.peertube.conftest import MP4, Make, Query, send
from tests.serving.peertube.double import PeerTubeDouble

pytestmark = pytest.mark.stack


def test_an_upload_reaches_peertube_whole_and_is_registered(
    client: TestClient, peertube: PeerTubeDouble, query: Query, tmp_path: Path
) -> None:
    response = send(client)
    assert response.status_code == 201, response.text
    answer = UploadAnswer.model_validate_json(response.content)
    [stored] = peertube.videos.values()
    assert stored.content == MP4
    assert stored.media_type == "video/mp4"
    assert stored.fields == {
        "channelId": "1",
        "name": "A cat on a piano",
        "privacy": "1",
        "waitTranscoding": "true",
        "description": "It plays, sort of",
        "language": "en",
        "tags[0]": "cats",
        "tags[1]": "music",
    }
    assert answer.peertube_uuid == UUID(stored.uuid)
    assert answer.stream_url == f"/api/v1/videos/{answer.video_id}/stream" == response.headers["location"]
    assert not answer.replayed
    columns = "video_id, creator_id, title, description, duration_ms, category, tags, language, thumbnail_url"
    assert query(f"SELECT {columns}, peertube_uuid::text, upload_time IS NOT NULL FROM videos") == [
        (
            answer.video_id, "17", "A cat on a piano", "It plays, sort of", 12_000, "pets", ["cats", "music"], "en",
            f"{peertube.url}/lazy-static/thumbnails/{stored.uuid}.jpg", stored.uuid, True,
        )
    ]  # fmt: skip
    assert list((tmp_path / "uploads").iterdir()) == []


def test_a_file_larger_than_a_block_arrives_byte_for_byte(
    make_client: Make, peertube: PeerTubeDouble
) -> None:
    content = MP4[:12] + bytes(i * i % 251 for i in range(3_500_000))
    response = send(make_client(max_upload_bytes=4_000_000), content)
    assert response.status_code == 201, response.text
    [stored] = peertube.videos.values()
    assert stored.content == content


def test_the_same_key_gives_the_same_answer_and_one_upload(
    client: TestClient, peertube: PeerTubeDouble
) -> None:
    first, second = send(client).json(), send(client).json()
    assert second.pop("replayed") is True
    assert first.pop("replayed") is False
    assert {**first, "request_id": ""} == {**second, "request_id": ""}
    assert peertube.count("upload") == 1


def test_without_a_key_the_content_is_the_key(client: TestClient, peertube: PeerTubeDouble) -> None:
    first, second = send(client, key=None).json(), send(client, key=None).json()
    assert first["video_id"] == second["video_id"]
    other = send(client, key=None, title="Another title").json()
    assert other["video_id"] != first["video_id"]
    assert peertube.count("upload") == 2


@pytest.mark.parametrize("changes", [{"content": MP4 + b"!"}, {"title": "Another title"}, {"tags": "cats"}])
def test_a_key_for_another_upload_is_refused(
    client: TestClient, peertube: PeerTubeDouble, changes: dict
) -> None:
    assert send(client).status_code == 201
    response = send(client, **changes)
    assert response.status_code == 422
    assert "belongs to an upload of another file" in response.json()["detail"]
    assert peertube.count("upload") == 1


def test_concurrent_doubles_on_two_replicas_upload_once(
    make_client: Make, peertube: PeerTubeDouble, query: Query
) -> None:
    peertube.fail("upload", delay_s=0.3)
    replicas = [make_client(), make_client()]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda i: send(replicas[i % 2]), range(4)))
    assert [a.status_code for a in answers] == [201] * 4
    assert len({a.json()["video_id"] for a in answers}) == 1
    assert sorted(a.json()["replayed"] for a in answers) == [False, True, True, True]
    assert peertube.count("upload") == 1
    assert query("SELECT count(*) FROM videos") == [(1,)]


@pytest.mark.parametrize("drop", ["before", "midway", "after"])
def test_a_connection_that_breaks_loses_and_doubles_nothing(
    client: TestClient, peertube: PeerTubeDouble, query: Query, drop: str
) -> None:
    peertube.fail("upload", drop=drop)
    assert send(client).status_code == 201
    assert len(peertube.videos) == 1
    assert peertube.count("upload") == (1 if drop == "after" else 2)
    assert query("SELECT count(*) FROM videos") == [(1,)]


def test_a_try_that_died_between_peertube_and_postgres_is_taken_up_again(
    client: TestClient, make_client: Make, peertube: PeerTubeDouble, query: Query
) -> None:
    query("CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN RAISE 'no space'; END $$ LANGUAGE plpgsql")
    query("CREATE TRIGGER refuse BEFORE INSERT ON videos EXECUTE FUNCTION refuse()")
    try:
        assert send(client).status_code == 503
    finally:
        query("DROP TRIGGER refuse ON videos")
        query("DROP FUNCTION refuse")
    assert (len(peertube.videos), query("SELECT count(*) FROM videos")) == (1, [(0,)])
    again = send(make_client())  # a replica that knows nothing of the first try
    assert again.status_code == 201
    assert peertube.count("upload") == 1
    assert [again.json()["peertube_uuid"]] == list(peertube.videos)
    assert query("SELECT count(*) FROM videos") == [(1,)]


def test_another_video_of_the_same_title_is_not_taken_for_ours(
    client: TestClient, peertube: PeerTubeDouble
) -> None:
    assert send(client, key="first").status_code == 201
    peertube.fail("upload", times=3, status=500)
    assert send(client, MP4 + b"other", key="second").status_code == 503
    assert send(client, MP4 + b"other", key="second").status_code == 201
    assert sorted(len(v.content) for v in peertube.videos.values()) == [len(MP4), len(MP4) + 5]


def test_a_busy_peertube_is_asked_again_and_an_unwilling_one_is_a_503(
    client: TestClient, peertube: PeerTubeDouble, query: Query
) -> None:
    peertube.fail("upload", status=429, headers={"Retry-After": "0"})
    assert send(client, key="a").status_code == 201
    peertube.fail("upload", status=503, headers={"Retry-After": "3600"})
    response = send(client, MP4 + b"b", key="b")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert response.headers["content-type"] == "application/problem+json"
    assert query("SELECT count(*) FROM videos") == [(1,)]


def test_an_expired_token_is_renewed_before_the_file_is_sent(
    client: TestClient, peertube: PeerTubeDouble
) -> None:
    assert send(client, key="a").status_code == 201
    peertube.expire_tokens()
    assert send(client, MP4 + b"b", key="b").status_code == 201
    assert peertube.grants == ["password", "refresh_token"]
    peertube.expire_tokens()
    peertube.refresh_tokens.clear()
    assert send(client, MP4 + b"c", key="c").status_code == 201
    assert peertube.grants == ["password", "refresh_token", "refresh_token", "password"]
    assert peertube.count("upload") == 3


def test_a_login_that_is_refused_is_a_503_that_leaks_nothing(
    client: TestClient, peertube: PeerTubeDouble
) -> None:
    peertube.password = "changed"
    response = send(client)
    assert response.status_code == 503
    assert response.json()["detail"] == "PeerTube does not accept our login"


def test_what_peertube_does_not_take_is_the_clients_to_mend(
    client: TestClient, peertube: PeerTubeDouble
) -> None:
    peertube.fail("upload", status=400)
    assert send(client).status_code == 422
    assert peertube.count("upload") == 1


def test_postgres_down_uploads_nothing(make_client: Make, peertube: PeerTubeDouble) -> None:
    nowhere = make_client(database_url="postgresql+psycopg2://reelgraph@127.0.0.1:9/none")
    response = send(nowhere)
    assert response.status_code == 503
    assert "cannot be read or written" in response.json()["detail"]
    assert peertube.calls == []


@pytest.mark.parametrize(
    ("options", "status", "field"),
    [
        ({"content": MP4[:12] + b"x" * 100_000}, 413, "file"),
        ({"content": b"GIF89a and so on, no video"}, 415, "file"),
        ({"content": b""}, 415, "file"),
        ({"media_type": "image/gif"}, 415, "file"),
        ({"media_type": "video/webm"}, 415, "file"),
        ({"title": None}, 422, "title"),
        ({"title": "ab"}, 422, "title"),
        ({"title": "a\x00bc"}, 422, "title"),
        ({"creator_id": None}, 422, "creator_id"),
        ({"tags": "a,b,c,d,e,f"}, 422, "tags"),
        ({"tags": "x"}, 422, "tags.0"),
        ({"duration_ms": "soon"}, 422, "duration_ms"),
        ({"stranger": "1"}, 422, "stranger"),
        ({"title": ["one title", "another"]}, 422, "title"),
        ({"description": "x" * 70_000}, 413, None),
    ],
)
def test_what_is_no_upload_is_refused_naming_the_field(
    client: TestClient, peertube: PeerTubeDouble, query: Query, tmp_path: Path, options: dict, status: int, field: str
) -> None:  # fmt: skip
    response = send(client, **options)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    if field:
        assert response.json()["detail"].startswith(f"{field}: ")
    if status == 422:
        assert response.json()["errors"][0]["field"] == field
    assert peertube.calls == []
    assert query("SELECT count(*) FROM video_uploads") == [(0,)]
    assert list((tmp_path / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data", b"x", 415),
        ("multipart/form-data; boundary=b", b"nonsense", 400),
        ("multipart/form-data; boundary=b", b"", 400),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="title"\r\n\r\nhal',
            400,
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="title"\r\n\r\n\xff\xfe\r\n--b--\r\n',
            422,
        ),
    ],
)
def test_a_body_that_is_no_form_is_refused(
    client: TestClient, tmp_path: Path, content_type: str, body: bytes, status: int
) -> None:
    response = client.post("/api/v1/videos", content=body, headers={"Content-Type": content_type})
    assert response.status_code == status, response.text
    uploads = tmp_path / "uploads"
    assert not uploads.exists() or list(uploads.iterdir()) == []


def test_a_fifth_upload_at_once_is_told_to_come_back(client: TestClient, peertube: PeerTubeDouble) -> None:
    peertube.fail("upload", times=4, delay_s=1.0)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda i: send(client, MP4 + bytes([i]), key=str(i)), range(6)))
    assert sorted(a.status_code for a in answers) == [201] * 4 + [409] * 2
    assert all("retry-after" in a.headers for a in answers if a.status_code == 409)


def test_without_a_peertube_the_routes_say_so(make_client: Make) -> None:
    client = make_client()
    videos, client.state.videos = client.state.videos, None  # type: ignore[attr-defined]
    try:
        for response in (send(client), client.get("/api/v1/videos/v1/stream")):
            assert response.status_code == 503
            assert response.json()["detail"] == "no PeerTube is set (REELGRAPH_PEERTUBE_URL)"
    finally:
        client.state.videos = videos  # type: ignore[attr-defined]


def test_a_disk_that_cannot_be_written_is_a_503_to_come_back_after(
    client: TestClient, peertube: PeerTubeDouble, tmp_path: Path
) -> None:
    folder = tmp_path / "uploads"
    folder.write_text("a file where the folder should be")
    response = send(client)
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert response.json()["detail"] == "the upload cannot be stored now"
    assert peertube.calls == []
    folder.unlink()
    assert send(client).status_code == 201

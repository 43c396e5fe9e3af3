"""The online copy of the user features (R3): `user_features:{id}` in Redis, JSON, for an hour.

JSON and not a hash: one command writes a user's features and their time to live at once, so a reader sees all of one
run's or none, and no field of an earlier version stays behind.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ingestion.clickhouse import connect as connect_to_clickhouse
from ingestion.clickhouse import first_line
from ingestion.errors import StoreRefusedError, StoreUnreachableError
from ingestion.report import Progress, silent
from stack.clients import redis_client
from stack.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

TTL_S: Final = 3600
BATCH_USERS: Final = 2_000
# A month of heavy use is hundreds of ids, several times all other features together; the feed filters what was seen by
# its bundle and by the session's context.
MAX_WATCHED: Final = 100

_QUERY = """
    SELECT * REPLACE (if(length(watched_video_ids) <= {longest:UInt32}, watched_video_ids, []) AS watched_video_ids)
    FROM user_features
    WHERE isValidUTF8(user_id)
"""


@dataclass(frozen=True)
class OnlineReport:
    """`without_list` users watched more than `MAX_WATCHED` videos: theirs is null."""

    users: int
    without_list: int
    bytes: int
    seconds: float


def key_of(user_id: str) -> str:
    return f"user_features:{user_id}"


def publish_user_features(settings: Settings, *, progress: Progress = silent) -> OnlineReport:
    """Write every row of `user_features`: a JSON object of its columns, times in ISO 8601, UTC.

    `watched_video_ids` is null for users with more than `MAX_WATCHED`; `unique_videos_watched` has their number. Users
    that are no longer in the table expire. Raises `StoreUnreachableError`, or `StoreRefusedError` if Redis is full,
    also if it makes room by dropping keys: those that expire first go first, the context of sessions."""
    started = time.monotonic()
    users = without_list = size = 0
    with _redis(settings) as redis:
        dropped = _dropped(redis)
        for batch in _batches(settings):
            pipeline = redis.pipeline(transaction=False)
            for row in batch:
                if row["unique_videos_watched"] > MAX_WATCHED:
                    row["watched_video_ids"] = None
                    without_list += 1
                value = json.dumps(row, default=_plain, ensure_ascii=False, separators=(",", ":")).encode()
                pipeline.set(key_of(row["user_id"]), value, ex=TTL_S)
                size += len(value)
            pipeline.execute()
            users += len(batch)
            if _dropped(redis) > dropped:
                raise StoreRefusedError(
                    f"Redis has no room for the online copy: it drops keys since {users:,} users"
                )
            progress(f"{users:,} users online")
    return OnlineReport(users, without_list, size, time.monotonic() - started)


def _dropped(redis: "Redis") -> int:
    """Keys that Redis has dropped for want of memory since it started."""
    return int(redis.info("stats")["evicted_keys"])  # type: ignore[index]


@contextmanager
def _redis(settings: Settings) -> Iterator["Redis"]:
    from redis.exceptions import ConnectionError as NotConnected
    from redis.exceptions import RedisError
    from redis.exceptions import TimeoutError as TimedOut

    url = urlsplit(settings.redis_url)
    place = f"Redis at {url.hostname or url.path}" + (f":{url.port}" if url.port else "")
    client = redis_client(settings)
    try:
        client.ping()
        yield client
    except (NotConnected, TimedOut) as error:
        raise StoreUnreachableError(f"{place} is not reachable: {first_line(error)}") from error
    except RedisError as error:
        raise StoreRefusedError(f"{place} refuses: {first_line(error)}") from error
    finally:
        client.close()


def _batches(settings: Settings) -> Iterator[list[dict[str, Any]]]:
    """Rows of `user_features` as dicts, streamed."""
    client = connect_to_clickhouse(settings)
    try:
        with client.query_row_block_stream(
            _QUERY,
            parameters={"longest": MAX_WATCHED},
            settings={"max_block_size": BATCH_USERS},
            tz_mode="aware",
        ) as blocks:
            names = blocks.source.column_names
            for block in blocks:
                rows = [dict(zip(names, row, strict=True)) for row in block]
                for start in range(0, len(rows), BATCH_USERS):
                    yield rows[start : start + BATCH_USERS]
    finally:
        client.close()


def _plain(value: object) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in the online copy")

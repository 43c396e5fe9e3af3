"""Connections to the stores, made from the settings: one function a store."""

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from stack.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client
    from redis import Redis
    from sqlalchemy.engine import Engine

CONNECT_TIMEOUT_S = 10


def clickhouse_parts(settings: Settings) -> dict[str, Any]:
    """`host, port, username, password, database, secure` of the ClickHouse URL, for clients that take parts."""
    url = urlsplit(settings.clickhouse_url)
    secure = url.scheme == "https"
    return {
        "host": url.hostname or "",
        "port": url.port or (8443 if secure else 8123),
        "username": unquote(url.username or "default"),
        "password": unquote(url.password or ""),
        "database": url.path.strip("/") or "default",
        "secure": secure,
    }


def clickhouse_client(settings: Settings, *, database: str | None = None) -> "Client":
    """A clickhouse-connect client; `database` overrides the URL's (for example to create that one)."""
    import clickhouse_connect

    parts = clickhouse_parts(settings)
    if database is not None:
        parts["database"] = database
    # A session would serialise this client's queries; none of ours needs session state.
    return clickhouse_connect.get_client(
        **parts, connect_timeout=CONNECT_TIMEOUT_S, send_receive_timeout=600, autogenerate_session_id=False
    )


def postgres_engine(settings: Settings) -> "Engine":
    """A SQLAlchemy engine on the database of `users` and `videos`."""
    from sqlalchemy import create_engine

    return create_engine(
        settings.database_url, pool_pre_ping=True, connect_args={"connect_timeout": CONNECT_TIMEOUT_S}
    )


def redis_client(settings: Settings) -> "Redis":
    from redis import Redis

    return Redis.from_url(settings.redis_url, socket_connect_timeout=2, socket_timeout=2)

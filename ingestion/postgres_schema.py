"""Postgres' side of the schema: Alembic, run from code on a connection of ours, and the locks of ingestion."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from ingestion.errors import IngestionError, StoreRefusedError, StoreUnreachableError
from stack.clients import postgres_engine
from stack.settings import Settings

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy.engine import Connection

_LOCK_NOT_AVAILABLE = "55P03"
LOCK_TIMEOUT_S = 300


class LockHeldError(IngestionError):
    """Another process does the same work and has not finished in time."""


@contextmanager
def connect(settings: Settings) -> Iterator["Connection"]:
    """A connection to the database of `users` and `videos`; `StoreUnreachableError` in one line."""
    url = make_url(settings.database_url)
    engine = postgres_engine(settings)
    try:
        try:
            connection = engine.connect()
        except OperationalError as error:
            place = f"Postgres at {url.host}:{url.port or 5432}, database {url.database}"
            raise StoreUnreachableError(f"{place}, is not reachable: {reason(error)}") from error
        with connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def locked(settings: Settings, what: str, *, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator["Connection"]:
    """Only one process at a time does `what`; the lock is Postgres', so it ends with its holder, however that dies.

    Raises `LockHeldError` after `timeout_s`.
    """
    key = {"key": f"reelgraph {what}"}
    with connect(settings) as connection:
        connection.execute(
            text("SELECT set_config('lock_timeout', :ms, false)"), {"ms": f"{timeout_s * 1000:.0f}"}
        )
        try:
            connection.execute(text("SELECT pg_advisory_lock(hashtextextended(:key, 0))"), key)
        except DBAPIError as error:
            if getattr(error.orig, "pgcode", None) != _LOCK_NOT_AVAILABLE:
                raise
            raise LockHeldError(f"another process is at it ({what}) since over {timeout_s:.0f} s") from error
        connection.commit()
        try:
            yield connection
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(hashtextextended(:key, 0))"), key)
            connection.commit()


def upgrade(connection: "Connection", revision: str = "head") -> None:
    """Bring the schema up to `revision`; does nothing if it is there already."""
    from alembic import command
    from alembic.util import CommandError

    try:
        command.upgrade(_config(connection), revision)
        connection.commit()
    except CommandError as error:  # such as a database that a newer release has migrated
        raise StoreRefusedError(f"Postgres migration to {revision}: {error}") from error
    except DBAPIError as error:
        raise StoreRefusedError(f"Postgres migration to {revision}: {reason(error)}") from error


def downgrade(connection: "Connection", revision: str) -> None:
    """Take the schema back to `revision` ('base': to nothing)."""
    from alembic import command

    command.downgrade(_config(connection), revision)
    connection.commit()


def _config(connection: "Connection") -> "Config":
    from alembic.config import Config

    config = Config()
    # ConfigParser reads % as interpolation, and a checkout's path may hold one.
    folder = str(Path(__file__).parent / "migrations").replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    return config


def reason(error: DBAPIError) -> str:
    """What the driver said, in one line and without the statement."""
    lines = str(error.orig).strip().splitlines()
    return lines[0][:300] if lines else type(error.orig).__name__

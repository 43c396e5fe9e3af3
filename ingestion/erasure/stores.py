"""The user in Postgres and Redis."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from ingestion.erasure.book import User
from ingestion.erasure.places import Place
from ingestion.erasure.receipt import Entry, State

if TYPE_CHECKING:
    from redis import Redis
    from sqlalchemy.engine import Connection

# `user:{id}:<name>`, where the name has no colon (R2: recent_items, recent_categories, last_active), and these.
_EXACT = ("user_features:{id}",)
_SCAN_BATCH = 10_000


@dataclass
class PostgresRows:
    """Rows of a table with a column `user_id`."""

    connection: "Connection"
    table: str

    @property
    def name(self) -> str:
        return f"Postgres {self.table}"

    def erase(self, user: User) -> int:
        """Deletes and vacuums, so that the row's old version does not wait for Postgres to get round to it."""
        quoted = self._quoted()
        deleted = self.connection.execute(
            text(f"DELETE FROM {quoted} WHERE CAST(user_id AS text) = :user"),  # noqa: S608 - a catalogue's name
            {"user": user.id},
        ).rowcount
        if self.table == "users":
            # The next load of the same source must not find that rows are missing.
            self.connection.execute(
                text("UPDATE loaded_sources SET rows = rows - :deleted WHERE entity = 'users'"),
                {"deleted": deleted},
            )
        self.connection.commit()
        if deleted:
            # VACUUM runs outside a transaction.
            with self.connection.engine.connect().execution_options(
                isolation_level="AUTOCOMMIT"
            ) as vacuuming:
                vacuuming.execute(text(f"VACUUM {quoted}"))
        return deleted

    def look(self, user: User) -> Entry:
        left: int = self.connection.execute(
            text(f"SELECT count(*) FROM {self._quoted()} WHERE CAST(user_id AS text) = :user"),  # noqa: S608
            {"user": user.id},
        ).scalar_one()
        self.connection.rollback()
        return Entry(self.name, State.HELD if left else State.GONE, left=left)

    def _quoted(self) -> str:
        return '"' + self.table.replace('"', '""') + '"'


def postgres_places(connection: "Connection") -> list[Place]:
    """Every table of the database's schema that has a column `user_id`."""
    found: Iterable[str] = connection.execute(
        text(
            "SELECT c.table_name FROM information_schema.columns AS c JOIN information_schema.tables AS t "
            "USING (table_schema, table_name) WHERE c.table_schema = current_schema() "
            "AND c.column_name = 'user_id' AND t.table_type = 'BASE TABLE' ORDER BY 1"
        )
    ).scalars()
    tables: list[str] = list(found)
    connection.rollback()
    return [PostgresRows(connection, table) for table in tables]


@dataclass
class RedisKeys:
    """The keys that bear the user's id: context, online features, cached answers."""

    redis: "Redis"
    name: str = "Redis keys of the user"
    _rewrite_refused: bool = False

    def erase(self, user: User) -> int:
        """Also asks for the append-only file to be written anew: it would keep what was deleted until then."""
        from redis.exceptions import ResponseError

        keys = self._keys(user)
        if not keys:
            return 0
        deleted = int(self.redis.delete(*keys))  # type: ignore[arg-type]
        try:
            self.redis.execute_command("BGREWRITEAOF")
        except ResponseError:
            self._rewrite_refused = True
        return deleted

    def look(self, user: User) -> Entry:
        left = len(self._keys(user))
        note = (
            "snapshots and append-only files of the server: until it writes new ones"
            if self._rewrite_refused
            else ""
        )
        return Entry(self.name, State.HELD if left else State.GONE, left=left, note=note)

    def _keys(self, user: User) -> list[bytes]:
        """`user:a:b:x` is of the user `a:b`, never of `a`: what follows the id has no colon."""
        prefix = f"user:{user.id}:".encode()
        own = [
            key
            for key in self.redis.scan_iter(match=escaped(prefix) + b"*", count=_SCAN_BATCH)
            if key.startswith(prefix) and b":" not in key[len(prefix) :]
        ]
        exact = [template.format(id=user.id).encode() for template in _EXACT]
        return sorted({*own, *(key for key in exact if self.redis.exists(key))})


def escaped(literal: bytes) -> bytes:
    """`literal` as a Redis pattern that matches itself alone."""
    return b"".join(b"\\" + bytes([c]) if bytes([c]) in b"\\*?[]^-" else bytes([c]) for c in literal)

"""The one chDB engine of this process: its folder and lock, its handles, what runs and how it is stopped."""

import fcntl
import logging
import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from stack.clickhouse import default_database
from stack.clickhouse.errors import ClickHouseError, from_engine
from stack.clickhouse.lexer import escape_parameter, quote_identifier, quote_string

log = logging.getLogger("stack.clickhouse")

# A query may take this share of the whole limit, so that one cannot starve the others.
_QUERY_SHARE = 0.6
# The engine's defaults are for a server with a machine of its own.
_ENGINE_OPTIONS = {
    "mark_cache_size": 64 << 20,
    "index_mark_cache_size": 16 << 20,
    "primary_index_cache_size": 64 << 20,
    "parquet_metadata_cache_size": 16 << 20,
    "iceberg_metadata_files_cache_size": 1 << 20,
    "vector_similarity_index_cache_size": 1 << 20,
    "text_index_tokens_cache_size": 1 << 20,
    "text_index_header_cache_size": 1 << 20,
    "text_index_postings_cache_size": 1 << 20,
    "query_condition_cache_size": 16 << 20,
    "compiled_expression_cache_size": 32 << 20,
    "max_thread_pool_size": 1000,
}


class EngineUnavailableError(Exception):
    """The data folder cannot be opened; the message is one line for the operator."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a statement gave: `data` as bytes and the engine's counts of rows and bytes."""

    data: bytes
    result_rows: int
    result_bytes: int
    read_rows: int
    read_bytes: int
    written_rows: int
    written_bytes: int
    elapsed_ns: int


class Handle:
    """A connection to the engine with state of its own (`USE`, `SET`, temporary tables); one statement at a time."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.readonly = 0

    def execute(
        self, sql: str, *, format: str = "TabSeparated", params: dict[str, str] | None = None
    ) -> Outcome:
        """Run `sql` (latin-1 text: the bytes as sent); `params` are escaped as in TabSeparated.

        Blocks until it is done. Raises `ClickHouseError`."""
        try:
            result = self._connection.query(sql.encode("latin-1"), format, params=params or {})
        except (RuntimeError, UnicodeError) as error:
            raise from_engine(error) from error
        if result.has_error():
            raise from_engine(RuntimeError(result.error_message()))
        return Outcome(
            data=result.bytes(),
            result_rows=result.rows_read(),
            result_bytes=result.bytes_read(),
            read_rows=result.storage_rows_read(),
            read_bytes=result.storage_bytes_read(),
            written_rows=result.rows_written(),
            written_bytes=result.bytes_written(),
            elapsed_ns=int(result.elapsed() * 1e9),
        )

    def values(self, sql: str, **params: str) -> list[list[str]]:
        """The rows of a small internal query, as text; `params` are plain values."""
        escaped = {name: escape_parameter(value) for name, value in params.items()}
        data = self.execute(sql, format="TabSeparatedRaw", params=escaped).data.decode("latin-1")
        return [line.split("\t") for line in data.splitlines()]

    def use(self, database: str) -> None:
        self.execute(f"USE {quote_identifier(database)}")

    def set(self, settings: dict[str, str]) -> None:
        """`SET` all of them at once; names are quoted as identifiers, values as literals."""
        if settings:
            pairs = ", ".join(f"{quote_identifier(k)} = {quote_string(v)}" for k, v in settings.items())
            self.execute(f"SET {pairs}")

    def close(self) -> None:
        self._connection.close()


class Engine:
    """Opens the data folder and gives out handles; every method may be called from any thread."""

    def __init__(self, path: Path, max_memory: int) -> None:
        self.path = path
        self.max_memory = max_memory
        self.version = ""
        self.timezone = "UTC"
        self._lock_file: int | None = None
        self._control: Handle | None = None
        self._control_lock = threading.Lock()
        self._running: set[str] = set()
        self._running_lock = threading.Lock()

    @property
    def spool_dir(self) -> Path:
        """For what does not fit in memory; private, emptied at every start."""
        return self.path / "spool"

    def open(self) -> None:
        """Raises `EngineUnavailableError`."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_file = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._lock_file, 0)
            os.pwrite(self._lock_file, f"{os.getpid()}\n".encode(), 0)
            shutil.rmtree(self.spool_dir, ignore_errors=True)
            self.spool_dir.mkdir(mode=0o700)
            default_database.align(self.path / "db")
        except BlockingIOError as error:
            owner = (self.path / "lock").read_text().strip() or "unknown"
            raise EngineUnavailableError(
                f"{self.path} is in use by another ClickHouse process (pid {owner})"
            ) from error
        except OSError as error:
            raise EngineUnavailableError(f"{self.path}: {error.strerror}") from error
        if "?" in str(self.path):
            raise EngineUnavailableError(
                f"{self.path}: the engine cannot have a folder with a '?' in its name"
            )
        # Relative names in SQL must not reach the folder we were started in.
        os.chdir(self.spool_dir)
        from chdb import _chdb

        self._connect = _chdb.connect  # type: ignore[attr-defined]
        try:
            self._control = self._new_handle()
            self._control.use("system")
            self._control.execute("DETACH DATABASE IF EXISTS default")
            default_database.install(self.path / "db", self._control.execute)
            self.version, self.timezone = self._control.values("SELECT version(), timezone()")[0]
        except (ClickHouseError, RuntimeError) as error:
            raise EngineUnavailableError(f"{self.path}: {' '.join(str(error).split())}") from error

    def handle(self) -> Handle:
        """A new handle; cheap (about 0.2 ms). The caller closes it."""
        try:
            return self._new_handle()
        except ClickHouseError as error:
            if error.code != 81:
                raise
        # Someone dropped `default`, in which every handle begins.
        with self._control_lock:
            assert self._control is not None
            default_database.install(self.path / "db", self._control.execute)
        return self._new_handle()

    def _new_handle(self) -> Handle:
        options = _ENGINE_OPTIONS | {
            "max_server_memory_usage": self.max_memory,
            "max_memory_usage": int(self.max_memory * _QUERY_SHARE),
            "implicit_select": 0,
        }
        try:
            return Handle(self._connect(f"{self.path / 'db'}?{urlencode(options)}"))
        except RuntimeError as error:
            raise from_engine(error) from error

    # --- What runs ------------------------------------------------------------------------------------------

    def register(self, query_id: str) -> None:
        """Raises `ClickHouseError` if a query of this id runs already."""
        with self._running_lock:
            if query_id in self._running:
                raise ClickHouseError(216, f"Query with id = {query_id} is already running")
            self._running.add(query_id)

    def unregister(self, query_id: str) -> None:
        with self._running_lock:
            self._running.discard(query_id)

    def running(self) -> list[str]:
        with self._running_lock:
            return sorted(self._running)

    def engine_id(self, query_id: str) -> str | None:
        """The engine gives queries ids of its own; ours travels as `log_comment`. None if it does not run."""
        rows = self._processes("query_id", query_id)
        return rows[0][0] if rows else None

    def cancelled(self, query_id: str) -> bool:
        """The query runs, and somebody has killed it."""
        return self._processes("is_cancelled", query_id) == [["1"]]

    def _processes(self, column: str, query_id: str) -> list[list[str]]:
        with self._control_lock:
            assert self._control is not None
            return self._control.values(
                f"SELECT {column} FROM system.processes WHERE Settings['log_comment'] = {{id:String}}",  # noqa: S608
                id=query_id,
            )

    def kill(self, query_id: str) -> bool:
        """Stop a running query; False if the engine does not (yet, or any more) run it."""
        engine_id = self.engine_id(query_id)
        if engine_id is None:
            return False
        with self._control_lock:
            assert self._control is not None
            self._control.execute(f"KILL QUERY WHERE query_id = {quote_string(engine_id)} ASYNC")
        log.debug("killed query %s", query_id)
        return True

    def purge(self) -> None:
        """Give memory that is no longer used back to the system."""
        with self._control_lock:
            if self._control is not None:
                self._control.execute("SYSTEM JEMALLOC PURGE")

    def close(self) -> None:
        with self._control_lock:
            if self._control is not None:
                self._control.close()
                self._control = None
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

"""ClickHouse over plain HTTP, for the endpoint: clickhouse-connect would load pandas and Arrow into it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpx
import orjson

from ingestion.clickhouse import identifier
from ingestion.errors import IngestionError, StoreRefusedError, StoreUnreachableError
from stack.clients import clickhouse_parts
from stack.settings import Settings

_TIMEOUT = httpx.Timeout(60.0, connect=3.0)
_MAX_QUERY_BYTES = 50_000_000  # lists of ids are part of a query
# What will be said of the same rows again: they cannot be parsed, or do not fit the columns.
_ABOUT_THE_ROWS = frozenset({6, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 130, 131, 321, 376, 691})


class RowsRefusedError(IngestionError):
    """ClickHouse will never take these rows."""


class ClickHouseHttp:
    """One connection, for one thread. Raises `StoreUnreachableError`, `StoreRefusedError`, `RowsRefusedError`.

    `on_request` sees every request before it is sent, and may give it the trace it belongs to."""

    def __init__(self, settings: Settings, on_request: Callable[[httpx.Request], None] | None = None) -> None:
        parts = clickhouse_parts(settings)
        host = f"[{parts['host']}]" if ":" in parts["host"] else parts["host"]
        self._place = f"ClickHouse at {host}:{parts['port']}"
        self._client = httpx.Client(
            base_url=f"{'https' if parts['secure'] else 'http'}://{host}:{parts['port']}",
            headers={"X-ClickHouse-User": parts["username"], "X-ClickHouse-Key": parts["password"]},
            params={
                "database": parts["database"],
                "max_query_size": str(_MAX_QUERY_BYTES),
                "log_queries": "0",
            },
            timeout=_TIMEOUT,
            trust_env=False,  # no proxy sits between us and our store
            event_hooks={"request": [on_request] if on_request else []},
        )

    def rows(self, query: str) -> list[list[Any]]:
        """The rows of a SELECT; whole numbers come as such, or as text beyond 32 bits."""
        answer = self._post(content=f"{query}\nFORMAT JSONCompact".encode())
        found: list[list[Any]] = orjson.loads(answer)["data"]
        return found

    def run(self, statement: str) -> None:
        self._post(content=statement.encode())

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
        """All rows in one statement, however many months they lie in; an answer means that they are stored."""
        names = ", ".join(identifier(name) for name in columns)
        query = f"INSERT INTO {identifier(table)} ({names}) FORMAT JSONEachRow"
        how = {"async_insert": "0", "max_partitions_per_insert_block": "0"}
        self._post(content=b"\n".join(map(orjson.dumps, rows)), params={"query": query, **how})

    def close(self) -> None:
        self._client.close()

    def _post(self, content: bytes, params: dict[str, str] | None = None) -> bytes:
        try:
            response = self._client.post("/", content=content, params=params)
        except httpx.HTTPError as error:
            raise StoreUnreachableError(f"{self._place} does not answer: {type(error).__name__}") from error
        code = response.headers.get("X-ClickHouse-Exception-Code", "")
        if response.status_code == httpx.codes.OK and not code:
            return response.content
        kind = RowsRefusedError if code.isdigit() and int(code) in _ABOUT_THE_ROWS else StoreRefusedError
        raise kind(f"{self._place}: code {code or response.status_code}: {response.text[:300]}")

"""Small things every user of ClickHouse in ingestion needs: connecting clearly, quoting, one number."""

from typing import TYPE_CHECKING

from ingestion.errors import StoreRefusedError, StoreUnreachableError
from stack.clients import clickhouse_client, clickhouse_parts
from stack.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def connect(settings: Settings, *, database: str | None = None) -> "Client":
    """A client; `StoreUnreachableError` or, for a wrong user, `StoreRefusedError`, in one line."""
    from clickhouse_connect.driver.exceptions import ClickHouseError

    parts = clickhouse_parts(settings)
    place = f"ClickHouse at {parts['host']}:{parts['port']}"
    try:
        return clickhouse_client(settings, database=database)
    except ClickHouseError as error:
        if "AUTHENTICATION_FAILED" in str(error):
            raise StoreRefusedError(f"{place} refuses user {parts['username']}") from error
        raise StoreUnreachableError(f"{place} is not reachable: {first_line(error)}") from error


def number(client: "Client", sql: str) -> int:
    """The one whole number a query gives."""
    return int(client.query(sql).result_rows[0][0])


def identifier(name: str) -> str:
    """`name` quoted for use as an identifier."""
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def literal(value: str) -> str:
    """`value` quoted as a string literal, for DDL, which takes no bound parameters."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:300] if lines else type(error).__name__

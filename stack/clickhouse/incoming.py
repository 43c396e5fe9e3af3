"""From a request to a plan: where the SQL ends and the data begin, and what the statement is to run with."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from stack.clickhouse.access import User
from stack.clickhouse.errors import ClickHouseError
from stack.clickhouse.execute import ExternalTable, Plan
from stack.clickhouse.lexer import sql_text
from stack.clickhouse.request import Request
from stack.clickhouse.sessions import Session
from stack.clickhouse.statement import Statement, Undecided, analyse

# How much of a text may be SQL: the engine's max_query_size, by default and at most.
HEAD_BYTES = 256 << 10
MAX_HEAD_BYTES = 4 << 20
# Longer texts are analysed in a thread, so that other clients need not wait.
_LONG_TEXT = 32 << 10


def _head_bytes(request: Request) -> int:
    wanted = request.settings.get("max_query_size", "")
    return min(MAX_HEAD_BYTES, max(HEAD_BYTES, int(wanted))) if wanted.isdecimal() else HEAD_BYTES


async def read_statement(request: Request, body: AsyncIterator[bytes]) -> tuple[Statement, bytes]:
    """The statement, and what was read of the data that follow it. Raises `ClickHouseError`."""
    query = sql_text(request.protocol.get("query", ""))
    limit = _head_bytes(request)
    sent = bytearray()
    attempts = 0  # an insert's head is mostly complete without the body, or with the first piece of it
    complete = False
    while True:
        if complete or len(sent) >= limit or attempts < 2:
            attempts += 1
            text = sent.decode("latin-1")
            sql = f"{query}\n{text}" if query and (text or not complete) else query or text
            with contextlib.suppress(Undecided):
                statement = await _analyse(sql, limit, complete=complete)
                data = b"" if statement.data_start is None else sql[statement.data_start :].encode("latin-1")
                return statement, data
            if complete or len(sent) >= limit:
                raise ClickHouseError(
                    62,
                    f"Syntax error: Max query size exceeded: {limit} bytes (see max_query_size)",
                    status=413,
                )
        piece = await anext(body, None)
        complete = piece is None
        sent += piece or b""


async def _analyse(sql: str, limit: int, *, complete: bool) -> Statement:
    if len(sql) <= _LONG_TEXT:
        return analyse(sql, complete=complete)
    # Data may follow in the same text, which are not SQL to be cut into tokens.
    return await asyncio.to_thread(analyse, sql[:limit], complete=complete and len(sql) <= limit)


def make_plan(
    request: Request,
    user: User,
    statement: Statement,
    session: Session | None,
    external: tuple[ExternalTable, ...] = (),
) -> Plan:
    """Raises `ClickHouseError` 164 for a GET request that would change data."""
    implied = request.method in ("GET", "HEAD") and not user.readonly
    if implied and session is not None and not statement.reads_only:
        # In a session the read-only mode could not be taken back, so there the statement is judged.
        raise ClickHouseError(
            164,
            "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. "
            "You should use method POST for modifying queries.",
        )
    return Plan(
        query_id=request.query_id,
        statement=statement,
        format=(statement.format if statement.kind != "insert" else None) or request.default_format,
        readonly=user.readonly,
        implied_readonly=implied and session is None,
        session=session,
        database=request.database,
        settings=request.settings,
        parameters=request.parameters,
        external=external,
    )


def refuse_unsupported(request: Request) -> None:
    """Raises `ClickHouseError` for what the protocol has and we don't."""
    for name in ("compress", "decompress"):
        if request.flag(name):
            raise ClickHouseError(
                48,
                f"{name}=1 (ClickHouse's own block format) is not supported here, use HTTP's content encodings",
            )
    if request.protocol.get("role"):
        raise ClickHouseError(48, "Roles are not supported here")

"""From a request to a plan: where the SQL ends and the data begin, and what the statement is to run with."""

from collections.abc import AsyncIterator

from stack.clickhouse.access import User
from stack.clickhouse.errors import ClickHouseError
from stack.clickhouse.execute import ExternalTable, Plan
from stack.clickhouse.lexer import sql_text
from stack.clickhouse.request import Request
from stack.clickhouse.sessions import Session
from stack.clickhouse.statement import Statement, Undecided, analyse

# The part of a text that may be an insert's head, as the engine's max_query_size bounds it ...
HEAD_BYTES = 256 << 10
# ... and a whole statement (a client may raise the engine's own limit up to this).
STATEMENT_BYTES = 16 << 20


async def read_statement(request: Request, body: AsyncIterator[bytes]) -> tuple[Statement, bytes]:
    """The statement, and what was read of the data that follow it. Raises `ClickHouseError`."""
    query = sql_text(request.protocol.get("query", ""))
    sent = bytearray()
    limit = HEAD_BYTES
    while True:
        complete = True
        async for piece in body:
            sent += piece
            if len(sent) >= limit:
                complete = False
                break
        text = sent.decode("latin-1")
        sql = f"{query}\n{text}" if query and text else query or text
        try:
            statement = analyse(sql, complete=complete)
        except Undecided:
            if limit == STATEMENT_BYTES:
                raise ClickHouseError(
                    62, f"Syntax error: Max query size exceeded: {STATEMENT_BYTES} bytes", status=413
                ) from None
            limit = STATEMENT_BYTES
            continue
        data = b"" if statement.data_start is None else sql[statement.data_start :].encode("latin-1")
        return statement, data


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

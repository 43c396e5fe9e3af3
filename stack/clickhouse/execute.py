"""One statement on the engine, in a thread: its surroundings set up, its data and its result through pipes."""

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from stack.clickhouse.engine import Engine, Handle, Outcome
from stack.clickhouse.errors import ClickHouseError
from stack.clickhouse.lexer import plain_text, quote_identifier, quote_string, sql_text
from stack.clickhouse.sessions import Session
from stack.clickhouse.statement import Statement, replace_strings

# Formats whose text may be searched for an id of the engine's to put the client's in its place.
_OUR_CLAUSES = re.compile(
    rb"(\n|\\n)(FROM IN|INTO OUT)FILE \\?'/dev/fd/\d+\\?'( TRUNCATE)? COMPRESSION \\?'none\\?'[ ]?(\n|\\n)FORMAT \w+"
)
_TEXT_FORMATS = ("TabSeparated", "TSV", "CSV", "JSON", "Pretty", "Vertical", "Values")


@dataclass(frozen=True)
class ExternalTable:
    """Data sent with a query, as a temporary table: `structure` is `name Type, ...`; `path` holds the data."""

    name: str
    structure: str
    format: str
    path: str


@dataclass(frozen=True)
class Plan:
    """Everything one statement is to run with."""

    query_id: str
    statement: Statement
    format: str
    readonly: int = 0  # the user's
    implied_readonly: bool = False  # by the method GET, outside a session
    session: Session | None = None
    database: str | None = None
    settings: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    external: tuple[ExternalTable, ...] = ()


def execute(engine: Engine, plan: Plan, *, source: int | None = None, sink: int | None = None) -> Outcome:
    """Run the plan. An insert reads its data from the descriptor `source`, a query writes its result to `sink`;
    other statements' results are in the outcome. Raises `ClickHouseError`."""
    kept = plan.session.handle if plan.session else None
    handle = kept or engine.handle()
    try:
        with _surroundings(handle, plan, restore=kept is not None):
            outcome = _run(engine, handle, plan, source, sink)
            if plan.session and plan.statement.kind == "use":
                plan.session.database = handle.values("SELECT currentDatabase()")[0][0]
            return outcome
    finally:
        if kept is None:
            handle.close()


@contextlib.contextmanager
def _surroundings(handle: Handle, plan: Plan, *, restore: bool) -> Iterator[None]:
    """Database, settings, external tables and read-only mode of one statement; a session's own come back after."""
    handle.set({"log_comment": sql_text(plan.query_id)})
    database = plan.database or (plan.session.database if plan.session else None)
    if database is not None:
        handle.use(database)
    created: list[str] = []
    before: dict[str, str | None] = {}
    try:
        for table in plan.external:
            handle.execute(f"CREATE TEMPORARY TABLE {quote_identifier(table.name)} ({table.structure})")
            created.append(table.name)
            _load(handle, table)
        if plan.readonly and not handle.readonly:
            handle.set({"readonly": str(plan.readonly)})
            handle.readonly = plan.readonly
        if restore and plan.settings:
            before = _current(handle, list(plan.settings))
        handle.set(plan.settings)
        if plan.implied_readonly and plan.settings.get("readonly", "0") == "0":
            handle.set({"readonly": "2"})
        yield
    finally:
        if restore:
            for name, value in before.items():
                literal = "DEFAULT" if value is None else quote_string(value)
                handle.execute(f"SET {quote_identifier(name)} = {literal}")
            for name in created:
                handle.execute(f"DROP TEMPORARY TABLE IF EXISTS {quote_identifier(name)}")


def _current(handle: Handle, names: list[str]) -> dict[str, str | None]:
    """The values of settings; None for one that has its default."""
    listed = ", ".join(quote_string(name) for name in names)
    data = handle.execute(
        f"SELECT name, value, changed FROM system.settings WHERE name IN ({listed})",  # noqa: S608 - quoted
        format="JSONCompactEachRow",
    ).data
    rows = [json.loads(line) for line in data.decode().splitlines()]
    return {name: sql_text(value) if changed else None for name, value, changed in rows}


def _load(handle: Handle, table: ExternalTable) -> None:
    handle.execute(
        f"INSERT INTO {quote_identifier(table.name)} FROM INFILE {quote_string(table.path)} COMPRESSION 'none' "
        f"FORMAT {table.format}"
    )


def _run(engine: Engine, handle: Handle, plan: Plan, source: int | None, sink: int | None) -> Outcome:
    statement, params = plan.statement, plan.parameters
    if statement.kind == "insert":
        return handle.execute(
            f"{statement.head}\nFROM INFILE '/dev/fd/{source}' COMPRESSION 'none' {statement.tail}\n"
            f"FORMAT {statement.format}",
            params=params,
        )
    text = statement.head + (f"FORMAT {statement.format}{statement.tail}" if statement.format else "")
    if statement.kind == "query":
        into = f"INTO OUTFILE '/dev/fd/{sink}' TRUNCATE COMPRESSION 'none'"
        try:
            return handle.execute(
                f"{statement.head}\n{into}\nFORMAT {plan.format}{statement.tail}", params=params
            )
        except ClickHouseError as error:
            if error.code != 62:
                raise
        # A syntax error, or a statement that cannot have INTO OUTFILE: what it says must be about the text as
        # it was sent. It has not run yet.
        return handle.execute(text, format=plan.format, params=params)
    if statement.kind == "kill":
        return _kill(engine, handle, plan, text)
    return handle.execute(text, format=plan.format, params=params)


def _kill(engine: Engine, handle: Handle, plan: Plan, text: str) -> Outcome:
    """`KILL QUERY` speaks of the clients' ids: put the engine's in their place, and back in the answer."""
    ids: dict[str, str] = {}

    def engine_id(value: str) -> str | None:
        query_id = plain_text(value)
        found = engine.engine_id(query_id) if query_id in engine.running() else None
        if found is not None:
            ids[found] = value
        return found

    outcome = handle.execute(replace_strings(text, engine_id), format=plan.format, params=plan.parameters)
    data = outcome.data
    if plan.format.startswith(_TEXT_FORMATS):
        data = _OUR_CLAUSES.sub(b"", data)
        for found, value in ids.items():
            data = data.replace(found.encode(), value.encode("latin-1"))
    return Outcome(
        data,
        outcome.result_rows,
        outcome.result_bytes,
        outcome.read_rows,
        outcome.read_bytes,
        outcome.written_rows,
        outcome.written_bytes,
        outcome.elapsed_ns,
    )

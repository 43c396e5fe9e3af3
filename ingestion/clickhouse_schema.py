"""ClickHouse's side of the schema: the database, our tables, and the named collection that leads to Postgres."""

from importlib import resources
from string import Template
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

from data_quality.contracts import ARRIVAL, EVENTS
from ingestion.clickhouse import connect, first_line, identifier, literal
from ingestion.errors import NamedCollectionDeniedError, StoreRefusedError
from stack.clients import clickhouse_parts
from stack.settings import Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

COLLECTION = "reelgraph_postgres"
# Events that were stored before there was an inbox: their sessions are in it once, until dbt has made its table.
_EVENTS_BEFORE_THE_INBOX = """
INSERT INTO session_inbox
SELECT DISTINCT user_id, session_key FROM playback_events
WHERE (SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'int_session_states') = 0
    AND (SELECT count() FROM session_inbox) + (SELECT count() FROM touched_sessions) = 0
"""
_DENIED = {497, 164}  # ACCESS_DENIED, READONLY


def create_tables(settings: Settings) -> None:
    """Create the URL's database and what is missing in it; changes nothing that is there."""
    database = str(clickhouse_parts(settings)["database"])
    with connect(settings, database="default") as client:
        # Asked first: who may not create a database may still use one that is there.
        found = client.query(
            "SELECT count() FROM system.databases WHERE name = {name:String}", parameters={"name": database}
        ).result_rows[0][0]
        if not found:
            _run(client, f"CREATE DATABASE IF NOT EXISTS {identifier(database)}")
    with connect(settings) as client:
        for statement in table_statements():
            _run(client, statement)
        _run(client, _EVENTS_BEFORE_THE_INBOX)


def table_statements() -> list[str]:
    """The `CREATE TABLE`s, the events' columns as the contract has them."""
    text = resources.files("ingestion").joinpath("sql/clickhouse.sql").read_text()
    filled = Template(text).substitute(
        event_columns=EVENTS.clickhouse_columns(),
        arrival_column=f"    {identifier(ARRIVAL.name)} {ARRIVAL.clickhouse}",
    )
    return [part.strip() for part in filled.split(";\n") if part.strip()]


def define_collection(settings: Settings, name: str = COLLECTION) -> None:
    """Point the named collection at the Postgres of `users` and `videos`, as ClickHouse reaches it.

    ClickHouse keeps it on its own disk; it is set anew each time because address or password may have changed. No
    query can override a key, so none can send the password elsewhere. Without the right to define it (an external
    server), one that an administrator made is taken as it is; raises `NamedCollectionDeniedError` if there is none.
    """
    from clickhouse_connect.driver.exceptions import DatabaseError

    keys = ", ".join(f"{key} = {value} NOT OVERRIDABLE" for key, value in _address(settings).items())
    quoted = identifier(name)
    with connect(settings, database="default") as client:
        try:
            client.command(f"CREATE NAMED COLLECTION IF NOT EXISTS {quoted} AS {keys}")
            client.command(f"ALTER NAMED COLLECTION {quoted} SET {keys}")
        except DatabaseError as error:
            if error.code not in _DENIED:
                raise StoreRefusedError(f"named collection {name}: {_without_secrets(error)}") from None
            if not _collection_works(client, quoted):
                user = clickhouse_parts(settings)["username"]
                raise NamedCollectionDeniedError(
                    f"ClickHouse user {user} may not define the named collection {name}: "
                    f"GRANT NAMED COLLECTION ON {name} TO {user}, or have an administrator create it "
                    "with host, port, user, password and database of DATABASE_URL"
                ) from None


def _address(settings: Settings) -> dict[str, str]:
    """The collection's keys and literals; `postgres_from_clickhouse` is for servers that see Postgres elsewhere."""
    url = make_url(settings.database_url)
    host, port = url.host or "", url.port or 5432
    if settings.postgres_from_clickhouse:
        host, _, given = settings.postgres_from_clickhouse.rpartition(":")
        port = int(given)
    return {
        "host": literal(host),
        "port": str(port),
        "user": literal(url.username or ""),
        "password": literal(str(url.password or "")),
        "database": literal(url.database or ""),
    }


def _collection_works(client: "Client", quoted: str) -> bool:
    from clickhouse_connect.driver.exceptions import DatabaseError

    try:
        client.command(f"SELECT count() FROM postgresql({quoted}, table = 'users')")  # noqa: S608 - our constant
    except DatabaseError:
        return False
    return True


def _run(client: "Client", statement: str) -> None:
    from clickhouse_connect.driver.exceptions import DatabaseError

    try:
        client.command(statement)
    except DatabaseError as error:
        what = next(line for line in statement.splitlines() if not line.startswith("--") and line)
        raise StoreRefusedError(f"{what.rstrip(' (')}: {first_line(error)}") from error


def _without_secrets(error: Exception) -> str:
    """Of an error about a statement that holds a password: the exception's name only, never the statement."""
    return getattr(error, "name", None) or type(error).__name__

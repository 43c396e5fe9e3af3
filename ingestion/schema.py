"""The stores' schema, made or brought up to date: `python -m ingestion.schema bootstrap`."""

import sys
from typing import Annotated

import typer

from ingestion.clickhouse_schema import COLLECTION, create_tables, define_collection
from ingestion.errors import IngestionError
from ingestion.postgres_schema import locked, upgrade
from stack.settings import Settings, SettingsError, load_settings


def bootstrap(settings: Settings, *, collection: str = COLLECTION) -> None:
    """Make both stores ready: Postgres' tables, ClickHouse's, and the named collection between them.

    Changes nothing that is right already, and processes that call it at once take turns. Raises
    `StoreUnreachableError`, `StoreRefusedError`, `NamedCollectionDeniedError`.
    """
    with locked(settings, "schema") as connection:
        upgrade(connection)
        create_tables(settings)
        define_collection(settings, collection)


app = typer.Typer(add_completion=False, help="The schema of ClickHouse and Postgres.")


@app.callback()
def _commands() -> None:
    """Keeps `bootstrap` a command of its own."""


@app.command("bootstrap")
def bootstrap_command(
    collection: Annotated[
        str, typer.Option(help="Name of ClickHouse's collection for Postgres.")
    ] = COLLECTION,
) -> None:
    """Create what is missing in both stores; safe to run again and at once."""
    try:
        bootstrap(load_settings(), collection=collection)
    except (IngestionError, SettingsError) as error:
        print(f"bootstrap: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    print("bootstrap: schema is up to date")


if __name__ == "__main__":
    app()

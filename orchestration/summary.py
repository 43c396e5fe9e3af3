"""What the demo shows at its end: rows, models, a feed, timings, and where to look next."""

import time
from typing import Any

import httpx
from clickhouse_connect.driver.exceptions import ClickHouseError
from rich.console import Console
from rich.table import Table
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from ingestion import ledger
from ingestion.catalogue_load import OF_SOURCES
from ingestion.errors import IngestionError
from ingestion.postgres_schema import locked
from orchestration.records import KINDS
from serving.registry.registry import RegistryError
from serving.security.api_keys import ApiKeysFileError
from serving.security.own_key import KeyNotTakenError, own_key
from stack.clients import clickhouse_client, postgres_engine
from stack.endpoint_trust import endpoint_trust
from stack.settings import Settings

CATALOGUE = ("users", "videos")
EVENTS, TURN = "playback_events", "load of playback_events"
WAREHOUSE = (EVENTS, "watch_sessions", "user_features", "video_features", "interactions")
# What a store may answer, or not, while the summary asks.
STORE_ERRORS = (
    *(httpx.HTTPError, ClickHouseError, SQLAlchemyError, IngestionError, RegistryError, OSError),
    *(ApiKeysFileError, KeyNotTakenError),
)
METRICS = ("ndcg_at_10", "recall_at_20", "precision_at_10")


def print_summary(
    settings: Settings, console: Console, *, pipeline_seconds: float | None, started: float
) -> None:
    console.print()
    console.print(_rows(settings))
    console.print(_models(settings))
    _print_feed(settings, console)
    pipeline = "nothing to do" if pipeline_seconds is None else f"{pipeline_seconds:.0f} s"
    console.print(f"pipeline {pipeline}, demo {time.monotonic() - started:.0f} s\n")
    for name, url in (
        ("Dagster (operator)", settings.dagster_url),
        ("MLflow (data scientist)", settings.mlflow_ui_url),
        ("Endpoint (client apps)", f"{settings.endpoint_url}/docs"),
    ):
        console.print(f"  {name:<26}{url}", highlight=False)
    console.print("\n`make status` shows the services, `make down` stops them.")


def stored_rows(settings: Settings) -> dict[str, int | None]:
    """Rows of every table the summary shows, uploaded videos and tracked events aside; None for a table that is not
    there."""
    rows: dict[str, int | None] = {}
    engine = postgres_engine(settings)
    try:
        for name in CATALOGUE:
            with engine.connect() as connection:
                there: str | None = connection.execute(
                    text("SELECT to_regclass(:name)"), {"name": name}
                ).scalar_one()
                query = f"SELECT count(*) FROM {name} WHERE {OF_SOURCES[name]}"  # noqa: S608 - names of ours
                rows[name] = connection.execute(text(query)).scalar_one() if there else None
    finally:
        engine.dispose()
    client = clickhouse_client(settings)
    try:
        for name in WAREHOUSE:
            exists = client.command("EXISTS TABLE {t:Identifier}", parameters={"t": name})
            query = "SELECT count() FROM {t:Identifier}"
            found = client.query(query, parameters={"t": name}).result_rows if int(str(exists)) else [[None]]
            rows[name] = found[0][0]
        if rows[EVENTS] is not None:
            with locked(
                settings, TURN, timeout_s=60
            ):  # a segment of tracked events is there and counted, or neither
                rows[EVENTS] = ledger.rows_of_sources(client)
    finally:
        client.close()
    return rows


def _rows(settings: Settings) -> Table:
    table = Table("table", "rows", title="Rows", title_justify="left")
    for name, rows in stored_rows(settings).items():
        store = "Postgres" if name in CATALOGUE else "ClickHouse"
        table.add_row(f"{name} ({store})", "missing" if rows is None else f"{rows:,}")
    return table


def _models(settings: Settings) -> Table:
    from serving.registry import registry

    table = Table("model", "version", *METRICS, "", title="Models", title_justify="left")
    champion = registry.by_alias(settings, "champion")
    for kind in KINDS:
        version = registry.by_alias(settings, kind)
        if version is None:
            continue
        metrics = registry.metrics_of(settings, version)
        cells = [f"{metrics[name]:.4f}" if name in metrics else "" for name in METRICS]
        mark = "champion" if champion and champion.version == version.version else ""
        table.add_row(kind, str(version.version), *cells, mark)
    return table


def known_user(settings: Settings) -> str:
    """The person with the most finished sessions: somebody every model has something to say about."""
    client = clickhouse_client(settings)
    rows = client.query(
        "SELECT user_id FROM watch_sessions GROUP BY user_id ORDER BY sum(is_finished) DESC, user_id LIMIT 1"
    ).result_rows
    client.close()
    return str(rows[0][0])


def _print_feed(settings: Settings, console: Console) -> None:
    user_id = known_user(settings)
    with httpx.Client(timeout=10, verify=endpoint_trust(settings)) as http, own_key(settings, http):
        began = time.perf_counter()
        response = http.get(
            f"{settings.endpoint_url}/api/v1/recommendations/feed", params={"user_id": user_id, "limit": 10}
        )
        milliseconds = (time.perf_counter() - began) * 1000
    response.raise_for_status()
    feed: dict[str, Any] = response.json()
    console.print(
        f"Feed of user {user_id}: {feed['source']}, model version {feed['model']['version']}, "
        f"bundle {feed['bundle']}, {milliseconds:.0f} ms",
        style="italic",
    )
    table = Table("#", "video", "title", "category", "score")
    for item in feed["items"]:
        table.add_row(
            str(item["rank"]), item["video_id"], item["title"], item["category"] or "", f"{item['score']:.3f}"
        )
    console.print(table)

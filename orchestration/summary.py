"""What the demo shows at its end: rows, models, a feed, timings, and where to look next."""

import time
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from stack.clients import clickhouse_client, postgres_engine
from stack.settings import Settings

WAREHOUSE = ("playback_events", "watch_sessions", "user_features", "video_features", "interactions")
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
        ("MLflow (data scientist)", settings.mlflow_tracking_uri),
        ("Endpoint (client apps)", f"{settings.endpoint_url}/docs"),
    ):
        console.print(f"  {name:<26}{url}", highlight=False)
    console.print("\n`make status` shows the services, `make down` stops them.")


def _rows(settings: Settings) -> Table:
    table = Table("table", "rows", title="Rows", title_justify="left")
    engine = postgres_engine(settings)
    try:
        with engine.connect() as connection:
            for name in ("users", "videos"):
                count: int = connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()  # noqa: S608
                table.add_row(f"{name} (Postgres)", f"{count:,}")
    finally:
        engine.dispose()
    client = clickhouse_client(settings)
    for name in WAREHOUSE:
        rows = client.query("SELECT count() FROM {t:Identifier}", parameters={"t": name}).result_rows
        table.add_row(f"{name} (ClickHouse)", f"{rows[0][0]:,}")
    client.close()
    return table


def _models(settings: Settings) -> Table:
    from serving import registry

    table = Table("model", "version", *METRICS, "", title="Models", title_justify="left")
    champion = registry.by_alias(settings, "champion")
    for kind in ("svd", "two-tower", "popularity"):
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
    began = time.perf_counter()
    response = httpx.get(
        f"{settings.endpoint_url}/api/v1/recommendations/feed",
        params={"user_id": user_id, "limit": 10},
        timeout=10,
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

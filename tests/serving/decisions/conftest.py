"""A database of the decision log's own, and decisions by hand."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from clickhouse_connect.driver.client import Client

from ingestion.clickhouse_schema import create_tables
from serving.decisions.decision import Decision
from stack.clients import clickhouse_client
from stack.settings import Settings

DATABASE = "decision_log_tests"
AT_MS = 1_795_000_000_123
"""2026-11-18T09:46:40.123Z; a row of years ago would be past its time to live."""


def decision(number: int = 0, **changes: Any) -> Decision:
    """Two videos for ann, told apart by the request's number."""
    content: dict[str, Any] = {
        "request_id": str(UUID(int=number)),
        "user_id": "ann",
        "at_ms": AT_MS + number,
        "route": "/api/v1/recommendations/feed",
        "bundle": "5d0c1a2b3c4d5e6f",
        "kind": "two-tower",
        "version": 4,
        "source": "personal",
        "ranks": [1, 2],
        "video_ids": ["v7", "v1"],
        "scores": [0.5, 0.25],
        "propensities": [1.0, 0.1],
        "sources": ["two-tower", "exploration"],
        "latency_ms": 3.5,
        "variants": {"diversity": "more"},
        **changes,
    }
    return Decision(**content)


@pytest.fixture
def settings_of_log(clickhouse: Settings, tmp_path: Path) -> Iterator[Settings]:
    """A home of its own; the database is there, its tables are not."""
    url = clickhouse.clickhouse_url.rsplit("/", 1)[0] + f"/{DATABASE}"
    with clickhouse_client(clickhouse, database="default") as server:
        server.command(f"CREATE DATABASE {DATABASE}")
        yield clickhouse.model_copy(update={"home": tmp_path / "home", "clickhouse_url_override": url})
        server.command(f"DROP DATABASE {DATABASE}")


@pytest.fixture
def store(settings_of_log: Settings) -> Settings:
    """The same with the tables."""
    create_tables(settings_of_log)
    return settings_of_log


@pytest.fixture
def client(store: Settings) -> Iterator[Client]:
    with clickhouse_client(store) as connected:
        yield connected


@pytest.fixture
def stored(client: Client) -> Callable[[], int]:
    """How many requests are in the table; a request counts once."""

    def count() -> int:
        return int(client.query("SELECT count() FROM feed_decisions FINAL").result_rows[0][0])

    return count

"""A warehouse of the tests' own: a database in each store, the dbt project built into it, hand-written events."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from stack.clients import postgres_engine
from stack.dbt_environment import dbt_environment
from stack.settings import PROJECT_ROOT, Settings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client
    from dbt.cli.main import dbtRunner
    from dbt.contracts.graph.manifest import Manifest

NAME = "dbt_tests"
COLLECTION = "dbt_tests_postgres"
T0 = datetime(2022, 5, 1, 23, 59, 40, tzinfo=UTC)
"""Where a test's seconds count from: 20 seconds before midnight."""

JOURNAL = ["session_inbox", "touched_sessions", "session_durations", "activity_inbox", "touched_days"]
"""What the increments hand to each other; ingestion makes the tables."""
WORK_LEFT = (
    "SELECT (SELECT count() FROM session_inbox), (SELECT count() FROM touched_sessions),"
    " (SELECT count() FROM activity_inbox), (SELECT count() FROM touched_days)"
)
"""Rows of the journal that only a run to come will take away."""


class DbtRunError(Exception):
    """A dbt command did not succeed; the message has what it said of each failing node."""


def event_id(name: str) -> uuid.UUID:
    """The same name gives the same id: how a test says "this event again"."""
    return uuid.uuid5(uuid.NAMESPACE_OID, name)


@dataclass(frozen=True)
class Event:
    """A playback event in a test's terms; `at` and `arrived` are seconds from `T0`, `arrived` None for now."""

    session: str
    type: str
    at: float
    position: int | None = None
    user: str = "u1"
    video: str = "v1"
    arrived: float | None = None
    name: str = ""
    feed_rank: int = 0
    scroll: float = 0.0

    @property
    def when(self) -> datetime:
        return T0 + timedelta(seconds=self.at)

    @property
    def id(self) -> uuid.UUID:
        return event_id(self.name or f"{self.session}|{self.user}|{self.video}|{self.type}|{self.at}")

    def row(self) -> list[Any]:
        when = self.when
        arrived = datetime.now(UTC) if self.arrived is None else T0 + timedelta(seconds=self.arrived)
        return [
            self.id, self.user, self.video, self.session, self.type, self.feed_rank, when,
            self.scroll, self.position, "ios", "wifi", "", when.hour, when.isoweekday(), "", arrived,
        ]  # fmt: skip


COLUMNS = [
    "event_id", "user_id", "video_id", "session_id", "event_type", "position_index", "impression_timestamp",
    "scroll_speed_ms", "playback_position_ms", "device_type", "network_type", "geo_location", "time_of_day",
    "day_of_week", "request_id", "created_at",
]  # fmt: skip


@dataclass
class Warehouse:
    """dbt and both stores, at databases of their own."""

    settings: Settings
    client: "Client"
    manifest: "Manifest | None" = field(default=None, repr=False)

    def dbt(self, *arguments: str, **variables: object) -> dict[str, str]:
        """Run dbt in this process; the status of each node by name. Raises `DbtRunError` if one did not pass."""
        statuses, messages = self.try_dbt(*arguments, **variables)
        if messages:
            raise DbtRunError("\n".join(messages))
        return statuses

    def try_dbt(self, *arguments: str, **variables: object) -> tuple[dict[str, str], list[str]]:
        """As `dbt`, but the messages of what failed are returned."""
        results = self._run(*arguments, **variables)
        bad = [r for r in results if str(r.status) not in {"success", "pass"}]
        statuses = {r.node.name: str(r.status) for r in results}
        return statuses, [f"{r.node.name}: {r.status}: {r.message}" for r in bad]

    def list_nodes(self, *arguments: str) -> list[str]:
        """The names of the nodes that a selection has."""
        return list(self._run("ls", "--output", "name", *arguments))

    def _run(self, *arguments: str, **variables: object) -> Any:
        from dbt.cli.main import dbtRunner

        folder = str(PROJECT_ROOT / "dbt_project")
        values = json.dumps({"postgres_collection": COLLECTION, **variables})
        options = ["--project-dir", folder, "--profiles-dir", folder, "--vars", values]
        with pytest.MonkeyPatch.context() as patch:
            for name, value in dbt_environment(self.settings).items():
                patch.setenv(name, value)
            if self.manifest is None:  # parsed once: it is most of a small run's time
                self.manifest = _invoke(dbtRunner(), ["parse", *options])
            return _invoke(dbtRunner(manifest=self.manifest), [*arguments, *options])

    def add(self, events: Sequence[Event]) -> None:
        """Deliver these events, in this order."""
        self.client.insert("playback_events", [e.row() for e in events], COLUMNS)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.client.query(sql, tz_mode="aware").result_rows]

    def everything(self, table: str) -> list[tuple[Any, ...]]:
        return self.rows(f"SELECT * FROM {table} ORDER BY ALL")

    def catalogue(self, sql: str, **values: object) -> None:
        """Run a statement on the Postgres of users and videos."""
        engine = postgres_engine(self.settings)
        with engine.begin() as connection:
            connection.execute(text(sql), values)
        engine.dispose()

    def tables(self) -> set[str]:
        """The models that are tables."""
        nodes = self.manifest.nodes.values() if self.manifest is not None else []
        return {n.name for n in nodes if n.resource_type == "model" and n.config.materialized != "view"}

    def clear(self) -> None:
        """Nothing in either store, no table built but staging's; the views stay, over tables that are not there."""
        staging = ("stg_users", "stg_videos")
        for (name,) in self.rows("SELECT name FROM system.tables WHERE database = currentDatabase()"):
            if name in ("playback_events", *staging, *JOURNAL):
                self.client.command(f"TRUNCATE TABLE {name}")
            elif name.split("__")[0] in self.tables():  # also what a killed run left of it
                self.client.command(f"DROP TABLE {name}")
        self.catalogue("TRUNCATE users, videos")


def _invoke(runner: "dbtRunner", arguments: list[str]) -> Any:
    """The command's result; raises `DbtRunError` if it did not get as far as having one."""
    outcome = runner.invoke(["--quiet", *arguments])
    if outcome.exception is not None:
        raise DbtRunError(f"dbt {arguments[0]}: {outcome.exception}")
    return outcome.result

"""What dbt sends for the incremental models, recorded from real runs and sent again without dbt.

A run of dbt takes seconds, nearly all of them dbt's own. Its statements are the same whatever the data is
(test_property.py checks that), so they are recorded once and replayed for each of many streams of events.
"""

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from .warehouse import JOURNAL, Warehouse

MODELS = ("int_session_states", "int_daily_user_activity", "int_daily_video_activity")
_NODE = re.compile(r'^/\*.*"node_id": "model\.reelgraph\.(\w+)".*\*/\s*')
_RUN = re.compile(r"(?<=__dbt_new_data_)[0-9a-f_]{36}")


@dataclass(frozen=True)
class Statement:
    model: str
    sql: str


@dataclass(frozen=True)
class Recording:
    """The statements that change something, in the order of the models; settings of dbt's session."""

    statements: tuple[Statement, ...]
    settings: Mapping[str, Any]

    def of(self, model: str) -> list[str]:
        return [s.sql for s in self.statements if s.model == model]


@contextmanager
def intercepted(act: Callable[[str, Mapping[str, Any]], None]) -> Iterator[None]:
    """`act` sees each statement that changes something, with its session's settings, before ClickHouse does."""
    from dbt.adapters.clickhouse.httpclient import ChHttpClient

    send = ChHttpClient.command

    def command(self: Any, sql: str, **options: Any) -> Any:
        act(sql, self._conn_settings)
        return send(self, sql, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChHttpClient, "command", command)
        yield


def record(warehouse: Warehouse, *arguments: str) -> Recording:
    """Run dbt on `MODELS`, really, and keep what it sends. Comments on tables are left out."""
    sent: list[Statement] = []
    settings: dict[str, Any] = {}

    def keep(sql: str, of_session: Mapping[str, Any]) -> None:
        node = _NODE.match(sql)
        if node and "modify comment" not in sql:
            # Each run names its temporary tables anew.
            sent.append(Statement(node[1], _RUN.sub("{run}", sql[node.end() :].strip())))
            settings.update({k: v for k, v in of_session.items() if k != "session_id"})

    with intercepted(keep):
        warehouse.dbt("run", "-s", *MODELS, *arguments)
    # dbt builds the two daily tables at the same time; they share no table, so one after the other is the same.
    return Recording(tuple(sorted(sent, key=lambda s: MODELS.index(s.model))), settings)


@dataclass(frozen=True)
class Replay:
    """An increment, and the rows that a full rebuild would have, by recorded statements."""

    warehouse: Warehouse
    increment: Recording
    full: Recording

    def run(self, meanwhile: Mapping[int, Callable[[], None]], kill_after: int | None = None) -> None:
        """One increment. `meanwhile[k]` happens after its first k statements; after `kill_after` of them it ends."""
        run = str(uuid.uuid4()).replace("-", "_")
        statements = self.increment.statements[:kill_after]
        for done, statement in enumerate(statements):
            if done in meanwhile:
                meanwhile[done]()
            self._send(statement.sql.replace("{run}", run), self.increment)
        for when, act in meanwhile.items():
            if when >= len(statements):
                act()

    def prepare(self) -> None:
        """Make the tables that `rebuild` fills."""
        for model in MODELS:
            create = next(sql for sql in self.full.of(model) if sql.startswith("create table"))
            self._send(_elsewhere(create, model), self.full)

    def rebuild(self, model: str) -> None:
        """Fill `<model>__rebuilt` with the rows that `dbt run --full-refresh` would give the model now."""
        self.warehouse.client.command(f"TRUNCATE TABLE {model}__rebuilt")
        insert = next(
            sql for sql in self.full.of(model) if sql.startswith("insert into") and "__dbt_tmp" in sql
        )
        self._send(_elsewhere(insert, model), self.full)

    def reset(self) -> None:
        """As before the first event; the tables are there."""
        for (name,) in self.warehouse.rows(
            "SELECT name FROM system.tables WHERE name LIKE '%__dbt_new_data_%'"
        ):
            self.warehouse.client.command(f"DROP TABLE {name}")
        for name in ("playback_events", "stg_videos", *MODELS, *JOURNAL):
            self.warehouse.client.command(f"TRUNCATE TABLE {name}")

    def set_durations(self, durations: Mapping[str, int]) -> None:
        """What dbt would have staged of the catalogue."""
        self.warehouse.client.command("TRUNCATE TABLE stg_videos")
        if durations:
            self.warehouse.client.insert("stg_videos", list(durations.items()), ["video_id", "duration_ms"])

    def columns(self, model: str) -> str:
        """All of them, as values that can be compared."""
        return "* EXCEPT viewers, length(viewers) AS viewers" if "video" in model else "*"

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        return self.warehouse.rows(f"SELECT {self.columns(table)} FROM {table} ORDER BY ALL")

    def _send(self, sql: str, recording: Recording) -> None:
        self.warehouse.client.command(sql, settings=dict(recording.settings))


def _elsewhere(sql: str, model: str) -> str:
    """dbt fills a new table and swaps it with the old; here the new one stays beside it."""
    assert f"`{model}__dbt_tmp`" in sql
    return sql.replace(f"`{model}__dbt_tmp`", f"`{model}__rebuilt`")

"""People in an experiment: assigned and logged as the endpoint does it, with the events and sessions they have."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
from clickhouse_connect.driver.client import Client

from ingestion.clickhouse_schema import create_tables
from serving.decisions.decision import Decision
from serving.decisions.row import line_of
from serving.decisions.shipping import DecisionShipper
from serving.experiments.assignment import Splits, assign
from serving.experiments.declaration import Declaration
from stack.clients import clickhouse_client
from stack.settings import Settings

START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=20)
"""Rows of years ago would be past the log's time to live."""

# What dbt's view has, as far as the report reads it.
_SESSIONS = """
CREATE TABLE watch_sessions (
    session_id String, user_id String, video_id String,
    started_at DateTime64(3, 'UTC'), ended_at DateTime64(3, 'UTC'), last_hour DateTime64(3, 'UTC'),
    effective_watch_time_ms Int64, is_finished UInt8, is_valid_view UInt8
) ENGINE = MergeTree ORDER BY (user_id, started_at)
"""


@dataclass
class World:
    """Rows to be written; each method adds what one person did."""

    settings: Settings
    decisions: list[Decision] = field(default_factory=list)
    events: list[list[Any]] = field(default_factory=list)
    sessions: list[list[Any]] = field(default_factory=list)

    def list_made(
        self, user: str, at: datetime, variants: dict[str, str], *, items: int = 2, forced: bool = False
    ) -> str:
        """A list of `items` videos v0, v1, ...; returns its request id."""
        request_id = str(UUID(int=len(self.decisions) + 1))
        videos = [f"v{i}" for i in range(items)]
        ones = [1.0] * items
        self.decisions.append(
            Decision(
                request_id, user, round(at.timestamp() * 1000), "feed", "b", "svd", 1, "personal",
                range(1, items + 1), videos, ones, ones, ["svd"] * items, 2.0, variants=variants, forced=forced,
            )
        )  # fmt: skip
        return request_id

    def played(self, user: str, video: str, at: datetime, request_id: str) -> None:
        self.events.append(
            [str(UUID(int=len(self.events) + 1)), user, video, "s", "view_start", at, request_id]
        )

    def watched(
        self, user: str, at: datetime, ms: int, *, finished: bool = False, valid: bool = True
    ) -> None:
        end = at + timedelta(milliseconds=ms)
        hour = end.replace(minute=0, second=0, microsecond=0)
        number = f"{len(self.sessions)}"
        self.sessions.append([number, user, "v0", at, end, hour, ms, int(finished), int(valid)])

    def write(self) -> None:
        """Into the settings' database, which need not have tables."""
        create_tables(self.settings)
        content = b"".join(line_of(decision) + b"\n" for decision in self.decisions)
        if content:
            DecisionShipper(self.settings).ship(content, "s-1")
        with clickhouse_client(self.settings) as client:
            self._insert(client)

    def _insert(self, client: Client) -> None:
        client.command("DROP TABLE IF EXISTS watch_sessions")
        client.command(_SESSIONS)
        if self.sessions:
            client.insert("watch_sessions", self.sessions)
        if self.events:
            columns = ["event_id", "user_id", "video_id", "session_id", "event_type", "impression_timestamp"]
            client.insert("playback_events", self.events, column_names=[*columns, "request_id"])

    def clock(self, at: datetime) -> None:
        """Somebody outside every experiment does something: the data reach until then."""
        self.played("passer-by", "v0", at, "")


def populate(
    world: World, declaration: Declaration, users: Iterable[str], seed: int = 0, lift: float = 0.0
) -> None:
    """Each comes at a time of the first ten days, gets what the endpoint would give, and behaves by a taste of their
    own that their past shows too; `lift`: how much more whoever is in a second variant watches."""
    rng = np.random.default_rng(seed)
    splits = Splits(declaration).active(datetime.now(UTC))
    for user in users:
        variants = dict(assign(splits, user).variants)
        at = START + timedelta(days=float(rng.uniform(0, 10)))
        taste = float(rng.lognormal(0, 0.5))
        treated = 1 + lift * any(variant == "more" for variant in variants.values())
        for _ in range(rng.poisson(2)):
            world.watched(user, at - timedelta(days=float(rng.uniform(1, 10))), int(20_000 * taste))
        for number in range(1 + rng.poisson(0.5)):
            when = at + timedelta(hours=2 * number)
            request_id = world.list_made(user, when, variants, items=10)
            for video in range(rng.binomial(10, min(1.0, 0.3 * treated))):
                start = when + timedelta(seconds=60 * video)
                world.played(user, f"v{video}", start, request_id)
                ms = int(rng.exponential(20_000 * taste * treated)) + 400
                world.watched(user, start, ms, finished=bool(rng.random() < 0.4))
    world.clock(START + timedelta(days=15))

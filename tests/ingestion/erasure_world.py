"""People with ids made to be mistaken for each other, in every place that can hold one."""

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from clickhouse_connect.driver.client import Client
from redis import Redis
from sqlalchemy import text

from data_quality.contracts import EVENTS
from ingestion import ledger
from ingestion.event_load import load_events
from ingestion.postgres_schema import connect
from ingestion.report import LoadReport
from stack.clients import redis_client
from stack.settings import Settings

ERASED = 'zoë\'s "50%" *?[a-z]\\{x}`;--'
"""Quotes, wildcards of LIKE and of Redis, a backslash, a brace, beyond ASCII."""
OTHERS = (
    ERASED + ":x",  # the erased id is a prefix of it, up to a colon
    ERASED[:-1],  # a prefix of the erased id
    'zoë\'s "50 percent%" anything b\\{x}`;--',  # what the wildcards would match
    "ann",
)
EVERYBODY = (ERASED, *OTHERS)
DAYS = (date(2024, 5, 1), date(2024, 5, 2))
EVENTS_EACH = 4
SESSIONS_EACH = 2

DERIVED = {
    "int_session_states": "(session_key UInt64, user_id String, hour DateTime('UTC'))",
    "int_daily_user_activity": "(activity_date Date32, user_id String)",
    "user_features": "(user_id String)",
    "user_engagement": "(user_id String)",
    "user_features_hourly": "(user_id String, hour DateTime('UTC'))",
    "stg_users": "(user_id String)",
    # A table that the erasure was never told of.
    "a_later_table": "(day Date, user_id LowCardinality(Nullable(String)))",
}
VIEWS = {
    "watch_sessions": "SELECT * FROM int_session_states",
    "interactions": "SELECT * FROM watch_sessions",
}
VIEWERS = "int_daily_video_activity"
INBOX = "activity_inbox"
REDIS_KEYS = (
    "user:{}:recent_items",
    "user:{}:recent_categories",
    "user:{}:last_active",
    "user:{}:met",
    "user_features:{}",
)


def event(user: str, number: int, **changes: Any) -> dict[str, Any]:
    """The user's n-th event; the same again for the same arguments."""
    return {
        "event_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{user}/{number}")),
        "user_id": user,
        "video_id": "v1",
        "session_id": f"s{number % SESSIONS_EACH}",
        "event_type": "view_start",
        "position_index": 0,
        "impression_timestamp": datetime(2024, 5, 1 + number % 2, 12, tzinfo=UTC),
        "scroll_speed_ms": 0.0,
        "playback_position_ms": None,
        "device_type": "ios",
        "network_type": "wifi",
        "geo_location": "",
        "time_of_day": 12,
        "day_of_week": 3,
        "request_id": "",
        **changes,
    }


def events(*people: str, **changes: Any) -> pa.RecordBatch:
    rows = [event(user, number, **changes) for user in people for number in range(EVENTS_EACH)]
    return pa.RecordBatch.from_pylist(rows, schema=EVENTS.schema)


class Given:
    """A source of the events and users that a test gives it."""

    def __init__(self, name: str, batches: list[pa.RecordBatch], users: pa.Table | None = None) -> None:
        self.name, self._batches, self._users = name, batches, users

    def fingerprint(self) -> str:
        return f"{self.name} of the test"

    def validate(self) -> None: ...

    @property
    def rows_read(self) -> int:
        return sum(batch.num_rows for batch in self._batches)

    def users(self) -> pa.Table:
        assert self._users is not None
        return self._users

    def videos(self) -> pa.Table:
        raise AssertionError("erasure concerns people and events: no test of it loads videos")

    def events(self) -> Any:
        return iter(self._batches)

    def notes(self) -> dict[str, int]:
        return {}


@dataclass
class World:
    """The stores of one test, filled with everybody."""

    settings: Settings
    client: Client

    @property
    def redis(self) -> Redis:
        return redis_client(self.settings)

    def fill(self) -> None:
        self._fill_clickhouse()
        self.fill_users(*EVERYBODY)
        self.fill_redis(*EVERYBODY)
        self.fill_files(*EVERYBODY)

    def _fill_clickhouse(self) -> None:
        client = self.client
        client.insert_arrow("playback_events", pa.Table.from_batches([events(*EVERYBODY)]))
        loaded = len(EVERYBODY) * EVENTS_EACH
        now = datetime.now(UTC)
        ledger.write(
            client,
            ledger.LedgerRow(uuid.UUID(int=7), "api", "1", now, loaded, loaded, loaded, finished_at=now),
        )
        bad = [
            [uuid.UUID(int=7), "api", "position_index", "too small", json.dumps({"user_id": u, "a": 1})]
            for u in EVERYBODY
        ]
        client.insert("quarantined_events", bad, ["batch_id", "source", "field", "reason", "event"])
        for table, columns in DERIVED.items():
            client.command(f"CREATE TABLE {table} {columns} ENGINE = MergeTree ORDER BY tuple()")
            client.insert(table, [[u] for u in EVERYBODY], ["user_id"])
        for view, query in VIEWS.items():
            client.command(f"CREATE VIEW {view} AS {query}")
        client.command(
            f"CREATE TABLE {VIEWERS} (video_id String, activity_date Date32,"
            " viewers Array(UInt64)) ENGINE = MergeTree ORDER BY video_id"
        )
        self.see(DAYS[0], *EVERYBODY)
        self.see(DAYS[1], *OTHERS)

    def see(self, day: date, *people: str) -> None:
        """The viewers of one video on one day, as dbt writes them."""
        self.client.command(
            f"INSERT INTO {VIEWERS} SELECT 'v1', {{day:Date32}}, arraySort(groupUniqArray(cityHash64(user))) "
            "FROM (SELECT arrayJoin({people:Array(String)}) AS user)",
            parameters={"day": day, "people": list(people)},
        )

    def fill_users(self, *people: str) -> None:
        with connect(self.settings) as connection:
            for user in people:
                connection.execute(text("INSERT INTO users (user_id) VALUES (:user)"), {"user": user})
            connection.commit()

    def fill_redis(self, *people: str) -> None:
        with self.redis as redis:
            for user in people:
                for key in REDIS_KEYS:
                    redis.set(key.format(user), user)

    def fill_files(self, *people: str) -> None:
        home = self.settings.home
        table = pa.table({"user_id": list(people), "video_id": ["v1"] * len(people)})
        for folder in (self.settings.training_set_dir, home / "dvc_cache" / "files" / "md5" / "ab"):
            folder.mkdir(parents=True)
        pq.write_table(table, self.settings.training_set_dir / "interactions.parquet")
        pq.write_table(table, home / "dvc_cache" / "files" / "md5" / "ab" / "cd")
        listing = [{"md5": "abcd", "relpath": "interactions.parquet"}]
        (home / "dvc_cache" / "files" / "md5" / "ab" / "ee.dir").write_text(json.dumps(listing))
        for folder in (
            self.settings.bentoml_home / "bentos" / "reelgraph" / "b1" / "src" / "bundle" / "models" / "svd",
            self.settings.objects_dir / "mlflow" / "1" / "models" / "m-1" / "artifacts" / "factors",
        ):
            folder.mkdir(parents=True)
            np.savez(folder / "arrays.npz", user_ids=np.array(sorted(people)))

    def deliver(self, *batches: pa.RecordBatch) -> LoadReport:
        """Send these events again, as a client that was cut off does (its load is unfinished in the ledger)."""
        source = Given("web", list(batches))
        ledger.write(
            self.client, ledger.LedgerRow(uuid.uuid4(), source.name, source.fingerprint(), datetime.now(UTC))
        )
        return load_events(self.settings, source)

    # --- asking, without any of the code under test -------------------------------------------------------------

    def where(self, user: str) -> dict[str, int]:
        """How often each place of the stores has the user; places without them are left out."""
        found = {
            table: self.count(f"SELECT count() FROM {table} WHERE user_id = {{user:String}}", user)
            for table in ("playback_events", "session_inbox", *DERIVED, *VIEWS)
        }
        found["quarantined_events"] = self.count(
            "SELECT count() FROM quarantined_events WHERE JSONExtractString(event, 'user_id') = {user:String}",
            user,
        )
        found |= self.where_stored(user)
        with self.redis as redis:
            found["redis"] = sum(int(redis.exists(key.format(user))) for key in REDIS_KEYS)
        return {place: number for place, number in found.items() if number}

    def where_stored(self, user: str) -> dict[str, int]:
        """As `where`, of what loads write alone."""
        with connect(self.settings) as connection:
            users = connection.execute(
                text("SELECT count(*) FROM users WHERE user_id = :user"), {"user": user}
            ).scalar_one()
        events = self.count("SELECT count() FROM playback_events WHERE user_id = {user:String}", user)
        return {place: number for place, number in (("users", users), ("playback_events", events)) if number}

    def count(self, sql: str, user: str = "") -> int:
        return int(self.client.query(sql, parameters={"user": user}).result_rows[0][0])

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.client.query(sql).result_rows]

    def balance(self) -> list[tuple[int, int, int, int]]:
        """(sent, stored, duplicate, quarantined) of each load."""
        return [(row.sent, row.stored, row.duplicate, row.quarantined) for row in ledger.read(self.client)]


FULL = {
    "playback_events": EVENTS_EACH,
    "session_inbox": SESSIONS_EACH,
    **dict.fromkeys([*DERIVED, *VIEWS], 1),
    "quarantined_events": 1,
    "users": 1,
    "redis": len(REDIS_KEYS),
}
"""What `World.where` says of somebody who was not erased."""

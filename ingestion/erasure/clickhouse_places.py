"""The user in ClickHouse: every table with a column `user_id`, whoever made it, and those that hold ids otherwise."""

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingestion.clickhouse import identifier, number
from ingestion.erasure.book import User
from ingestion.erasure.places import Place
from ingestion.erasure.receipt import Entry, State

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

# What these queries say of the user must not outlive them in the server's query log.
_UNLOGGED = {"log_queries": 0}
_VIEW_TIMEOUT_S = 30
# Places that must be in a receipt also when the tables are not there (yet); others are found by their columns.
EXPECTED = (
    "playback_events", "session_inbox", "touched_sessions", "int_session_states", "int_daily_user_activity",
    "user_features", "user_engagement", "user_features_hourly", "stg_users", "watch_sessions", "interactions",
)  # fmt: skip
QUARANTINE, VIEWERS, INBOX = "quarantined_events", "int_daily_video_activity", "activity_inbox"


@dataclass
class Rows:
    """Rows of a table that are the user's by `owner`, a SQL expression (ours) that gives a row's user id."""

    client: "Client"
    table: str
    owner: str = "toString(user_id)"

    @property
    def name(self) -> str:
        return f"ClickHouse {self.table}"

    def erase(self, user: User) -> int:
        """Rewrites the parts that hold the user, also rows that a lightweight DELETE only hid.

        A mutation's text stays in `system.mutations` and beside the table: it names the user by a hash whose key
        is drawn for this one statement.
        """
        there = self._count(user, hidden=True)
        if not there:
            return 0
        if there > self._count(user):
            self._mutate("APPLY DELETED MASK")
        k0, k1 = secrets.randbits(64), secrets.randbits(64)
        hashed = f"hex(sipHash128Keyed((toUInt64({k0}), toUInt64({k1})), %s))"
        [[wanted]] = self.client.query(
            f"SELECT {hashed % '{user:String}'}", parameters={"user": user.id}, settings=_UNLOGGED
        ).result_rows
        self._mutate(f"DELETE WHERE {hashed % self.owner} = '{wanted}'")
        return there

    def look(self, user: User) -> Entry:
        left = self._count(user, hidden=True)
        unfinished = self._server_counts("system.mutations", "NOT is_done")
        if left or unfinished:
            note = f"{unfinished} mutations are not done" if unfinished else ""
            return Entry(self.name, State.HELD, left=left, note=note)
        old = self._server_counts("system.parts", "NOT active")
        note = f"{old} replaced parts leave the disk within old_parts_lifetime (8 min)" if old else ""
        return Entry(self.name, State.GONE, note=note)

    def _count(self, user: User, *, hidden: bool = False) -> int:
        return int(
            self.client.query(
                f"SELECT count() FROM {identifier(self.table)} WHERE {self.owner} = {{user:String}}",  # noqa: S608
                parameters={"user": user.id},
                settings={**_UNLOGGED, "apply_deleted_mask": 0 if hidden else 1},
            ).result_rows[0][0]
        )

    def _mutate(self, what: str) -> None:
        self.client.command(f"ALTER TABLE {identifier(self.table)} {what}", settings={"mutations_sync": 2})

    def _server_counts(self, source: str, condition: str) -> int:
        found = self.client.query(
            f"SELECT count() FROM {source} WHERE database = currentDatabase() "  # noqa: S608 - our constants
            f"AND table = {{table:String}} AND {condition}",
            parameters={"table": self.table},
        )
        return int(found.result_rows[0][0])


@dataclass
class View:
    """A view holds nothing of its own; it is counted to see that its tables are all that were erased."""

    client: "Client"
    table: str

    @property
    def name(self) -> str:
        return f"ClickHouse {self.table}"

    def erase(self, user: User) -> int:
        return 0

    def look(self, user: User) -> Entry:
        from clickhouse_connect.driver.exceptions import ClickHouseError

        try:
            left = self.client.query(
                f"SELECT count() FROM {identifier(self.table)} WHERE toString(user_id) = {{user:String}}",  # noqa: S608
                parameters={"user": user.id},
                settings={**_UNLOGGED, "max_execution_time": _VIEW_TIMEOUT_S},
            ).result_rows[0][0]
        except ClickHouseError as error:
            # A view of a table that is not there, or too large to count through: its tables have entries of their own.
            note = f"a view, holds nothing of its own; counting it failed ({type(error).__name__})"
            return Entry(self.name, State.UNCHECKED, note=note)
        return Entry(self.name, State.HELD if left else State.GONE, left=int(left), note="view")


@dataclass
class Viewers:
    """The day's viewers of each video, as a list of 64-bit hashes.

    The days that hold the user's hash go into the inbox, and the next dbt run builds them from sessions without them.
    """

    client: "Client"
    has_inbox: bool
    name: str = f"ClickHouse {VIEWERS}"

    def erase(self, user: User) -> int:
        rows = self._rows(user)
        if self._hidden(user):
            self.client.command(
                f"ALTER TABLE {identifier(VIEWERS)} APPLY DELETED MASK", settings={"mutations_sync": 2}
            )
        if rows and self.has_inbox:
            self.client.command(
                f"INSERT INTO {INBOX} (model, activity_date) SELECT DISTINCT '{VIEWERS}', activity_date "  # noqa: S608
                f"FROM {VIEWERS} WHERE {self._holds()}",
                parameters={"user": user.id},
                settings=_UNLOGGED,
            )
        return 0

    def look(self, user: User) -> Entry:
        rows, hidden = self._rows(user), self._hidden(user)
        if rows and not self.has_inbox:
            return Entry(self.name, State.HELD, left=rows, note=f"{INBOX} is not there: build the table anew")
        if rows or hidden:
            note = (
                "a hash of the id in lists of viewers; the next dbt run rebuilds these days"
                if rows
                else "rebuilt; the replaced lists leave the disk by a merge, or by erasing again"
            )
            return Entry(self.name, State.PENDING, left=rows + hidden, note=note)
        return Entry(self.name, State.GONE)

    def _rows(self, user: User) -> int:
        return self._count(user, hidden=False)

    def _hidden(self, user: User) -> int:
        return self._count(user, hidden=True) - self._rows(user)

    def _count(self, user: User, *, hidden: bool) -> int:
        return int(
            self.client.query(
                f"SELECT count() FROM {VIEWERS} WHERE {self._holds()}",  # noqa: S608 - our constants
                parameters={"user": user.id},
                settings={**_UNLOGGED, "apply_deleted_mask": 0 if hidden else 1},
            ).result_rows[0][0]
        )

    @staticmethod
    def _holds() -> str:
        return "has(viewers, cityHash64({user:String}))"


@dataclass
class Unasked:
    """A place that is named in the receipt, with the reason why it was not counted."""

    name: str
    state: State
    note: str = ""

    def erase(self, user: User) -> int:
        return 0

    def look(self, user: User) -> Entry:
        return Entry(self.name, self.state, note=self.note)


def clickhouse_places(client: "Client") -> list[Place]:
    """Every place in the URL's database, as it is now; tables before the views that read them."""
    tables_there = client.query("SELECT name, engine FROM system.tables WHERE database = currentDatabase()")
    engines = {str(row[0]): str(row[1]) for row in tables_there.result_rows}
    owned = {
        table
        for (table,) in client.query(
            "SELECT table FROM system.columns WHERE database = currentDatabase() AND name = 'user_id'"
        ).result_rows
    }
    # Events first: a run that starts meanwhile must find nothing to build from.
    first = {name: place for place, name in enumerate(EXPECTED)}
    order = sorted(owned | set(EXPECTED), key=lambda name: (first.get(name, len(first)), name))
    tables: list[Place] = []
    views: list[Place] = []
    for name in order:
        engine = engines.get(name)
        if engine is None:
            tables.append(Unasked(f"ClickHouse {name}", State.ABSENT))
        elif engine == "View":
            views.append(View(client, name))
        elif engine.endswith("MergeTree") or engine == "Memory":
            tables.append(Rows(client, name))
        elif engine == "MaterializedView":
            continue  # what it writes to is a table of its own
        else:
            note = f"engine {engine}: reading it would take from it, or reads another store"
            tables.append(Unasked(f"ClickHouse {name}", State.UNCHECKED, note))
    tables.append(
        Rows(client, QUARANTINE, "JSONExtractString(event, 'user_id')")
        if QUARANTINE in engines
        else Unasked(f"ClickHouse {QUARANTINE}", State.ABSENT)
    )
    tables.append(
        Viewers(client, has_inbox=INBOX in engines)
        if VIEWERS in engines
        else Unasked(f"ClickHouse {VIEWERS}", State.ABSENT)
    )
    return tables + views


def events_of(client: "Client", user: User) -> int:
    """Distinct events of the user in `playback_events`; 0 without the table."""
    if not number(
        client,
        "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'playback_events'",
    ):
        return 0
    found = client.query(
        "SELECT uniqExact(event_id) FROM playback_events WHERE user_id = {user:String}",
        parameters={"user": user.id},
        settings=_UNLOGGED,
    )
    return int(found.result_rows[0][0])

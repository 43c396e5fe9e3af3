"""What waits in the journal to be built (ADR 0002), and how far the features have come: asked often, so cheap."""

from datetime import datetime
from typing import TYPE_CHECKING, Final

from data_quality.windows import DATA_CLOCK

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

SESSIONS: Final = ("session_inbox", "touched_sessions")
DAYS: Final = ("activity_inbox", "touched_days")
TAKEN: Final = ("touched_sessions", "touched_days")
"""What a run has taken and not yet built."""


def journal_rows(client: "Client", *tables: str) -> int:
    """Rows of these tables of the journal, from ClickHouse's own count: no table is read."""
    query = "SELECT count() FROM {table:Identifier}"
    return sum(int(client.query(query, parameters={"table": name}).result_rows[0][0]) for name in tables)


def data_clock(client: "Client") -> datetime:
    """The newest event's time, none from the future: what `as_of` of features built now would be; 1970 without one."""
    return _moment(client, DATA_CLOCK)


def features_as_of(client: "Client") -> datetime | None:
    """`as_of` of the user features; None before they are built."""
    if not client.query("EXISTS TABLE user_features").result_rows[0][0]:
        return None
    return _moment(client, "SELECT max(as_of) FROM user_features")


def _moment(client: "Client", query: str) -> datetime:
    moment: datetime = client.query(query, tz_mode="aware").result_rows[0][0]
    return moment

"""The ledger after an erasure: an event that was stored is now one that was refused, as a load from today would say.

Without this the next look at the ledger would miss events and load everything again. What is to be moved is noted
before anything is deleted, and a row of the ledger knows the erasures it has seen, so doing it again after a kill
changes nothing, whatever the row has counted meanwhile.
"""

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ingestion import ledger
from ingestion.erasure.book import User
from ingestion.segment_book import UNCOUNTED

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def counted_events(client: "Client", user: User) -> int:
    """The user's events that the ledger counts; a segment under way will be counted without them. Exact in a turn of
    one's own ("load of playback_events")."""
    found = client.query(
        "SELECT uniqExact(event_id) FROM playback_events WHERE user_id = {user:String} "  # noqa: S608
        f"AND (event_id, toUnixTimestamp64Milli(created_at)) NOT IN ({UNCOUNTED})",
        parameters={"user": user.id},
        settings={"log_queries": 0},  # the id must not outlive the user in the server's query log
    )
    return int(found.result_rows[0][0])


def plan_move(client: "Client", events: int) -> list[dict[str, Any]]:
    """From which loads to take `events`, the newest first: `{batch_id, erasure, moved}` each.

    Which load brought an event is not kept, and makes no difference to any sum. Events beyond what the ledger
    accounts for came another way and are left out.
    """
    erasure = str(uuid.uuid4())
    moves: list[dict[str, Any]] = []
    for row in reversed(ledger.read(client)):
        moved = min(events, row.stored)
        if row.finished and moved:
            moves.append({"batch_id": str(row.batch_id), "erasure": erasure, "moved": moved})
            events -= moved
    return moves


def move(client: "Client", moves: list[dict[str, Any]]) -> None:
    """Count the noted events as quarantined, once; a load that made room for another is gone."""
    rows = {str(row.batch_id): row for row in ledger.read(client)}
    for noted in moves:
        row, erasure = rows.get(noted["batch_id"]), uuid.UUID(noted["erasure"])
        if row is None or erasure in row.erasures:
            continue
        moved = min(noted["moved"], row.stored)  # another erasure may have taken from the same load since
        ledger.write(
            client,
            replace(
                row,
                stored=row.stored - moved,
                quarantined=row.quarantined + moved,
                finished_at=row.finished_at + timedelta(milliseconds=1),  # the newer version of the row
                erasures=[*row.erasures, erasure],
            ),
        )

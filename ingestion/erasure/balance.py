"""The ledger after an erasure: an event that was stored is now one that was refused, as a load from today would say.

Without this the next look at the ledger would miss events and load everything again. What is to be moved is noted
before anything is deleted, as the counts each row must have had, so doing it again after a kill changes nothing.
"""

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ingestion import ledger

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def plan_move(client: "Client", events: int) -> list[dict[str, Any]]:
    """From which loads to take `events`, the newest first: `{batch_id, stored, moved}` each.

    Which load brought an event is not kept, and makes no difference to any sum. Events beyond what the ledger
    accounts for came another way and are left out.
    """
    moves: list[dict[str, Any]] = []
    for row in reversed(ledger.read(client)):
        moved = min(events, row.stored)
        if row.finished and moved:
            moves.append({"batch_id": str(row.batch_id), "stored": row.stored, "moved": moved})
            events -= moved
    return moves


def move(client: "Client", moves: list[dict[str, Any]]) -> None:
    """Count the noted events as quarantined; a load that has changed since is left alone."""
    rows = {str(row.batch_id): row for row in ledger.read(client)}
    for noted in moves:
        row = rows.get(noted["batch_id"])
        if row is None or row.stored != noted["stored"]:
            continue
        ledger.write(
            client,
            replace(
                row,
                stored=row.stored - noted["moved"],
                quarantined=row.quarantined + noted["moved"],
                finished_at=row.finished_at + timedelta(milliseconds=1),  # the newer version of the row
            ),
        )

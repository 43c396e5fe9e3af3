"""The record of erasures in Postgres: written before anything is deleted, completed when everything is verified."""

import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from ingestion.erasure.receipt import Entry, Receipt, entries_of, with_earlier
from stack.erased_users import pseudonym

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

KEY_BYTES = 32


@dataclass(frozen=True)
class User:
    """Whom to erase. The id stays in memory; what is written down is the hash."""

    id: str = field(repr=False)
    hash: str


def identify(connection: "Connection", user_id: str) -> User:
    """The user's pseudonym; makes the key when there is none yet."""
    connection.execute(
        text("INSERT INTO erasure_key (key) VALUES (:key) ON CONFLICT DO NOTHING"),
        {"key": secrets.token_bytes(KEY_BYTES)},
    )
    key: bytes = connection.execute(text("SELECT key FROM erasure_key")).scalar_one()
    connection.commit()
    return User(user_id, pseudonym(bytes(key), user_id))


def record(connection: "Connection", user: User) -> None:
    """From here on the user is refused everywhere, whatever happens to this process."""
    connection.execute(
        text("INSERT INTO erased_users (user_hash) VALUES (:hash) ON CONFLICT DO NOTHING"),
        {"hash": user.hash},
    )
    connection.commit()


def is_recorded(connection: "Connection", user: User) -> bool:
    found = connection.execute(
        text("SELECT count(*) FROM erased_users WHERE user_hash = :hash"), {"hash": user.hash}
    )
    return bool(found.scalar_one())


def progress(connection: "Connection", user: User) -> dict[str, Any]:
    """What an erasure that was cut off had noted."""
    found = connection.execute(
        text("SELECT progress FROM erased_users WHERE user_hash = :hash"), {"hash": user.hash}
    )
    noted: dict[str, Any] = found.scalar_one()
    return noted


def note(connection: "Connection", user: User, noted: dict[str, Any]) -> None:
    connection.execute(
        text("UPDATE erased_users SET progress = CAST(:noted AS jsonb) WHERE user_hash = :hash"),
        {"hash": user.hash, "noted": json.dumps(noted)},
    )
    connection.commit()


def close(connection: "Connection", user: User, entries: list[Entry]) -> Receipt:
    """Write the receipt down: complete as of the first time that no place is open, open again if one is."""
    row = connection.execute(
        text("SELECT requested_at, completed_at, receipt FROM erased_users WHERE user_hash = :hash"),
        {"hash": user.hash},
    ).one()
    now = datetime.now(UTC)
    is_open = any(entry.state.open for entry in entries)
    receipt = Receipt(
        user_hash=user.hash,
        requested_at=row.requested_at,
        checked_at=now,
        completed_at=None if is_open else row.completed_at or now,
        entries=with_earlier(entries, entries_of(row.receipt)),
    )
    connection.execute(
        text(
            "UPDATE erased_users SET completed_at = :completed_at, receipt = CAST(:receipt AS jsonb) "
            "WHERE user_hash = :hash"
        ),
        {
            "hash": user.hash,
            "completed_at": receipt.completed_at,
            "receipt": json.dumps(receipt.as_dict()),
        },
    )
    connection.commit()
    return receipt

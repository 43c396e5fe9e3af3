"""Refusing what belongs to erased users, a batch at a time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import text

from ingestion.erasure.redaction import REASON as REASON
from ingestion.erasure.redaction import REDACTED as REDACTED
from stack.erased_users import ErasedUsers

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

Rows = TypeVar("Rows", pa.RecordBatch, pa.Table)


def erased_users(connection: "Connection") -> ErasedUsers:
    """The list as Postgres has it now. Leaves the transaction open, as a query does."""
    hashes: Sequence[str] = connection.execute(text("SELECT user_hash FROM erased_users")).scalars().all()
    if not hashes:
        return ErasedUsers()
    key: bytes = connection.execute(text("SELECT key FROM erasure_key")).scalar_one()
    return ErasedUsers(bytes(key), frozenset(hashes))


def refuse(erased: ErasedUsers, rows: Rows) -> tuple[Rows, int]:
    """`rows` without those of erased users, and how many those were. Hashes each distinct id once.

    Rows without a column `user_id` come back as they are: the contract's check names what is missing.
    """
    if not erased or "user_id" not in rows.schema.names:
        return rows, 0
    column = rows.column("user_id")
    unwanted = [user_id for user_id in pc.unique(column).to_pylist() if user_id in erased]
    if not unwanted:
        return rows, 0
    mine = pc.is_in(column, pa.array(unwanted, column.type))
    kept = rows.filter(pc.invert(mine))
    return kept, rows.num_rows - kept.num_rows

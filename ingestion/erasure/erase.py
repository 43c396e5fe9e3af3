"""Erasing a user from every store: recorded, deleted, counted again; the same call resumes one that was cut off."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clickhouse_connect.driver.exceptions import ClickHouseError
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from data_quality.contracts import MAX_ID_LENGTH
from ingestion.clickhouse import connect as connect_clickhouse
from ingestion.erasure import balance, book, places
from ingestion.erasure.book import User
from ingestion.erasure.clickhouse_places import clickhouse_places, events_of
from ingestion.erasure.files import file_places
from ingestion.erasure.opted_out import OptOutList
from ingestion.erasure.places import Place
from ingestion.erasure.receipt import Entry, Receipt, State, with_earlier
from ingestion.erasure.refusal import erased_users
from ingestion.erasure.spooled import Spooled
from ingestion.erasure.stores import RedisKeys, postgres_places
from ingestion.errors import IngestionError
from ingestion.postgres_schema import connect as connect_postgres
from ingestion.postgres_schema import locked
from ingestion.report import Progress, silent
from stack.clients import redis_client
from stack.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

ROUNDS = 3
"""How often what a run in progress wrote meanwhile is erased again before the receipt says that it is still there."""

_ERRORS: tuple[type[Exception], ...] = (
    ClickHouseError, SQLAlchemyError, RedisError, OSError, IngestionError,
)  # fmt: skip
_Pass = Callable[[Sequence[Place], User, tuple[type[Exception], ...]], list[Entry]]


class NotAnIdError(IngestionError):
    """No user can have this id."""


class NeverErasedError(IngestionError):
    """No erasure of this user is on record."""


def erase_user(
    settings: Settings,
    user_id: str,
    progress: Progress | None = None,
    *,
    extra: Sequence[Place] = (),
    settle: Callable[[], None] | None = None,
) -> Receipt:
    """Erase the user, or go on with it; an id that nobody knows is recorded all the same.

    `extra`: places of the caller's (Dagster's run records). `settle` waits for runs in progress, which may have read
    the user before we deleted and write them after. A store that is down is in the receipt as failed. Raises what
    makes even the record impossible: `StoreUnreachableError` of Postgres; and `LockHeldError`.
    """
    tell = progress or silent
    _refuse_no_id(user_id)
    with locked(settings, "erasure") as connection:
        user = book.identify(connection, user_id)
        book.record(connection, user)
        tell(f"recorded as {user.hash[:12]}: refused from now on")
        entries = _pass(settings, connection, user, extra, places.erase_and_look, tell)
        rounds = 1
        while (settle is not None and rounds == 1) or (rounds < ROUNDS and _held(entries)):
            if settle is not None and rounds == 1:
                settle()
            tell("once more")
            again = _pass(settings, connection, user, extra, places.erase_and_look, tell)
            entries = list(with_earlier(again, entries))
            rounds += 1
        return book.close(connection, user, entries)


def _refuse_no_id(user_id: str) -> None:
    """No store can hold what is refused here."""
    try:
        user_id.encode()
    except UnicodeEncodeError as error:
        raise NotAnIdError("the user id is not text (UTF-8)") from error
    if not 0 < len(user_id) <= MAX_ID_LENGTH or "\0" in user_id:
        raise NotAnIdError(f"a user id has 1 to {MAX_ID_LENGTH} characters, and no NUL")


def _held(entries: Sequence[Entry]) -> bool:
    return any(entry.state is State.HELD for entry in entries)


def recheck(settings: Settings, user_id: str, *, extra: Sequence[Place] = ()) -> Receipt:
    """Count again in every place, without deleting anything; raises `NeverErasedError`."""
    _refuse_no_id(user_id)
    with locked(settings, "erasure") as connection:
        user = book.identify(connection, user_id)
        if not book.is_recorded(connection, user):
            raise NeverErasedError("no erasure of this user is on record: reelgraph users erase")
        entries = _pass(settings, connection, user, extra, places.look, silent)
        return book.close(connection, user, entries)


def _pass(
    settings: Settings,
    connection: "Connection",
    user: User,
    extra: Sequence[Place],
    do: _Pass,
    tell: Progress,
) -> list[Entry]:
    """Once through every place: what answers users first, then the source of each copy before the copy."""
    erased = erased_users(connection)
    connection.commit()
    entries = do([OptOutList(settings, erased)], user, _ERRORS)
    tell("the endpoint's opt-out list is written")
    deleting = do is places.erase_and_look
    try:
        with _turn(settings, "load of users", deleting) as other:
            entries += do(postgres_places(other), user, _ERRORS)
    except SQLAlchemyError as error:
        entries.append(places.failed("Postgres", user, error))
    tell("Postgres is done")
    with _turn(settings, "load of playback_events", deleting):
        entries += _in_clickhouse(settings, connection, user, do)
    tell("ClickHouse is done")
    redis = redis_client(settings)
    try:
        entries += do([RedisKeys(redis)], user, _ERRORS)
    finally:
        redis.close()
    try:
        entries += do([Spooled(settings)], user, _ERRORS)
        entries += do(file_places(settings, user), user, _ERRORS)
    except OSError as error:
        entries.append(places.failed("files of the home", user, error))
    return entries + do(extra, user, _ERRORS)


@contextmanager
def _turn(settings: Settings, what: str, deleting: bool) -> Iterator["Connection"]:
    """A connection; while deleting, one that keeps loads waiting. A load that starts later reads the record."""
    with locked(settings, what) if deleting else connect_postgres(settings) as connection:
        yield connection


def _in_clickhouse(settings: Settings, connection: "Connection", user: User, do: _Pass) -> list[Entry]:
    """ClickHouse's places; deleting events, the ledger is put right around it."""
    try:
        with connect_clickhouse(settings) as client:
            found = clickhouse_places(client)
            if do is places.look:
                return do(found, user, _ERRORS)
            noted = book.progress(connection, user)
            if not noted.get("ledger") and events_of(client, user):
                noted["ledger"] = balance.plan_move(client, balance.counted_events(client, user))
                book.note(connection, user, noted)
            entries = do(found, user, _ERRORS)
            if noted.get("ledger") and not events_of(client, user):
                balance.move(client, noted["ledger"])
                book.note(connection, user, {})
            return entries
    except (ClickHouseError, IngestionError) as error:
        return [places.failed("ClickHouse", user, error)]

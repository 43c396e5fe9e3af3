"""What every place that can hold a user offers, and how a list of them is erased and looked at."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from ingestion.clickhouse import first_line
from ingestion.erasure.book import User
from ingestion.erasure.receipt import Entry, State


class Place(Protocol):
    """A table, a kind of key, a kind of file."""

    @property
    def name(self) -> str: ...

    def erase(self, user: User) -> int:
        """Remove what is the user's and nothing else; returns how much. Again: nothing, 0."""
        ...

    def look(self, user: User) -> Entry:
        """Count anew what is there of the user, trusting no earlier answer."""
        ...


def erase_and_look(places: Iterable[Place], user: User, errors: tuple[type[Exception], ...]) -> list[Entry]:
    """Erase in every place, whatever happens in the others, and count again."""
    entries = []
    for place in places:
        try:
            erased = place.erase(user)
            entries.append(replace(place.look(user), erased=erased))
        except errors as error:
            entries.append(failed(place.name, user, error))
    return entries


def look(places: Iterable[Place], user: User, errors: tuple[type[Exception], ...]) -> list[Entry]:
    """Count in every place."""
    entries = []
    for place in places:
        try:
            entries.append(place.look(user))
        except errors as error:
            entries.append(failed(place.name, user, error))
    return entries


def failed(place: str, user: User, error: Exception) -> Entry:
    """A place that could not be asked. The receipt is kept: a message that quotes the id is left out of it."""
    message = first_line(error)
    quotes_id = user.id in message or repr(user.id)[1:-1] in message
    return Entry(place, State.FAILED, note=type(error).__name__ if quotes_id else message)

"""Erased users, to the endpoint: answered as people it has never met, whatever the bundle in service knows of them."""

import logging
from pathlib import Path

from stack.erased_users import ErasedUsers, OptOutFileError, read_opt_out

log = logging.getLogger(__name__)

NOBODY = ""
"""The user of whom no bundle and no store knows anything: ids have at least one character."""


class OptOut:
    """The opt-out list in a file, read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._erased = ErasedUsers()

    @property
    def version(self) -> str:
        """Which list is in force: what an erasure waits for."""
        return self._erased.version

    def refresh(self) -> None:
        """Take up a new list. One that cannot be read leaves the last in force: nobody erased is served again."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return  # before the first erasure, or lost: what we know stays true
        seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._erased = read_opt_out(self._path)
        except OptOutFileError as error:
            log.error("the opt-out list stays the last one: %s", error)  # noqa: TRY400 - the cause is in the message
        else:
            log.info("%d users have opted out", len(self._erased))

    def known_as(self, user_id: str) -> str:
        """The id to rank and read for: the user's own, or nobody's."""
        return NOBODY if user_id in self._erased else user_id

"""Erased users, to the endpoint: answered as people it has never met, whatever the bundle in service knows of them."""

import logging
from pathlib import Path

from stack.erased_users import ErasedUsers, OptOutFileError, read_opt_out

log = logging.getLogger(__name__)

NOBODY = ""
"""The user of whom no bundle and no store knows anything: ids have at least one character."""


UNREAD = "unknown"
"""The version while there is a list that could not be read yet: no list has it, so no erasure is taken for done."""


class OptOut:
    """The opt-out list in a file, read again when it changes. While there is one and none has been read, nobody can
    say who was erased: then everybody is answered as nobody, and what is to be stored waits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._erased = ErasedUsers()
        self._has_been_read = False
        self._unread_because = ""

    @property
    def version(self) -> str:
        """Which list is in force: what an erasure waits for."""
        return UNREAD if self._unread_because else self._erased.version

    def refresh(self) -> None:
        """Take up a new list. One that cannot be read leaves the last in force: nobody erased is served again."""
        seen = None
        try:
            stat = self._path.stat()
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if seen == self._seen and not self._unread_because:
                return
            erased = read_opt_out(self._path)
        except FileNotFoundError:
            # Before the first erasure, or lost: what we know stays true.
            self._unread_because = ""
            return
        except (OSError, OptOutFileError) as error:
            self._not_read(str(error))
        else:
            self._erased, self._has_been_read, self._unread_because = erased, True, ""
            log.info("%d users have opted out", len(erased))
        self._seen = seen

    def known_as(self, user_id: str) -> str:
        """The id to rank and read for: the user's own, or nobody's."""
        return NOBODY if self._unread_because or user_id in self._erased else user_id

    def check_read(self) -> None:
        """Raises `OptOutFileError` while nobody can say who was erased."""
        if self._unread_because:
            raise OptOutFileError(self._unread_because)

    def _not_read(self, why: str) -> None:
        if self._has_been_read:
            log.error("the opt-out list stays the last one: %s", why)
        elif why != self._unread_because:
            self._unread_because = why
            log.error("everybody is answered as a stranger until the opt-out list can be read: %s", why)

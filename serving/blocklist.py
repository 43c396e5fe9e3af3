"""Videos that nobody may be shown: a file that moderation writes, an id a line, read again when it changes."""

import logging
from pathlib import Path

log = logging.getLogger(__name__)

MAX_BYTES = 50_000_000


class Blocklist:
    """`ids` in force. A file that cannot be read leaves the last ones: what was blocked stays blocked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self.ids: frozenset[str] = frozenset()

    def refresh(self) -> bool:
        """Take up a new file; whether anything changed. No file blocks nothing, once there was none."""
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return False  # lost, or never there: what we know stays true
        seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if seen == self._seen:
            return False
        self._seen = seen
        if stat.st_size > MAX_BYTES:
            log.error("%s stays as it was: more than %d bytes", self._path.name, MAX_BYTES)
            return False
        try:
            lines = self._path.read_text("utf-8").splitlines()
        except (OSError, ValueError) as error:
            log.error("%s stays as it was: %s", self._path.name, error)  # noqa: TRY400 - the cause is in the message
            return False
        ids = frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))
        changed = ids != self.ids
        self.ids = ids
        if changed:
            log.info("%d videos are blocked", len(ids))
        return changed

"""The user in what the endpoint has on disk and ClickHouse has not: waiting events and decisions, lines set aside."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ingestion.erasure.book import User
from ingestion.erasure.receipt import Entry, State
from stack.settings import Settings

_SET_ASIDE = frozenset({"torn", "refused"})
_WAITING = frozenset({".open", ".jsonl"})


@dataclass
class Spooled:
    """Lines that wait are refused when they are shipped; those set aside, which nobody writes to, are removed here."""

    settings: Settings
    name: str = "spool of the endpoint"

    def erase(self, user: User) -> int:
        removed = 0
        for path in self._files(set_aside=True):
            lines = _lines(path)
            kept = [line for line in lines if not _is_of(line, user.id)]
            if len(kept) < len(lines):
                removed += len(lines) - len(kept)
                _replace(path, b"".join(kept))
        return removed

    def look(self, user: User) -> Entry:
        if left := self._count(user, set_aside=True):
            return Entry(self.name, State.HELD, left=left, note="in lines that were set aside")
        if left := self._count(user, set_aside=False):
            return Entry(self.name, State.PENDING, left=left, note="refused when ClickHouse is reached")
        return Entry(self.name, State.GONE)

    def _count(self, user: User, *, set_aside: bool) -> int:
        return sum(
            _is_of(line, user.id) for path in self._files(set_aside=set_aside) for line in _lines(path)
        )

    def _files(self, *, set_aside: bool) -> Iterator[Path]:
        for path in sorted(self.settings.spool_dir.glob("*/*/*")):
            aside = path.parent.name in _SET_ASIDE
            if path.is_file() and aside == set_aside and (aside or path.suffix in _WAITING):
                yield path


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []  # shipped since it was listed


def _is_of(line: bytes, user_id: str) -> bool:
    try:
        row = json.loads(line)
    except ValueError:  # half a line
        return b'"user_id":' + json.dumps(user_id, ensure_ascii=False).encode() in line
    return isinstance(row, dict) and row.get("user_id") == user_id


def _replace(path: Path, content: bytes) -> None:
    if not content:
        path.unlink()
        return
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)

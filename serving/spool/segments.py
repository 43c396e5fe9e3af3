"""A spool on disk: a folder a process, locked while it lives; segments of a dead one are taken over.

folder/.lock            held while a process starts or stops
folder/<instance>/lock  held while the process lives
folder/<instance>/*.open, *.jsonl   the segment being written, and sealed ones
folder/refused                      set aside, for a person to look at
"""

import fcntl
import logging
import os
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

OPEN, SEALED = ".open", ".jsonl"
_INSTANCE = re.compile(r"\d+-\d+-[0-9a-z]+")


@dataclass(frozen=True)
class Segment:
    """A sealed file of whole lines. `since`: when its first line came, seconds since 1970."""

    path: Path
    lines: int
    size: int
    since: float

    @property
    def id(self) -> str:
        """The same wherever the file is moved: `<instance that wrote it>-<number>`."""
        return self.path.stem


class SegmentFolder:
    """The process's own place in a spool's folder. Every method may raise `OSError`, but for what dead processes left:
    what cannot be taken over stays where it is, for the next start, and keeps nothing else from being taken."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: int | None = None
        self.instance = f"{time.time_ns() // 1_000_000:013d}-{os.getpid()}-{secrets.token_hex(3)}"
        self.own = folder / self.instance
        self.torn = 0

    def open(self) -> list[Segment]:
        """Make and lock the own folder; returns what dead processes left, oldest first."""
        self.own.mkdir(parents=True, exist_ok=True)
        starting = _locked(self._folder / ".lock", wait=True)
        assert starting is not None
        try:
            if self._lock is None:
                self._lock = _locked(self.own / "lock", wait=True)
            for other in sorted(self._folder.iterdir()):
                if _INSTANCE.fullmatch(other.name) and other != self.own and other.is_dir():
                    self._take_over(other)
            _sync_folder(self._folder)
        finally:
            os.close(starting)
        return [_read(path) for path in sorted(self.own.glob(f"*{SEALED}"))]

    def refuse(self, segment: Segment, kept: bytes | None = None) -> Path:
        """Set a segment aside, or only what may be `kept` of it; returns where it is now."""
        place = self._folder / "refused" / segment.path.name
        place.parent.mkdir(exist_ok=True)
        if kept is None:
            segment.path.replace(place)
        else:
            with place.open("wb") as file:
                file.write(kept)
                file.flush()
                os.fsync(file.fileno())
            segment.path.unlink(missing_ok=True)
        return place

    def close(self) -> None:
        """Let go of the folder; it disappears if nothing is left in it."""
        if self._lock is None:
            return
        starting = _locked(self._folder / ".lock", wait=True)
        assert starting is not None
        try:
            if not any(path.suffix in (OPEN, SEALED) for path in self.own.iterdir()):
                (self.own / "lock").unlink(missing_ok=True)
                self.own.rmdir()
        finally:
            os.close(self._lock)
            self._lock = None
            os.close(starting)

    def _take_over(self, other: Path) -> None:
        try:
            lock = _locked(other / "lock", wait=False)
        except OSError as error:
            _left(other, error)
            return
        if lock is None:
            return  # its process lives
        try:
            for path in sorted(other.glob(f"*{OPEN}")):
                _or_left(path, self._mend)
            for path in sorted(other.glob(f"*{SEALED}")):
                _or_left(path, lambda path: path.rename(self.own / path.name))
            _sync_folder(self.own)
            if [path.name for path in other.iterdir()] == ["lock"]:
                (other / "lock").unlink()
                other.rmdir()
        except OSError as error:
            _left(other, error)
        finally:
            os.close(lock)

    def _mend(self, path: Path) -> None:
        """Seal what a dead process was writing. Half a line at its end was promised to nobody and is of no use; it is
        not kept, as nobody could tell whose it is when a user is erased."""
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
            self.torn += 1
            log.warning("the last line of spool segment %s is torn and dropped (%d bytes)",
                        path.stem, len(content) - whole)  # fmt: skip
        if whole:
            path.rename(path.with_suffix(SEALED))
        else:
            path.unlink()


class OpenSegment:
    """The segment being written. What `write` wrote is whole and on disk once `sync` has returned."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path = folder / f"{name}{OPEN}"
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self.size = 0
        self.lines = 0
        self.since = time.time()
        self.opened = time.monotonic()
        _sync_folder(folder)  # else a power cut could lose the file with all that is synced in it

    def write(self, content: bytes, lines: int, *, sync: bool) -> None:
        """Append whole lines; on an `OSError` nothing of them stays, or the segment is broken and says so again."""
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(self._file, left) :]
            if sync:
                os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, self.size)
            raise
        self.size += len(content)
        self.lines += lines

    def seal(self) -> Segment | None:
        """Close it for good; None if it held nothing. A segment whose tail could not be cut is mended first."""
        try:
            os.ftruncate(self._file, self.size)
            os.fdatasync(self._file)
        finally:
            os.close(self._file)
        if not self.size:
            self._path.unlink()
            return None
        sealed = self._path.with_suffix(SEALED)
        self._path.rename(sealed)
        return Segment(sealed, self.lines, self.size, self.since)


def _read(path: Path) -> Segment:
    try:
        content = path.read_bytes()
        return Segment(path, content.count(b"\n"), len(content), path.stat().st_mtime)
    except OSError:
        return Segment(path, 0, 0, time.time())  # who ships it meets the error again, and sets it aside


def _or_left(path: Path, take: Callable[[Path], object]) -> None:
    try:
        take(path)
    except OSError as error:
        _left(path, error)


def _left(path: Path, error: OSError) -> None:
    log.error("%s is left as it is until the next start: %s", path, error.strerror)


def _locked(path: Path, *, wait: bool) -> int | None:
    """A file locked until it is closed, or None if another process has it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    except BaseException:
        os.close(file)
        raise
    return file


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)

"""The files of the studies: who may write them, and what a process that was killed leaves in them."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ml.errors import ModelError

if TYPE_CHECKING:
    from optuna.storages.journal import JournalFileOpenLock


class TuningBusyError(ModelError):
    """Another process is tuning in this folder."""


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder of the studies; raises `TuningBusyError`. The system lets go of it when a process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TuningBusyError(f"another process is tuning in {folder}") from error
        yield


def drop_half_line(path: Path) -> None:
    """What a process wrote last when it was killed in the middle: optuna would refuse the file for ever after."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)


def held_lock(path: Path) -> "JournalFileOpenLock":
    """A lock for optuna's journal that is ours already: its own would make the next run wait 30 s after a kill."""
    from optuna.storages.journal import JournalFileOpenLock

    class Held(JournalFileOpenLock):
        def acquire(self) -> bool:
            return True

        def release(self) -> None:
            return None

    return Held(str(path))

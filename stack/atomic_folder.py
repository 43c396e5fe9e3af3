"""Replace a folder whole: a killed writer leaves the old one or the new one, never half of one."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Sorted keys, two spaces, one newline at the end, NaN refused: one value, one text."""
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


@contextmanager
def replace_folder(directory: Path) -> Iterator[Path]:
    """Yields an empty sibling to fill; leaving the block puts it in `directory`'s place, an error drops it.

    Writers of one folder take turns. What a killed writer left is cleared, or put back if it was killed
    between the two renames of the swap.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    fresh = directory.with_name(f".{directory.name}.new")
    old = directory.with_name(f".{directory.name}.old")
    with (directory.with_name(f".{directory.name}.lock")).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if old.exists() and not directory.exists():
            old.rename(directory)
        for leftover in (fresh, old):
            if leftover.exists():
                shutil.rmtree(leftover)
        fresh.mkdir()
        try:
            yield fresh
        except BaseException:
            shutil.rmtree(fresh)
            raise
        _sync(fresh)
        if directory.exists():
            directory.rename(old)
        fresh.rename(directory)
        if old.exists():
            shutil.rmtree(old)


def _sync(folder: Path) -> None:
    """The files reach the disk before the folder takes its name: a power cut cannot leave empty ones."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())

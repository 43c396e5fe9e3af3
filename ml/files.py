"""Folders that appear whole or not at all, and the sums of files."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

_BLOCK = 4 << 20


@contextmanager
def replaced(directory: Path) -> Iterator[Path]:
    """A fresh folder to write into, moved to `directory` at the end and dropped on any error.

    What was there stays until the new folder is complete; a reader sees the old one, for an instant none, then
    the new one. A crash leaves at most a hidden `.name.*` folder beside it.
    """
    directory = Path(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    fresh = directory.parent / f".{directory.name}.{uuid4().hex}.new"
    retired = directory.parent / f".{directory.name}.{uuid4().hex}.old"
    fresh.mkdir()
    try:
        yield fresh
        if directory.exists():
            directory.rename(retired)
        try:
            fresh.rename(directory)
        except OSError:
            if retired.exists():
                retired.rename(directory)
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """In hexadecimal. Read in large blocks: each is summed without the interpreter's lock, which threads that answer
    meanwhile want."""
    digest, block = hashlib.sha256(), memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as file:
        while length := file.readinto(block):
            digest.update(block[:length])
    return digest.hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Readable, in a stable order, refusing NaN: a metric that could not be computed must not look like one."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", "utf-8")

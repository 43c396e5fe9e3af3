"""An ordinary `default` database in place of the engine's own, which falls back on the file system.

Left alone, `SELECT * FROM '/etc/passwd'` would read that file, as in clickhouse-local. The engine makes its own
`default` at every start, over the folder that the link `metadata/default` points to; we detach that and attach an
Atomic database over the same folder, described by `metadata/default.sql`.
"""

import re
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

_UUID = re.compile(r"UUID '([0-9a-fA-F-]{36})'")


def align(database_dir: Path) -> None:
    """Make link and description name the same folder, before the engine reads them; a crash, or a start by chDB
    itself, may have left only one of them or two that differ. Raises `OSError`."""
    link, description = database_dir / "metadata" / "default", database_dir / "metadata" / "default.sql"
    if description.exists():
        found = _UUID.search(description.read_text())
        if found is None:
            return
        target = f"../store/{found[1][:3]}/{found[1]}"
        if not link.is_symlink() or str(link.readlink()) != target:
            (link.parent / target).mkdir(parents=True, exist_ok=True)
            _replace(link, lambda temporary: temporary.symlink_to(target))
    elif link.is_symlink():
        uuid = UUID(link.readlink().name)
        text = f"ATTACH DATABASE _ UUID '{uuid}'\nENGINE = Atomic\n"
        _replace(description, lambda temporary: temporary.write_text(text))


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    make(temporary)
    temporary.replace(path)


def install(database_dir: Path, execute: Callable[[str], object]) -> None:
    """(Re)make the database if there is none. `execute` runs a statement from another current database."""
    if (database_dir / "metadata" / "default.sql").exists():
        execute("ATTACH DATABASE IF NOT EXISTS default")
    else:
        execute("CREATE DATABASE IF NOT EXISTS default ENGINE = Atomic")

"""The unprivileged user that Postgres runs as when we are root: Postgres refuses to be root."""

import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path

from stack.processes import Identity

# The name the wheel uses too.
SYSTEM_USER = "pgserver"


class NoPostgresUserError(Exception):
    """There is no user that Postgres can run as; the message says what to do."""


def postgres_identity() -> Identity | None:
    """None for a normal user (Postgres runs as that user); as root the user `pgserver`, made if missing.

    Raises `NoPostgresUserError`.
    """
    if os.geteuid() != 0:
        _require_name(os.geteuid())
        return None
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        entry = _add_user()
    return Identity(entry.pw_uid, entry.pw_gid)


def _require_name(uid: int) -> None:
    """Containers run with any number for a user; initdb insists on one that has a name."""
    try:
        pwd.getpwuid(uid)
    except KeyError as error:
        raise NoPostgresUserError(f"user id {uid} has no entry in /etc/passwd; Postgres needs one") from error


def _add_user() -> pwd.struct_passwd:
    tool = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    advice = (
        f"as root Postgres needs a user of its own: useradd --system {SYSTEM_USER}, or run as a normal user"
    )
    if tool is None:
        raise NoPostgresUserError(f"useradd not found; {advice}")
    command = [tool, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return pwd.getpwnam(SYSTEM_USER)  # also when another stack made it a moment ago
    except KeyError as error:
        raise NoPostgresUserError(f"{done.stderr.strip()}; {advice}") from error


def let_through(path: Path) -> list[Path]:
    """Let others pass (not list) every folder above `path`; returns the folders that had to be changed."""
    changed = []
    for folder in (*path.absolute().parents, *path.resolve().parents):  # a link needs both ways open
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
            changed.append(folder)
    return changed


def let_read(tree: Path) -> None:
    """Let others read and run what is below `tree` (an install under a tight umask)."""
    for path in (tree, *tree.rglob("*")):
        if path.is_symlink():
            continue
        mode = path.stat().st_mode
        wanted = stat.S_IROTH | (stat.S_IXOTH if path.is_dir() or mode & stat.S_IXUSR else 0)
        if mode & wanted != wanted:
            path.chmod(stat.S_IMODE(mode) | wanted)

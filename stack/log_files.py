"""The files in the logs folder: the supervisor's own, and the size of all of them."""

import logging
import os
import shutil
from pathlib import Path

logger = logging.getLogger("stack.supervisor")

LOG_NAME = "supervisor"
MAX_LOG_BYTES = 20_000_000


def log_to(path: Path, *, also_stderr: bool = False) -> None:
    """Send the supervisor's own log there, a line an event."""
    handlers: list[logging.Handler] = [logging.FileHandler(path)]
    if also_stderr:
        handlers.append(logging.StreamHandler())
    formatter = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s")
    for handler in handlers:
        handler.setFormatter(formatter)
    logger.handlers[:] = handlers
    logger.setLevel(logging.INFO)
    logger.propagate = False


def trim_logs(folder: Path, limit: int = MAX_LOG_BYTES) -> None:
    """`trim_log` for every log there; trouble with one is said and leaves the others their turn."""
    for log in sorted(folder.glob("*.log")):
        try:
            trim_log(log, limit)
        except FileNotFoundError:  # deleted by somebody meanwhile: small enough
            continue
        except OSError as error:
            logger.error("cannot trim %s: %s", log, error)  # noqa: TRY400 - the cause is in the line


def trim_log(log: Path, limit: int) -> None:
    """Beyond `limit` bytes keep one older copy and go on with an empty file (writers append, so they follow).

    Where the copy finds no room it is given up: a full disk needs the bytes more than we need old lines.
    """
    if log.stat().st_size <= limit:
        return
    older = log.with_suffix(".log.1")
    try:
        shutil.copyfile(log, older)
    except OSError as error:
        logger.error("no older copy of %s: %s", log, error)  # noqa: TRY400 - the cause is in the line
        older.unlink(missing_ok=True)
    os.truncate(log, 0)

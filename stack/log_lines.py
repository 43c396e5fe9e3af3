"""A line of a log as a person reads it: the endpoint writes JSON objects, other services text."""

import json
from typing import Any

_IN_THE_LINE = ("time", "level", "logger", "message", "exception")


def readable(line: str) -> list[str]:
    """`line` as it is, or, of a JSON record: time, level, logger, message and what else it holds; then its traceback, a
    line each."""
    record = _record(line)
    if record is None:
        return [line]
    about = "".join(f" {name}={value}" for name, value in record.items() if name not in _IN_THE_LINE)
    level, logger, message = record.get("level", ""), record.get("logger", ""), _one_line(record["message"])
    trouble = str(record.get("exception") or "")
    return [f"{record['time']} {level:<7} {logger}: {message}{about}", *trouble.splitlines()]


def _record(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:  # some other program's line, or the first part of one that was cut
        return None
    return found if isinstance(found, dict) and {"time", "message"} <= found.keys() else None


def _one_line(message: object) -> str:
    return str(message).replace("\r", "\\r").replace("\n", "\\n")

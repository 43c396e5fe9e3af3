"""What the endpoint logs: one JSON object a line, with the ids of the request it is about, and no secret in it.

There is no line for a request that went well: it costs more than a feed. Errors and slow answers have one
(`note_answer`), a flood of them only its first (`serving.telemetry.flood`). No line holds a user's id: the decision
log, which erasure reaches, says whose request it was.
"""

import json
import logging
import sys
import traceback
from collections.abc import Mapping
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

from serving.telemetry import tracing
from serving.telemetry.flood import FloodFilter
from serving.telemetry.redaction import Redaction, secrets_of
from stack.settings import Settings

log = logging.getLogger("serving.answers")

SLOW_S = 0.5
"""An answer that took longer is logged; R7's alert is on a p95 of as much."""

# BentoML and uvicorn bring handlers of their own; theirs are replaced by ours at the root.
_FOREIGN = ("bentoml", "uvicorn", "uvicorn.error", "uvicorn.access", "circus")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_request: ContextVar["request_scope | None"] = ContextVar("request", default=None)


class request_scope:  # noqa: N801 - used as `with request_scope(...)`
    """Lines logged inside carry these ids. `scope` is the ASGI scope, whose route is known only once it is matched.

    `correlation_id` is the client's own, shown as it came: cut to 100 characters, escaped by the formatter."""

    __slots__ = ("_token", "correlation_id", "request_id", "scope")

    def __init__(
        self, request_id: str, correlation_id: str = "", scope: Mapping[str, Any] | None = None
    ) -> None:
        self.request_id = request_id
        self.correlation_id = correlation_id
        self.scope = scope
        self._token: Token[request_scope | None] | None = None

    def __enter__(self) -> "request_scope":
        self._token = _request.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._token is not None:
            _request.reset(self._token)

    def fields(self) -> dict[str, str]:
        found = {"request_id": self.request_id}
        if self.correlation_id:
            found["correlation_id"] = self.correlation_id[:100]
        # The route's pattern, never the path: a path holds ids.
        route = getattr(self.scope.get("route"), "path", "") if self.scope else ""
        if route:
            found["route"] = route
        return found


def note_answer(route: str, method: str, status: int, seconds: float) -> None:
    """Log an answer that failed or was slow; nothing for any other. `route`: the pattern."""
    if status < 500 and seconds <= SLOW_S:
        return
    about = {"route": route, "method": method, "status": status, "duration_ms": round(seconds * 1000, 1)}
    log.warning("%s %s answered %d in %.0f ms", method, route, status, seconds * 1000, extra=about)


class JsonFormatter(logging.Formatter):
    """A record as one JSON object on one line; what was given as `extra` becomes fields."""

    def __init__(self, redact: Redaction) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "time": _moment(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_about(),
        }
        said |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if trouble := _trouble(record):
            said["exception"] = trouble
        # Escaped, a lone surrogate or a line end of a client is harmless.
        return json.dumps({name: self._clean(value) for name, value in said.items()})

    def _clean(self, value: Any) -> Any:
        return value if isinstance(value, int | float | None) else self._redact(str(value))


class TextFormatter(logging.Formatter):
    """The same for a person at a terminal; a line end in a message does not begin a line."""

    def __init__(self, redact: Redaction) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        said = _about() | ({"left_out": record.left_out} if hasattr(record, "left_out") else {})
        about = "".join(f" {name}={value}" for name, value in said.items())
        line = f"{_moment(record)} {record.levelname:<7} {record.name}: {message}{about}"
        trouble = _trouble(record)
        return self._redact(f"{line}\n{trouble}" if trouble else line)


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Send every line of this process to `stream` (standard output) in the format the settings ask for: JSON where
    nobody looks at a terminal."""
    stream = stream or sys.stdout
    kind = settings.log_format or ("text" if stream.isatty() else "json")
    redact = Redaction(secrets_of(settings))
    handler = logging.StreamHandler(stream)
    handler.addFilter(FloodFilter())
    handler.setFormatter(JsonFormatter(redact) if kind == "json" else TextFormatter(redact))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in _FOREIGN:
        foreign = logging.getLogger(name)
        foreign.handlers[:] = []
        # Without a handler uvicorn does not even put a line together for each request.
        foreign.propagate = name != "uvicorn.access"
    for ours in ("serving", "ingestion", "data_quality", "ml", "stack"):
        logging.getLogger(ours).setLevel(settings.log_level)
    logging.captureWarnings(capture=True)


def _moment(record: logging.LogRecord) -> str:
    """UTC, to the millisecond."""
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _about() -> dict[str, str]:
    request = _request.get()
    return {**(request.fields() if request else {}), **tracing.ids()}


def _trouble(record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[0] is not None:
        return "".join(traceback.format_exception(*record.exc_info)).rstrip()
    return record.exc_text or (record.stack_info or "")

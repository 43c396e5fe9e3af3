"""Responses as ClickHouse gives them: headers, encoded bodies, errors before and in the middle of a result."""

import json
import secrets
import string
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from stack.clickhouse.codecs import Encoder, accepted_encoding, encoder
from stack.clickhouse.engine import Outcome
from stack.clickhouse.errors import ClickHouseError

Send = Callable[[dict[str, Any]], Awaitable[None]]

_CONTENT_TYPES = (
    ("TabSeparated", "text/tab-separated-values; charset=UTF-8"),
    ("TSV", "text/tab-separated-values; charset=UTF-8"),
    ("CSVWithNames", "text/csv; charset=UTF-8; header=present"),
    ("CSV", "text/csv; charset=UTF-8; header=absent"),
    ("JSONEachRow", "application/x-ndjson; charset=UTF-8"),
    ("JSONCompactEachRow", "application/x-ndjson; charset=UTF-8"),
    ("JSON", "application/json; charset=UTF-8"),
    ("XML", "application/xml; charset=UTF-8"),
    ("Pretty", "text/plain; charset=UTF-8"),
    ("Vertical", "text/plain; charset=UTF-8"),
    ("Values", "text/plain; charset=UTF-8"),
)
_BINARY = (
    "Native",
    "RowBinary",
    "Parquet",
    "Arrow",
    "ORC",
    "Avro",
    "MsgPack",
    "BSON",
    "Npy",
    "Protobuf",
    "CapnProto",
)
_TAG_LENGTH = 16


class ResponseAborted(Exception):
    """Raised after an error in the middle of a result, so that the server breaks the connection off."""


def content_type(format: str) -> str:
    if format.startswith(_BINARY):
        return "application/octet-stream"
    return next(
        (kind for prefix, kind in _CONTENT_TYPES if format.startswith(prefix)), "text/plain; charset=UTF-8"
    )


def summary(outcome: Outcome | None) -> str:
    """The value of `X-ClickHouse-Summary`; zeros while a result is under way."""
    counts = dict.fromkeys(
        ("read_rows", "read_bytes", "written_rows", "written_bytes", "total_rows_to_read", "result_rows",
         "result_bytes", "elapsed_ns", "memory_usage"), 0
    )  # fmt: skip
    if outcome is not None:
        # A server counts the rows of an insert's data as read, too.
        counts["read_rows"] = max(outcome.read_rows, outcome.written_rows if not outcome.read_rows else 0)
        counts["read_bytes"] = outcome.read_bytes or outcome.written_bytes
        counts["written_rows"] = outcome.written_rows
        counts["written_bytes"] = outcome.written_bytes
        counts["total_rows_to_read"] = outcome.read_rows
        counts["result_rows"] = outcome.result_rows
        counts["result_bytes"] = outcome.result_bytes
        counts["elapsed_ns"] = outcome.elapsed_ns
    return json.dumps({name: str(value) for name, value in counts.items()}, separators=(",", ":"))


@dataclass
class Responder:
    """Writes one response. `started` tells whether an error can still have a status of its own."""

    send: Send
    version: str
    timezone: str
    accept_encoding: str = ""
    compression_level: int = 1
    head_only: bool = False
    query_id: str | None = None
    started: bool = False
    _encoder: Encoder | None = None
    _tag: str = field(
        default_factory=lambda: "".join(secrets.choice(string.ascii_lowercase) for _ in range(_TAG_LENGTH))
    )

    async def start(
        self, status: int, kind: str, headers: dict[str, str] | None = None, *, length: int | None = None
    ) -> None:
        """Send the status and headers; a body of known `length` is sent as it is."""
        encoding = accepted_encoding(self.accept_encoding) if length is None else ""
        self._encoder = encoder(encoding, self.compression_level)
        all_headers = {
            "Content-Type": kind,
            "X-ClickHouse-Server-Display-Name": "reelgraph",
            "X-ClickHouse-Timezone": self.timezone,
            **({"X-ClickHouse-Query-Id": self.query_id} if self.query_id else {}),
            **({"Content-Encoding": encoding} if encoding else {}),
            **({"Content-Length": str(length)} if length is not None else {}),
            **(headers or {}),
        }
        self.started = True
        raw = [(name.lower().encode(), _header_value(value)) for name, value in all_headers.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})

    async def start_result(self, format: str | None, outcome: Outcome | None) -> None:
        """The headers of a statement's result; `outcome` if it is complete, no `format` if it has no result."""
        headers = {
            "X-ClickHouse-Summary": summary(outcome),
            **({"X-ClickHouse-Format": format} if format else {}),
        }
        if outcome is None:
            headers["X-ClickHouse-Exception-Tag"] = self._tag
        await self.start(200, content_type(format or "TabSeparated"), headers)

    async def write(self, data: bytes) -> None:
        assert self._encoder is not None
        encoded = self._encoder.compress(data)
        if encoded and not self.head_only:
            await self.send({"type": "http.response.body", "body": encoded, "more_body": True})

    async def finish(self) -> None:
        assert self._encoder is not None
        last = self._encoder.flush()
        await self.send(
            {"type": "http.response.body", "body": b"" if self.head_only else last, "more_body": False}
        )

    async def text(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
        """A short plain response."""
        data = body.encode("utf-8", "replace")
        await self.start(status, "text/plain; charset=UTF-8", headers, length=len(data))
        await self.send(
            {"type": "http.response.body", "body": b"" if self.head_only else data, "more_body": False}
        )

    async def error(self, error: ClickHouseError) -> None:
        """Report an error. In the middle of a result: as a block that the response's exception tag marks, after
        which the body stays unfinished (raises `ResponseAborted`)."""
        message = error.text(self.version)
        if not self.started:
            headers = {"X-ClickHouse-Exception-Code": str(error.code)}
            if error.status == 401:
                headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
            await self.text(error.status, message + "\n", headers)
            return
        assert self._encoder is not None
        body = (message + "\n").encode("utf-8", "replace")
        block = (
            f"\r\n__exception__\r\n{self._tag}\r\n".encode()
            + body
            + f"{len(body)} {self._tag}\r\n__exception__\r\n".encode()
        )
        await self.write(block)
        last = self._encoder.flush()
        if last:
            await self.send({"type": "http.response.body", "body": last, "more_body": True})
        raise ResponseAborted


def _header_value(value: str) -> bytes:
    """A header cannot hold line breaks, whatever a client called its query."""
    return value.encode("utf-8", "surrogateescape").translate(None, b"\r\n\0")

"""A request of the HTTP interface taken apart: its parameters, its settings, and its body as a decoded stream."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from stack.clickhouse.codecs import Decoder, decoder
from stack.clickhouse.errors import ClickHouseError
from stack.clickhouse.lexer import sql_text

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

# ClickHouse's http_receive_timeout: how long a client may keep a body's next bytes to itself.
RECEIVE_TIMEOUT_S = 300.0
MAX_PARAMETERS = 2000

# Parameters of the protocol; any other one that is not `param_*` is a setting of the query.
_PROTOCOL = frozenset(
    [
        "query",
        "query_id",
        "database",
        "default_format",
        "session_id",
        "session_timeout",
        "session_check",
        "user",
        "password",
        "quota_key",
        "stacktrace",
        "compress",
        "decompress",
        "wait_end_of_query",
        "buffer_size",
        "client_protocol_version",
        "role",
        "http_response_headers",
        "close_session",
    ]
)
_EXTERNAL_SUFFIXES = ("_structure", "_types", "_format")


class ClientGone(Exception):
    """The client closed its connection."""


@dataclass
class Request:
    """`headers` have lower-case names; `settings` (as SQL text) and `parameters` are what the query runs with."""

    method: str
    path: str
    headers: dict[str, str]
    protocol: dict[str, str]
    receive: Receive
    settings: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    external: dict[str, str] = field(default_factory=dict)
    body_read: bool = False

    @property
    def query_id(self) -> str:
        """The client's, or one of ours."""
        given = self.protocol.get("query_id") or self.headers.get("x-clickhouse-query-id")
        if not given:
            given = self.protocol["query_id"] = str(uuid.uuid4())
        return given

    @property
    def database(self) -> str | None:
        name = self.protocol.get("database") or self.headers.get("x-clickhouse-database")
        return sql_text(name) if name else None

    @property
    def default_format(self) -> str:
        return (
            self.protocol.get("default_format") or self.headers.get("x-clickhouse-format") or "TabSeparated"
        )

    def flag(self, name: str) -> bool:
        return self.protocol.get(name, "0").lower() not in ("", "0", "false")

    async def raw_body(self) -> AsyncIterator[bytes]:
        """The body as sent. Raises `ClientGone` if it breaks off."""
        while not self.body_read:
            try:
                message = await asyncio.wait_for(self.receive(), RECEIVE_TIMEOUT_S)
            except TimeoutError as error:
                raise ClickHouseError(
                    209,
                    f"Timeout exceeded while reading the request's body ({RECEIVE_TIMEOUT_S:.0f} s)",
                    status=408,
                ) from error
            if message["type"] == "http.disconnect":
                raise ClientGone
            self.body_read = not message.get("more_body", False)
            if message.get("body"):
                yield message["body"]

    async def body(self) -> AsyncIterator[bytes]:
        """The decoded body in pieces of at most about 1 MiB. Raises `ClientGone` and `ClickHouseError`."""
        frames: Decoder = decoder(self.headers.get("content-encoding", ""))
        async for chunk in self.raw_body():
            for piece in frames.feed(chunk):
                yield piece
        frames.finish()

    async def gone(self) -> None:
        """Return when the client has closed its connection; only after the body is read."""
        while True:
            if (await self.receive())["type"] == "http.disconnect":
                return


def parse(scope: MutableMapping[str, Any], receive: Receive) -> Request:
    """Raises `ClickHouseError` for a query string that is not one."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        headers[name.decode("latin-1").lower()] = value.decode("latin-1")
    request = Request(scope["method"], scope["path"], headers, {}, receive)
    try:
        pairs = parse_qsl(
            scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            max_num_fields=MAX_PARAMETERS,
            errors="surrogateescape",
        )
    except (UnicodeDecodeError, ValueError) as error:
        raise ClickHouseError(36, f"The request's URL cannot be parsed: {error}") from error
    for name, value in pairs:
        take(request, name, value)
    return request


def take(request: Request, name: str, value: str) -> None:
    """Sort one parameter into what it is."""
    if name.startswith("param_"):
        if not value.isprintable() and any("\udc80" <= character <= "\udcff" for character in value):
            raise ClickHouseError(36, f"The value of {name} is not UTF-8")
        request.parameters[name.removeprefix("param_")] = value
    elif name in _PROTOCOL:
        request.protocol[name] = value
    elif name.endswith(_EXTERNAL_SUFFIXES) and "multipart/form-data" in request.headers.get(
        "content-type", ""
    ):
        request.external[name] = value
    else:
        request.settings[sql_text(name)] = sql_text(value)

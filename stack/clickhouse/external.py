"""Forms (`multipart/form-data`): parameters too long for a URL, and external data that become temporary tables."""

import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import IO

from stack.clickhouse.errors import ClickHouseError
from stack.clickhouse.execute import ExternalTable
from stack.clickhouse.lexer import sql_text
from stack.clickhouse.request import Request, take

MAX_PART_HEAD_BYTES = 16 << 10
MAX_PARAMETER_BYTES = 16 << 20
MAX_DATA_BYTES = 1 << 30
_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,200})"|([^;\s]{1,200}))', re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="((?:[^"\\]|\\.)*)"')
_FILE_NAME = re.compile(rb"[;\s]filename\*?=")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _broken(why: str) -> ClickHouseError:
    return ClickHouseError(36, f"The multipart/form-data body is malformed: {why}")


class _Parts:
    """Cuts a stream at the boundary, holding back only what might be the beginning of one."""

    def __init__(self, body: AsyncIterator[bytes], boundary: bytes) -> None:
        self._body = body
        self._mark = b"\r\n--" + boundary
        self._buffer = bytearray(b"\r\n")  # the first boundary has no line break before it

    async def _more(self) -> None:
        piece = await anext(self._body, None)
        if piece is None:
            raise _broken("it ends before the last boundary")
        self._buffer += piece

    async def content(self) -> AsyncIterator[bytes]:
        """The bytes up to the next boundary, which is consumed."""
        while (at := self._buffer.find(self._mark)) < 0:
            safe = len(self._buffer) - len(self._mark) + 1
            if safe > 0:
                yield bytes(self._buffer[:safe])
                del self._buffer[:safe]
            await self._more()
        if at:
            yield bytes(self._buffer[:at])
        del self._buffer[: at + len(self._mark)]

    async def head(self) -> bytes | None:
        """The next part's headers; None after the last part."""
        while len(self._buffer) < 2:
            await self._more()
        if self._buffer[:2] == b"--":
            async for _ in self._body:
                pass
            return None
        while (at := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > MAX_PART_HEAD_BYTES:
                raise _broken("a part's headers are too long")
            await self._more()
        head = bytes(self._buffer[:at])
        del self._buffer[: at + 4]
        return head


async def read_form(request: Request, files: ExitStack, folder: Path) -> tuple[ExternalTable, ...]:
    """Take the form's parameters into `request` and its tables into files that `files` removes.

    Raises `ClickHouseError` for a malformed or too large form and for a table without a structure."""
    match = _BOUNDARY.search(request.headers["content-type"])
    if match is None:
        raise _broken("no boundary")
    parts = _Parts(request.body(), (match.group(1) or match.group(2)).encode("latin-1"))
    async for _ in parts.content():  # what stands before the first boundary
        pass
    uploads: dict[str, IO[bytes]] = {}
    budget = [MAX_PARAMETER_BYTES, MAX_DATA_BYTES]
    while (head := await parts.head()) is not None:
        named = _NAME.search(head)
        if named is None:
            raise _broken("a part has no name")
        name = named.group(1).decode("utf-8", "surrogateescape")
        is_file = _FILE_NAME.search(head) is not None or f"{name}_structure" in request.external
        target: IO[bytes] = (
            files.enter_context(tempfile.NamedTemporaryFile(dir=folder)) if is_file else BytesIO()  # noqa: SIM115
        )
        async for piece in parts.content():
            budget[is_file] -= len(piece)
            if budget[is_file] < 0:
                raise ClickHouseError(307, "The form is too large")
            target.write(piece)
        if is_file:
            target.flush()
            uploads[name] = target
        else:
            target.seek(0)
            take(request, name, target.read().decode("utf-8", "surrogateescape"))
    return tuple(_table(request, name, upload.name) for name, upload in uploads.items())


def _table(request: Request, name: str, path: str) -> ExternalTable:
    structure = request.external.get(f"{name}_structure")
    if structure is None:
        types = request.external.get(f"{name}_types")
        if types is None:
            raise ClickHouseError(
                36, f"External table {name}: neither {name}_structure nor {name}_types is given"
            )
        structure = ", ".join(f"_{number} {kind}" for number, kind in enumerate(_split_types(types), 1))
    format = request.external.get(f"{name}_format", "TabSeparated")
    if not _IDENTIFIER.fullmatch(format):
        raise ClickHouseError(73, f"Unknown format {format}", name="UNKNOWN_FORMAT")
    return ExternalTable(sql_text(name), sql_text(structure), format, path)


def _split_types(types: str) -> list[str]:
    """At the commas outside brackets."""
    found, depth = [""], 0
    for character in types:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            found.append("")
        else:
            found[-1] += character
    return [kind.strip() for kind in found]

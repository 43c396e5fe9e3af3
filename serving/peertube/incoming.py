"""Takes an upload from a request: the file straight to the disk, whatever its size; the fields into memory."""

import asyncio
import hashlib
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import orjson
from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from serving.peertube.errors import NoRoomError, UploadRefusedError
from serving.peertube.fields import EXTENSIONS, SNIFFED_BYTES, VideoFields, check_kind, fields_of

log = logging.getLogger(__name__)

WRITE_BYTES = 1 << 20
FIELD_BYTES = 64 << 10
"""Of all fields together, names and headers included."""
IDLE_S = 30.0
"""A client that sends nothing for as long is gone."""
LEFTOVER_AGE_S = 7200.0
T = TypeVar("T")


@dataclass(frozen=True)
class Incoming:
    """A received upload. `content_hash`: SHA-256 (hex) of file and fields, the same for the same upload."""

    file: Path
    size: int
    media_type: str
    fields: VideoFields
    content_hash: str

    @property
    def extension(self) -> str:
        return EXTENSIONS[self.media_type]


@asynccontextmanager
async def received(request: Request, folder: Path, max_bytes: int) -> AsyncIterator[Incoming]:
    """The upload in `request`; its file is gone afterwards. Raises `UploadRefusedError`, `NoRoomError`."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise UploadRefusedError("the body must be multipart/form-data", 415)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes + FIELD_BYTES:
        raise UploadRefusedError(f"the file is larger than {max_bytes} bytes", 413, "file")
    path = folder / f"{os.getpid()}-{secrets.token_hex(8)}.part"
    file = await _on_disk(lambda: _opened(path))
    try:
        try:
            form = _Form(file, boundary, max_bytes)
            await _read(request, form)
        finally:
            await _on_disk(file.close)  # which writes what is still buffered
        yield form.result(path)
    finally:
        await asyncio.to_thread(_take_away, path)


def _opened(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("xb")


async def _on_disk(work: Callable[[], T]) -> T:
    """`work` in a thread; raises `NoRoomError` if the disk does not let it."""
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        log.error("an upload cannot be written: %s", error)  # noqa: TRY400 - the cause is in the message
        raise NoRoomError("the upload cannot be stored now") from error


async def _read(request: Request, form: "_Form") -> None:
    stream = aiter(request.stream())
    try:
        while True:
            async with asyncio.timeout(IDLE_S):
                chunk = await anext(stream)
            form.feed(chunk)
            if len(form.waiting) >= WRITE_BYTES:
                await _on_disk(form.write)
    except StopAsyncIteration:
        await _on_disk(form.write)
    except FormParserError as error:
        raise UploadRefusedError("the body is not well-formed multipart/form-data", 400) from error
    except TimeoutError as error:
        raise UploadRefusedError("the body stopped coming", 400) from error
    except ClientDisconnect as error:
        raise UploadRefusedError("the client went away", 400) from error
    form.end()


class _Form:
    """One body as it comes in: parts of text, and one part `file`."""

    def __init__(self, file: BinaryIO, boundary: bytes, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data,
                "on_part_end": self._part_ends,
                "on_end": self._body_ends,
            },
        )
        self.waiting = bytearray()
        self.size = 0
        self._head = b""
        self._media_type: str | None = None
        self._parts: list[tuple[str, str]] = []
        self._small = 0  # bytes in memory
        self._complete = False
        self._name, self._value, self._in_file = b"", b"", False
        self._headers: dict[bytes, bytes] = {}
        self._field, self._text = "", bytearray()

    def feed(self, chunk: bytes) -> None:
        self._parser.write(chunk)

    def write(self) -> None:
        """Blocks: for a thread. Nothing is fed meanwhile."""
        self._hash.update(self.waiting)
        self._file.write(self.waiting)
        self.waiting.clear()

    def end(self) -> None:
        if not self._complete:
            raise UploadRefusedError("the body ends before its last boundary", 400)

    def result(self, path: Path) -> Incoming:
        if self._media_type is None:
            raise UploadRefusedError("is missing", 422, "file")
        fields = fields_of(self._parts)
        self._hash.update(orjson.dumps([self._media_type, fields.model_dump()], option=orjson.OPT_SORT_KEYS))
        return Incoming(path, self.size, self._media_type, fields, self._hash.hexdigest())

    # What the parser calls.

    def _part_begins(self) -> None:
        self._headers, self._name, self._value = {}, b"", b""
        self._text = bytearray()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _header_ends(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name, self._value = b"", b""

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        self._in_file = self._field == "file"
        if self._in_file:
            if self._media_type is not None:
                raise UploadRefusedError("is there twice", 422, "file")
            media_type, _ = parse_options_header(self._headers.get(b"content-type"))
            self._media_type = media_type.decode("latin-1").lower()

    def _data(self, data: bytes, start: int, end: int) -> None:
        if not self._in_file:
            self._count(end - start)
            self._text += data[start:end]
            return
        self.size += end - start
        if self.size > self._max_bytes:
            raise UploadRefusedError(f"the file is larger than {self._max_bytes} bytes", 413, "file")
        if len(self._head) < SNIFFED_BYTES:
            self._head += data[start : min(end, start + SNIFFED_BYTES)]
            if len(self._head) >= SNIFFED_BYTES:
                self._check()
        self.waiting += memoryview(data)[start:end]

    def _part_ends(self) -> None:
        if self._in_file:
            self._check()  # also a file of fewer bytes than one looks at
            self._in_file = False
            return
        try:
            self._parts.append((self._field, self._text.decode()))
        except UnicodeDecodeError as error:
            raise UploadRefusedError("is not UTF-8", 422, self._field[:100] or "body") from error

    def _body_ends(self) -> None:
        self._complete = True

    def _check(self) -> None:
        check_kind(self._media_type or "", self._head[:SNIFFED_BYTES])

    def _count(self, more: int) -> None:
        self._small += more
        if self._small > FIELD_BYTES:
            raise UploadRefusedError(f"the fields are larger than {FIELD_BYTES} bytes", 413)


def sweep(folder: Path) -> None:
    """Take away what processes that were killed left behind."""
    if not folder.is_dir():
        return
    for path in folder.glob("*.part"):
        try:
            old = time.time() - path.stat().st_mtime > LEFTOVER_AGE_S
        except FileNotFoundError:  # another upload was quicker
            continue
        if old:
            _take_away(path)


def _take_away(path: Path) -> None:
    """An upload is no less taken, or refused for its own reason, because its file stays: `sweep` tries again."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s stays behind: %s", path.name, error)

"""Content encodings of requests and responses: any number of concatenated frames, bounded pieces."""

import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import lz4.frame
from backports import zstd

from stack.clickhouse.errors import ClickHouseError

# Decoded data are handed on in pieces of at most this size, so that a small bomb cannot fill the memory.
PIECE_BYTES = 1 << 20


class _Frame(Protocol):
    """One frame's decoder, as lz4 and zstd offer it."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes | None: ...

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


class _ZlibFrame:
    """zlib's decoder under the names that lz4 and zstd use."""

    def __init__(self, wbits: int) -> None:
        self._zlib = zlib.decompressobj(wbits)
        self._pending = b""

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._pending

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        piece = self._zlib.decompress(self._pending + data, max_length)
        self._pending = self._zlib.unconsumed_tail
        return piece


class Identity:
    """No encoding."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        if data:
            yield data

    def finish(self) -> None:
        """Nothing can be missing."""


class Frames:
    """Decodes concatenated frames; clickhouse-connect sends one insert as several."""

    def __init__(self, encoding: str, new_frame: Callable[[], _Frame]) -> None:
        self._encoding = encoding
        self._new_frame = new_frame
        self._frame: _Frame | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The decoded bytes that `data` completes, in pieces. Raises `ClickHouseError` for corrupt data."""
        while data or (self._frame is not None and not self._frame.eof and not self._frame.needs_input):
            if self._frame is None:
                self._frame = self._new_frame()
            try:
                piece = self._frame.decompress(data, PIECE_BYTES)
            except (RuntimeError, zlib.error, zstd.ZstdError, EOFError) as error:
                raise ClickHouseError(
                    271, f"Cannot decompress the request's body as {self._encoding}: {error}"
                ) from error
            data = b""
            if self._frame.eof:
                data = self._frame.unused_data or b""
                self._frame = None
            if piece:
                yield piece

    def finish(self) -> None:
        """Raises `ClickHouseError` if the last frame is cut off."""
        if self._frame is not None:
            raise ClickHouseError(
                271, f"Cannot decompress the request's body as {self._encoding}: the last frame is cut off"
            )


Decoder = Identity | Frames

_DECODERS: dict[str, Callable[[], Decoder]] = {
    "": Identity,
    "identity": Identity,
    "lz4": lambda: Frames("lz4", lz4.frame.LZ4FrameDecompressor),
    "zstd": lambda: Frames("zstd", zstd.ZstdDecompressor),
    "gzip": lambda: Frames("gzip", lambda: _ZlibFrame(31)),
    "deflate": lambda: Frames("deflate", lambda: _ZlibFrame(15)),
}


def decoder(encoding: str) -> Decoder:
    """The decoder of a request's `Content-Encoding`. Raises `ClickHouseError` for one we don't have."""
    make = _DECODERS.get(encoding.strip().lower())
    if make is None:
        known = ", ".join(name for name in _DECODERS if name)
        raise ClickHouseError(
            48, f"Unknown Content-Encoding {encoding!r} of the request; known are {known}", status=415
        )
    return make()


class Encoder(Protocol):
    """Encodes a response as a stream."""

    def compress(self, data: bytes) -> bytes: ...

    def flush(self) -> bytes: ...


class _Plain:
    def compress(self, data: bytes) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


class _Lz4:
    def __init__(self) -> None:
        self._lz4 = lz4.frame.LZ4FrameCompressor()
        self._started = False

    def _start(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        return self._lz4.begin()

    def compress(self, data: bytes) -> bytes:
        return self._start() + self._lz4.compress(data)

    def flush(self) -> bytes:
        return self._start() + self._lz4.flush()


class _Zlib:
    def __init__(self, wbits: int, level: int) -> None:
        self._zlib = zlib.compressobj(level, zlib.DEFLATED, wbits)

    def compress(self, data: bytes) -> bytes:
        return self._zlib.compress(data)

    def flush(self) -> bytes:
        return self._zlib.flush()


class _Zstd:
    def __init__(self, level: int) -> None:
        self._zstd = zstd.ZstdCompressor(level=level)

    def compress(self, data: bytes) -> bytes:
        return self._zstd.compress(data)

    def flush(self) -> bytes:
        return self._zstd.flush()


# Cheapest first: on loopback the processor is the narrow place, not the wire.
RESPONSE_ENCODINGS = ("lz4", "zstd", "gzip", "deflate")


def accepted_encoding(accept: str) -> str:
    """The encoding to answer with, of those in an `Accept-Encoding` header; '' for none."""
    offered = set()
    for item in accept.split(","):
        name, _, parameters = item.partition(";")
        if parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            offered.add(name.strip().lower())
    return next((name for name in RESPONSE_ENCODINGS if name in offered), "")


def encoder(encoding: str, level: int = 1) -> Encoder:
    """An encoder for one of `RESPONSE_ENCODINGS`, or '' for none; `level` of 1-9 for zlib and zstd."""
    if encoding == "lz4":
        return _Lz4()
    if encoding == "zstd":
        return _Zstd(level)
    if encoding == "gzip":
        return _Zlib(31, level)
    if encoding == "deflate":
        return _Zlib(15, level)
    return _Plain()

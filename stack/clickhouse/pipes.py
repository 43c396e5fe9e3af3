"""Pipes between a client's connection and the engine: what keeps inserts and results streaming in bounded memory."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator

# Linux's default of 64 KiB costs a switch of threads for every piece.
_PIPE_BYTES = 1 << 20
_READ_BYTES = 1 << 18


def open_pipe() -> tuple[int, int]:
    """`(read end, write end)`, as large as we may have it."""
    read_end, write_end = os.pipe()
    with contextlib.suppress(OSError):  # over the user's pipe quota: the default size does, slower
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return read_end, write_end


class PipeReader:
    """The read end of a pipe as a stream."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        self._stream: asyncio.StreamReader | None = None
        self._transport: asyncio.ReadTransport | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """What comes, until all writers have closed."""
        if self._stream is None:
            self._stream = asyncio.StreamReader(limit=_PIPE_BYTES)
            protocol = asyncio.StreamReaderProtocol(self._stream)
            self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: protocol, self._file
            )
        while chunk := await self._stream.read(_READ_BYTES):
            yield chunk

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        else:
            self._file.close()


class PipeWriter:
    """The write end of a pipe; `write` returns when there is room for more."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._closed = False

    async def write(self, data: bytes) -> None:
        """Raises `BrokenPipeError` if nobody reads."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                await self._room()

    async def _room(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_writer(self._descriptor, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(self._descriptor)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            os.close(self._descriptor)

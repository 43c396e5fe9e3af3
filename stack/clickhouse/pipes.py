"""Pipes between a client's connection and the engine: what keeps inserts and results streaming in bounded memory."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable

# Linux's default of 64 KiB costs a switch of threads for every piece.
_PIPE_BYTES = 1 << 20
_READ_BYTES = 1 << 18


def open_pipe() -> tuple[int, int]:
    """`(read end, write end)`, as large as we may have it."""
    read_end, write_end = os.pipe()
    with contextlib.suppress(OSError):  # over the user's pipe quota: the default size does, slower
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return read_end, write_end


async def _ready(
    register: Callable[[int, Callable[[], None]], object],
    unregister: Callable[[int], object],
    descriptor: int,
) -> None:
    ready = asyncio.Event()
    register(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        unregister(descriptor)


class PipeReader:
    """The read end of a pipe as a stream; `read` counts its bytes."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self.read = 0
        self.at_end = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """What comes, until all writers have closed. One at a time may read."""
        loop = asyncio.get_running_loop()
        while not self.at_end:
            try:
                chunk = os.read(self._descriptor, _READ_BYTES)
            except BlockingIOError:
                await _ready(loop.add_reader, loop.remove_reader, self._descriptor)
                continue
            self.read += len(chunk)
            self.at_end = not chunk
            if chunk:
                yield chunk

    def close(self) -> None:
        os.close(self._descriptor)


class PipeWriter:
    """The write end of a pipe; `written` counts its bytes."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._closed = False
        self.written = 0

    async def write(self, data: bytes) -> bool:
        """Return when there is room for more; False if nobody reads any more."""
        loop = asyncio.get_running_loop()
        view = memoryview(data)
        while view:
            try:
                count = os.write(self._descriptor, view)
            except BlockingIOError:
                await _ready(loop.add_writer, loop.remove_writer, self._descriptor)
                continue
            except BrokenPipeError:
                return False
            self.written += count
            view = view[count:]
        return True

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            os.close(self._descriptor)

"""A multipart body sent as it is read from the disk: of any size, a block of it in memory."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

BLOCK_BYTES = 1 << 20


class MultipartBody:
    """Fields, then one file. Can be iterated again: a second attempt sends the whole from the start."""

    def __init__(
        self, fields: Sequence[tuple[str, str]], *, name: str, file: Path, filename: str, media_type: str
    ) -> None:
        self._file = file
        boundary = f"reelgraph-{secrets.token_hex(16)}"
        self.content_type = f"multipart/form-data; boundary={boundary}"
        head = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
            for field, value in fields
        )
        head += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
            f"Content-Type: {media_type}\r\n\r\n"
        )
        self._head = head.encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()

    def length(self, file_bytes: int) -> int:
        """Of the whole body, for a file of that size."""
        return len(self._head) + file_bytes + len(self._tail)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._head
        file = await asyncio.to_thread(self._file.open, "rb")
        try:
            while block := await asyncio.to_thread(file.read, BLOCK_BYTES):
                yield block
        finally:
            file.close()
        yield self._tail

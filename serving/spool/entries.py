"""What is held in memory until it is written, and who waits for it."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from serving.spool.metrics import SpoolError

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Entry:
    """Lines that are written together; `future` is of who waits until they are on disk."""

    content: bytes
    lines: int
    future: "asyncio.Future[None] | None"


def tell(entries: Iterable[Entry], error: SpoolError | None) -> None:
    """Wake all who wait, from another thread: one call a loop."""
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for entry in entries:
        if entry.future is not None:
            waiting.setdefault(entry.future.get_loop(), []).append(entry.future)
    for loop, futures in waiting.items():
        try:
            loop.call_soon_threadsafe(_resolve, futures, error)
        except RuntimeError:
            log.debug("nobody waits for %d lines any more: the loop is closed", len(futures))


def _resolve(futures: list["asyncio.Future[None]"], error: SpoolError | None) -> None:
    for future in futures:
        if future.done():
            continue  # whoever waited has gone
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(type(error)(*error.args))

"""A cheap HTTP/1.1 client under an open loop: requests go out at their times, whether answers come or not.

Keep-alive connections, no library between: a request costs the client some tens of microseconds, so that it can share
two cores with what it measures.
"""

import asyncio
import signal
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from serving.bench.samples import CACHED, DEGRADED, EMPTY, MIXED, Samples

# uvloop's timers count milliseconds: asked for less, it would spin.
_TICK_S = 0.001
_SWEEP_S = 0.1
_RECONNECT_S = 0.05
# A list's header fields and everything before its items.
_HEAD_BYTES = 1200


@dataclass(frozen=True)
class Load:
    """`rate` requests a second for `seconds`, over `connections`. A request not answered `timeout_s` after its time has
    failed. `marks`: what every title of a bundle begins with, by bundle id, to find lists of two bundles' videos."""

    host: str
    port: int
    rate: float
    seconds: float
    connections: int = 64
    timeout_s: float = 5.0
    marks: Mapping[str, str] | None = None

    @property
    def count(self) -> int:
        return max(1, round(self.rate * self.seconds))


async def fire(load: Load, requests: Sequence[bytes]) -> Samples:
    """Send `requests` in turn, again from the first when they are used up. SIGTERM ends the load early: what was due
    by then is all there is."""
    return await _Run(load, requests).go()


class _Run:
    """One load: the clock, the connections, what waits and what was seen."""

    def __init__(self, load: Load, requests: Sequence[bytes]) -> None:
        n = load.count
        self.load = load
        self.requests = requests
        self.samples = Samples.empty(n)
        self.marks = {k.encode(): f'"title":"{v}'.encode() for k, v in (load.marks or {}).items()}
        self.idle: deque[_Connection] = deque()
        self.waiting: deque[int] = deque()
        self._stamps: dict[bytes, int] = {}
        self._last = n
        self._answered = 0
        self._next = 0
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()

    async def go(self) -> Samples:
        connections = [_Connection(self) for _ in range(self.load.connections)]
        await asyncio.gather(*(connection.open() for connection in connections))
        cpu = time.process_time()
        start = time.monotonic() + 0.05
        self.samples.due[:] = start + np.arange(self.load.count) / self.load.rate
        self._due = self.samples.due.tolist()
        self._loop.add_signal_handler(signal.SIGTERM, self._end_now)
        self._tick()
        sweeper = asyncio.create_task(self._sweep(connections))
        await self._done
        sweeper.cancel()
        self.samples.client_cpu_s = time.process_time() - cpu
        self.samples.stamps = [stamp.decode() for stamp in self._stamps]
        for connection in connections:
            connection.close()
        return self.samples.head(self._last)

    def _end_now(self) -> None:
        self._last = self._next
        self._look_for_the_end()

    def _look_for_the_end(self) -> None:
        if self._answered == self._last and not self._done.done():
            self._done.set_result(None)

    def _tick(self) -> None:
        now = time.monotonic()
        due, last = self._due, self._last
        while self._next < last and due[self._next] <= now:
            if self.idle:
                self.idle.popleft().send(self._next, now)
            else:
                self.waiting.append(self._next)
            self._next += 1
        if self._next < last:
            self._loop.call_later(max(_TICK_S, due[self._next] - now), self._tick)

    async def _sweep(self, connections: "list[_Connection]") -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            late = time.monotonic() - self.load.timeout_s
            for connection in connections:
                if connection.request is not None and self._due[connection.request] < late:
                    connection.give_up()
            while self.waiting and self._due[self.waiting[0]] < late:
                self.answered(self.waiting.popleft(), 0)

    def free(self, connection: "_Connection") -> None:
        if self.waiting:
            connection.send(self.waiting.popleft(), time.monotonic())
        else:
            self.idle.append(connection)

    def answered(self, request: int, status: int, flags: int = 0, stamp: bytes = b"") -> None:
        """Status 0: no answer, for whatever reason."""
        samples = self.samples
        samples.done[request] = time.monotonic()
        samples.status[request] = status
        samples.flags[request] = flags
        samples.stamp[request] = self._stamps.setdefault(stamp, len(self._stamps))
        self._answered += 1
        self._look_for_the_end()

    def judge(self, head: bytes, body: bytes) -> tuple[int, bytes]:
        """Flags of an answer, and what it says it was made with (`bundle` and `model`)."""
        begin = body.find(b'"bundle":"', 0, _HEAD_BYTES)
        if begin < 0:
            return 0, b""
        start = begin + 10
        bundle = body[start : body.find(b'"', start)]
        flags = 0
        at = head.find(b"x-bundle-id: ")
        if at < 0 or head[at + 13 : head.find(b"\r", at)] != bundle:
            flags |= MIXED
        if body.find(b'"degraded":true', 0, _HEAD_BYTES) >= 0:
            flags |= DEGRADED
        if body.find(b'"cached":true', 0, _HEAD_BYTES) >= 0:
            flags |= CACHED
        if body.find(b'"items":[]') >= 0:
            flags |= EMPTY
        mark = self.marks.get(bundle)
        if self.marks and (mark is None or body.count(mark) != body.count(b'"title":"')):
            flags |= MIXED
        return flags, body[begin : body.find(b"}", begin)]


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on it; opens itself again when it is lost."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._needed = -1
        self._body_at = 0
        self._closed = False
        self.request: int | None = None

    async def open(self) -> None:
        load = self._run.load
        loop = asyncio.get_running_loop()
        while not self._closed:
            try:
                await loop.create_connection(lambda: self, load.host, load.port)
            except OSError:  # refused while the server is away: what is due meanwhile fails by its time
                await asyncio.sleep(_RECONNECT_S)
            else:
                return

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        self._run.free(self)

    def send(self, request: int, now: float) -> None:
        assert self._transport is not None
        self.request = request
        self._run.samples.sent[request] = now
        self._transport.write(self._run.requests[request % len(self._run.requests)])

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._needed < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower() + b"\r\n"
            at = head.find(b"content-length: ")
            length = int(head[at + 16 : head.find(b"\r", at)]) if at >= 0 else 0
            self._body_at, self._needed = end + 4, end + 4 + length
        if len(self._buffer) >= self._needed:
            self._finish()

    def _finish(self) -> None:
        buffer, body_at = self._buffer, self._body_at
        self._buffer, self._needed = b"", -1
        request, self.request = self.request, None
        if request is None:
            return
        head = buffer[:body_at].lower()
        flags, stamp = self._run.judge(head, buffer[body_at:])
        self._run.answered(request, int(buffer[9:12]), flags, stamp)
        if b"\r\nconnection: close" in head:
            self.give_up()
        else:
            self._run.free(self)

    def give_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if self in self._run.idle:
            self._run.idle.remove(self)
        request, self.request = self.request, None
        self._buffer, self._needed, self._transport = b"", -1, None
        if request is not None:
            self._run.answered(request, 0)
        if not self._closed:
            self._again = asyncio.ensure_future(self.open())

    def close(self) -> None:
        self._closed = True
        self.give_up()

"""What a process holds while something goes on, sampled from a thread."""

import threading
import time
from types import TracebackType
from typing import Self

import numpy as np
import psutil

INTERVAL_S = 1.0


class MemoryWatch:
    """`with MemoryWatch(process) as memory`: resident bytes that are the process's own (not of mapped files), a second
    apart, with their times on the monotonic clock."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.times: list[float] = []
        self.bytes: list[int] = []

    def __enter__(self) -> Self:
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def mb(self) -> list[float]:
        return [round(value / 1e6, 1) for value in self.bytes]

    @property
    def peak_mb(self) -> float:
        return max(self.mb)

    def slope_mb_s(self, last: float = 0.5) -> float:
        """Of a straight line through the last part of the samples, MB a second."""
        first = int(len(self.bytes) * (1 - last))
        times, values = np.array(self.times[first:]), np.array(self.bytes[first:]) / 1e6
        return float(np.polyfit(times - times[0], values, 1)[0]) if len(times) > 1 else 0.0

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self._sample()

    def _sample(self) -> None:
        self.bytes.append(own_bytes(self._process))
        self.times.append(time.monotonic())


def own_bytes(process: psutil.Process) -> int:
    """Resident, without pages of files."""
    held = process.memory_info()
    return int(held.rss - held.shared)

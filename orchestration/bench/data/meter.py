"""How long something took, how much it computed, and how much memory its processes held at most meanwhile."""

import threading
import time
from types import TracebackType

import psutil

INTERVAL_S = 0.2


class Meter:
    """`with Meter(process, ...) as meter: ...`; then `meter.seconds`, `meter.cpu_s`, `meter.peak_gb`.

    The peak is the highest sum of the processes' resident sets (not their children's), sampled every 0.2 s. Pages that
    two of them share count twice: an upper bound.
    """

    def __init__(self, *processes: psutil.Process) -> None:
        self._processes = processes
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.seconds = 0.0
        self.cpu_s = 0.0
        self.peak_bytes = 0

    def __enter__(self) -> "Meter":
        self._sample()
        self._thread.start()
        self._cpu_began = self._cpu()
        self._began = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._began
        self.cpu_s = round(self._cpu() - self._cpu_began, 1)
        self._stop.set()
        self._thread.join()
        self._sample()

    @property
    def peak_gb(self) -> float:
        return round(self.peak_bytes / 1e9, 2)

    def _cpu(self) -> float:
        times = [process.cpu_times() for process in self._processes]
        return float(sum(each.user + each.system for each in times))

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self._sample()

    def _sample(self) -> None:
        self.peak_bytes = max(self.peak_bytes, sum(_resident(process) for process in self._processes))


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:  # what ended holds nothing; whoever asks it next will say so
        return 0

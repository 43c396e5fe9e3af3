"""The same line a thousand times says no more than twenty times: an overload must not be made worse by its log."""

import logging
import threading
import time

LINES = 20
EVERY_S = 10.0

_Place = tuple[str, int, object]


class FloodFilter(logging.Filter):
    """Lets `LINES` lines of one place in the code through in `EVERY_S`; the first one after that says, as `left_out`,
    how many were not written. Answers of different status are different lines."""

    def __init__(self, lines: int = LINES, every_s: float = EVERY_S) -> None:
        super().__init__()
        self._lines = lines
        self._every_s = every_s
        self._seen: dict[_Place, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        place = (record.pathname, record.lineno, getattr(record, "status", None))
        now = time.monotonic()
        with self._lock:
            since, count = self._seen.get(place, (now, 0))
            if now - since < self._every_s:
                self._seen[place] = since, count + 1
                return count < self._lines
            self._seen[place] = now, 1
        if count > self._lines:
            record.left_out = count - self._lines
        return True

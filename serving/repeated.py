"""Something that a thread does again and again until it is stopped."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

STOP_S = 5.0


class Repeated:
    """`start` and `stop` once; `look` is called at once and then every `poll_s` seconds, whatever it raises."""

    def __init__(self, name: str, poll_s: float, look: Callable[[], object]) -> None:
        self._look = look
        self._poll_s = poll_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._look()
            except Exception:  # the thread must outlive whatever it meets
                log.exception("%s: a look failed", self._thread.name)
            self._stop.wait(self._poll_s)

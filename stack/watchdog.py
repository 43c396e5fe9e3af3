"""Outlives the supervisor to clean up after it: `kill -9` leaves no orphan.

`python -m stack.watchdog HOME RUN` waits for the end of its stdin, which the supervisor holds. A word before
the end means that all is in order. Otherwise every process of that run is ended. (Each service also gets a
signal from the kernel when the supervisor dies; but its own children don't.)
"""

import signal
import sys
import time
from pathlib import Path

from stack.processes import owned, sweep

# Stores flush within it; somebody may wait for the ports.
GRACE_S = 5.0


def main(home: Path, run: str) -> None:
    """Blocks until the supervisor ends; raises `StillRunningError` for what can't be ended."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the supervisor; we end when it does
    if sys.stdin.buffer.read():
        return
    noticed = time.time()
    count = sweep(lambda: owned(home, run=run, born_before=noticed), GRACE_S)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    print(f"{stamp},000 ERROR   the supervisor died; ended the {count} processes it left", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

"""A server to supervise: answers /health, and misbehaves as told. `dummy_service.py PORT [MODE...]`.

Modes: `crash` exits 3 before it listens; `stubborn` ignores SIGTERM; `family` starts a child and a child that
left its session, and never collects them; `fails-once=FILE` exits 1 the first time; `needs=FILE` exits 1 without it.
GET /hang: it never answers again.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

hung = threading.Event()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/hang":
            hung.set()
        elif hung.is_set():
            time.sleep(3600)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    port, modes = int(sys.argv[1]), sys.argv[2:]
    print(f"dummy on {port}: {' '.join(modes)}", flush=True)
    if "crash" in modes:
        print("the reason is written here", flush=True)
        sys.exit(3)
    for mode in modes:
        if mode.startswith("fails-once="):
            marker = Path(mode.partition("=")[2])
            if not marker.exists():
                marker.touch()
                sys.exit(1)
        if mode.startswith("needs=") and not Path(mode.partition("=")[2]).exists():
            sys.exit(1)
    if "stubborn" in modes:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "family" in modes:
        sleeper = [sys.executable, "-c", "import time; time.sleep(3600)"]
        subprocess.Popen(sleeper)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv(sleeper[0], sleeper)
            os._exit(0)
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


main()

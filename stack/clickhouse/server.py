"""The server process: a socket, the application behind it, and an orderly end."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator

import uvicorn

from stack.clickhouse.app import App
from stack.clickhouse.engine import Engine

log = logging.getLogger("stack.clickhouse")

# ClickHouse's http_max_uri_size and field limits, together: what a request may have before its body.
_HEAD_BYTES = (1 << 20) + (128 << 10)
_KEEP_ALIVE_S = 30


class _Server(uvicorn.Server):
    """uvicorn's server, which ends with exit status 0 when it is asked to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        yield

    def _stop(self, number: int) -> None:
        log.info("%s: stopping", signal.Signals(number).name)
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


async def serve(app: App, engine: Engine, listener: socket.socket, grace_s: float) -> None:
    """Serve until SIGTERM or SIGINT; then finish what runs, or cancel it after `grace_s`, and close the engine."""
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=_HEAD_BYTES,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=grace_s,  # type: ignore[arg-type] # it is only handed on to asyncio
        limit_concurrency=None,
        backlog=512,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    watching = asyncio.ensure_future(app.watch())
    address = listener.getsockname()
    log.info("ready on http://%s:%d, ClickHouse %s, data in %s", *address[:2], engine.version, engine.path)
    try:
        await _Server(config).serve(sockets=[listener])
    finally:
        watching.cancel()
        await app.shutdown()
        log.info("stopped")

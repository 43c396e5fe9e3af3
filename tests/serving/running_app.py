"""The app over real parts on a real port, in a thread of the test's process: for what asks it thousands of times."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api.app import create_app
from serving.api.state import State
from serving.assembly import Parts, assemble
from serving.gateway import Gateway
from serving.telemetry.tracing import Traced
from stack.settings import Settings

from .conftest import free_port, wait_for


class _WithParts:
    """ASGI: makes the parts on the event loop that answers, when it starts, and closes them when it ends."""

    def __init__(self, settings: Settings, state: State) -> None:
        self._app: ASGIApp = Traced(Gateway(create_app(state), state.metrics))
        self._settings, self._state = settings, state
        self._parts: Parts | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        await receive()
        self._parts = await assemble(self._settings, self._state)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._parts.close()
        await send({"type": "lifespan.shutdown.complete"})


@contextmanager
def running_app(settings: Settings, *, with_bundle: bool = True) -> Iterator[tuple[str, State]]:
    """Its address and its state, once it answers (and a published bundle is in service)."""
    state, port = State(), free_port()
    config = uvicorn.Config(
        _WithParts(settings, state), host="127.0.0.1", port=port, log_config=None, lifespan="on", ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        wait_for(lambda: server.started and (state.serving is not None or not with_bundle), "the app", 20)
        yield f"http://127.0.0.1:{port}", state
    finally:
        server.should_exit = True
        thread.join(20)

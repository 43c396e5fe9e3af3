"""The HTTP interface as an ASGI application: what a request asks for, who may ask, and how it ends."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from stack.clickhouse.access import User, Users, credentials
from stack.clickhouse.engine import Engine
from stack.clickhouse.errors import ClickHouseError
from stack.clickhouse.execute import ExternalTable, Plan
from stack.clickhouse.external import read_form
from stack.clickhouse.incoming import make_plan, read_statement, refuse_unsupported
from stack.clickhouse.request import ClientGone, Receive, Request, parse
from stack.clickhouse.response import Responder, ResponseAborted, Send
from stack.clickhouse.sessions import Session, Sessions, timeout
from stack.clickhouse.transfer import Transfers

log = logging.getLogger("stack.clickhouse")

MAX_CONCURRENT = 64
SLOW_S = 5.0
# A body nobody wants any more is still read for a while: a client that is sending does not listen.
DISCARD_BYTES = 1 << 30


@dataclass
class App:
    """One application per engine."""

    engine: Engine
    users: Users
    sessions: Sessions = field(init=False)
    _transfers: Transfers = field(init=False)
    _active: int = 0

    def __post_init__(self) -> None:
        self.sessions = Sessions(self.engine)
        self._transfers = Transfers(
            self.engine, ThreadPoolExecutor(MAX_CONCURRENT, thread_name_prefix="query")
        )

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        responder = Responder(send, self.engine.version, self.engine.timezone)
        started = time.monotonic()
        request: Request | None = None
        error: ClickHouseError | None = None
        try:
            request = parse(scope, receive)
            responder.head_only = request.method == "HEAD"
            await self._route(request, responder)
        except ClientGone:
            log.debug("client gone, query_id=%s", responder.query_id)
            if responder.started:
                raise ResponseAborted from None
        except ClickHouseError as refused:
            error = refused
            if request is not None:
                await _discard(request)
            await responder.error(refused)
        except ResponseAborted:
            raise
        except Exception:
            log.exception("query_id=%s failed in the server", responder.query_id)
            await responder.error(
                ClickHouseError(1002, "The server failed, see its log", name="STD_EXCEPTION")
            )
        finally:
            _log(request, responder, time.monotonic() - started, error)

    async def _route(self, request: Request, responder: Responder) -> None:
        path = request.path.rstrip("/")
        if request.method not in ("GET", "POST", "HEAD"):
            raise ClickHouseError(48, f"Method {request.method} is not supported", status=405)
        asks_nothing = request.method != "POST" and "query" not in request.protocol
        if path in ("/ping", "/replicas_status") or (path == "" and asks_nothing):
            await responder.text(200, "Ok.\n")
        elif path == "":
            await self._query(request, responder)
        else:
            await responder.text(404, f"There is no handle {request.path}\n\nUse / or /ping.\n")

    async def _query(self, request: Request, responder: Responder) -> None:
        who = credentials(request.headers, request.protocol)
        user = self.users.authenticate(who)
        refuse_unsupported(request)
        if self._active >= MAX_CONCURRENT:
            raise ClickHouseError(202, f"Too many simultaneous queries. Maximum: {MAX_CONCURRENT}")
        self._active += 1
        try:
            with contextlib.ExitStack() as files:
                external: tuple[ExternalTable, ...] = ()
                if request.headers.get("content-type", "").startswith("multipart/form-data"):
                    external = await read_form(request, files, self.engine.spool_dir)
                responder.query_id = request.query_id
                responder.accept_encoding = _accepts(request)
                responder.compression_level = _compression_level(request)
                body = request.body()
                statement, data = await read_statement(request, body)
                async with self._session(request, who.user, user) as session:
                    plan = make_plan(request, user, statement, session, external)
                    await self._run(request, responder, plan, data, body)
        finally:
            self._active -= 1
        await responder.finish()

    @contextlib.asynccontextmanager
    async def _session(self, request: Request, name: str, user: User) -> AsyncIterator[Session | None]:
        session_id = request.protocol.get("session_id")
        if not session_id:
            yield None
            return
        seconds = timeout(request.protocol.get("session_timeout"))
        must_exist = request.flag("session_check")
        entered = self.sessions.enter(
            name, session_id, seconds, must_exist=must_exist, readonly=user.readonly
        )
        async with entered as session:
            yield session

    async def _run(
        self, request: Request, responder: Responder, plan: Plan, data: bytes, body: AsyncIterator[bytes]
    ) -> None:
        self.engine.register(plan.query_id)
        try:
            if plan.statement.kind == "insert":
                await self._transfers.insert(responder, plan, data, body)
            elif plan.statement.kind == "query":
                await self._transfers.select(request, responder, plan)
            else:
                await self._transfers.command(responder, plan)
        finally:
            self.engine.unregister(plan.query_id)

    async def watch(self) -> None:
        """Expire sessions, and give memory back after work; for ever."""
        worked = False
        while True:
            await asyncio.sleep(1)
            self.sessions.expire()
            if worked and not self._active:
                with contextlib.suppress(ClickHouseError):  # only a kindness to other processes
                    await asyncio.to_thread(self.engine.purge)
            worked = self._active > 0

    async def shutdown(self) -> None:
        """Cancel what runs and close everything; called when no request is under way any more."""
        for query_id in self.engine.running():
            await asyncio.to_thread(self.engine.kill, query_id)
        await asyncio.to_thread(self._transfers.threads.shutdown)
        self.sessions.close()
        self.engine.close()


async def _discard(request: Request) -> None:
    read = 0
    with contextlib.suppress(ClientGone, ClickHouseError):
        async for chunk in request.raw_body():
            read += len(chunk)
            if read > DISCARD_BYTES:
                return


def _accepts(request: Request) -> str:
    wanted = request.settings.get("enable_http_compression", "1").lower() not in ("0", "false")
    return request.headers.get("accept-encoding", "") if wanted else ""


def _compression_level(request: Request) -> int:
    level = request.settings.get("http_zlib_compression_level", "1")
    return min(9, max(1, int(level))) if level.isdecimal() else 1


def _log(
    request: Request | None, responder: Responder, seconds: float, error: ClickHouseError | None
) -> None:
    what = f"{request.method} {request.path}" if request else "request"
    query_id = responder.query_id or "-"
    if error is not None:
        log.info(
            "%s query_id=%s %.3f s: code %d: %s", what, query_id, seconds, error.code, error.message[:300]
        )
    elif seconds >= SLOW_S:
        log.info("%s query_id=%s slow: %.3f s", what, query_id, seconds)
    else:
        log.debug("%s query_id=%s %.3f s", what, query_id, seconds)

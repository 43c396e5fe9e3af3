"""The HTTP interface as an ASGI application: what a request asks for, run on the engine, answered as a stream."""

import asyncio
import contextlib
import logging
import os
import tempfile
import time
from collections.abc import AsyncIterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from stack.clickhouse.access import User, Users, credentials
from stack.clickhouse.engine import Engine, Outcome
from stack.clickhouse.errors import ClickHouseError
from stack.clickhouse.execute import Plan, execute
from stack.clickhouse.lexer import sql_text
from stack.clickhouse.pipes import PipeReader, PipeWriter, open_pipe
from stack.clickhouse.request import ClientGone, Receive, Request, parse
from stack.clickhouse.response import Responder, ResponseAborted, Send
from stack.clickhouse.sessions import Session, Sessions, timeout
from stack.clickhouse.statement import Statement, Undecided, analyse

log = logging.getLogger("stack.clickhouse")

MAX_CONCURRENT = 64
# The part of a request that may be SQL, as the engine's max_query_size bounds an insert's head ...
HEAD_BYTES = 256 << 10
# ... and a whole statement (a client may raise the engine's own limit up to this).
STATEMENT_BYTES = 16 << 20
# A result's beginning waits in memory, so that a failure there still has a status of its own.
BUFFER_BYTES = 1 << 20
# With wait_end_of_query all of it waits, on disk from the first limit on; beyond the second it is streamed after all.
SPOOL_MEMORY_BYTES = 8 << 20
SPOOL_BYTES = 2 << 30
SLOW_S = 5.0
# A body nobody wants any more is still read for a while: a client that is sending does not listen.
DISCARD_BYTES = 1 << 30


@dataclass
class App:
    """One application per engine."""

    engine: Engine
    users: Users
    sessions: Sessions = field(init=False)
    _threads: ThreadPoolExecutor = field(init=False)
    _active: int = 0

    def __post_init__(self) -> None:
        self.sessions = Sessions(self.engine)
        self._threads = ThreadPoolExecutor(MAX_CONCURRENT, thread_name_prefix="query")

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
            log.debug("client gone")
        except ClickHouseError as refused:
            error = refused
            if request is not None:
                await self._discard(request)
            await responder.error(refused)
        finally:
            _log(request, responder, time.monotonic() - started, error)

    async def _route(self, request: Request, responder: Responder) -> None:
        path, has_query = request.path.rstrip("/"), "query" in request.protocol
        if request.method not in ("GET", "POST", "HEAD"):
            raise ClickHouseError(48, f"Method {request.method} is not supported", status=405)
        if path in ("/ping", "/replicas_status") or (
            path == "" and request.method != "POST" and not has_query
        ):
            await responder.text(200, "Ok.\n")
        elif path == "":
            await self._query(request, responder)
        else:
            await responder.text(404, f"There is no handle {request.path}\n\nUse / or /ping.\n")

    async def _discard(self, request: Request) -> None:
        read = 0
        with contextlib.suppress(ClientGone, ClickHouseError):
            async for chunk in request.raw_body():
                read += len(chunk)
                if read > DISCARD_BYTES:
                    return

    async def _query(self, request: Request, responder: Responder) -> None:
        who = credentials(request.headers, request.protocol)
        user = self.users.authenticate(who)
        _refuse_unsupported(request)
        responder.query_id = request.query_id
        responder.accept_encoding = _accepts(request)
        responder.compression_level = _compression_level(request)
        if self._active >= MAX_CONCURRENT:
            raise ClickHouseError(202, f"Too many simultaneous queries. Maximum: {MAX_CONCURRENT}")
        self._active += 1
        try:
            body = request.body()
            statement, data = await _read_statement(request, body)
            async with self._session(request, who.user) as session:
                plan = _plan(request, user, statement, session)
                self.engine.register(plan.query_id)
                try:
                    await self._run(request, responder, plan, data, body)
                finally:
                    self.engine.unregister(plan.query_id)
        finally:
            self._active -= 1

    @contextlib.asynccontextmanager
    async def _session(self, request: Request, user: str) -> AsyncIterator[Session | None]:
        session_id = request.protocol.get("session_id")
        if not session_id:
            yield None
            return
        seconds = timeout(request.protocol.get("session_timeout"))
        async with self.sessions.enter(
            user, session_id, seconds, must_exist=request.flag("session_check")
        ) as session:
            yield session

    async def _run(
        self, request: Request, responder: Responder, plan: Plan, data: bytes, body: AsyncIterator[bytes]
    ) -> None:
        kind = plan.statement.kind
        if kind == "insert":
            await self._insert(responder, plan, data, body)
        elif kind == "query":
            await self._select(request, responder, plan)
        else:
            outcome = await asyncio.shield(self._submit(plan))
            await responder.start_result(plan.format, outcome)
            await responder.write(outcome.data)
            await responder.finish()

    def _submit(
        self, plan: Plan, *, source: int | None = None, sink: int | None = None
    ) -> asyncio.Future[Outcome]:
        """Run the plan in a thread, which closes our copies of the descriptors it was given."""

        def job() -> Outcome:
            try:
                return execute(self.engine, plan, source=source, sink=sink)
            finally:
                for descriptor in (source, sink):
                    if descriptor is not None:
                        os.close(descriptor)

        return asyncio.get_running_loop().run_in_executor(self._threads, job)

    async def _stop(self, plan: Plan, job: asyncio.Future[Outcome]) -> None:
        """Kill the plan's query, and return when the engine knows; the job may not have reached it yet."""
        while not job.done():
            if await asyncio.to_thread(self.engine.kill, plan.query_id):
                return
            await asyncio.sleep(0.01)

    async def _insert(
        self, responder: Responder, plan: Plan, data: bytes, body: AsyncIterator[bytes]
    ) -> None:
        read_end, write_end = open_pipe()
        writer = PipeWriter(write_end)
        job = self._submit(plan, source=read_end)
        feeding = asyncio.ensure_future(_feed(writer, data, body))
        try:
            await asyncio.wait({feeding, job}, return_when=asyncio.FIRST_COMPLETED)
            if not feeding.done():  # the engine has refused the insert and reads no more
                feeding.cancel()
                await asyncio.wait({feeding})
            else:
                feeding.result()
        except BaseException:
            # The body is cut off or corrupt, the client gone, or we are stopping: the end of the pipe would be
            # taken for the end of the data, so the insert must be dead before.
            feeding.cancel()
            await asyncio.shield(self._stop(plan, job))
            writer.close()
            await asyncio.wait({job})
            _ = job.exception()
            raise
        writer.close()
        outcome = await job
        await responder.start_result(plan.format, outcome)
        await responder.finish()

    async def _select(self, request: Request, responder: Responder, plan: Plan) -> None:
        read_end, write_end = open_pipe()
        reader = PipeReader(read_end)
        job = self._submit(plan, sink=write_end)
        watching = asyncio.ensure_future(request.gone())
        sending = asyncio.ensure_future(_answer(request, responder, plan, reader, job, self.engine))
        try:
            await asyncio.wait({watching, sending}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():
                raise ClientGone
            sending.result()
        except BaseException:
            sending.cancel()
            await asyncio.shield(self._stop(plan, job))
            raise
        finally:
            watching.cancel()
            # The engine's thread must not wait for a reader for ever.
            async for _ in _quietly(reader):
                pass
            reader.close()
            await asyncio.wait({job})
            _ = job.exception()

    async def shutdown(self) -> None:
        """Cancel what runs and close everything; called when no request is under way any more."""
        for query_id in self.engine.running():
            await asyncio.to_thread(self.engine.kill, query_id)
        self.sessions.close()
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self.engine.close()


async def _quietly(reader: PipeReader) -> AsyncIterator[bytes]:
    with contextlib.suppress(OSError):
        async for chunk in reader.chunks():
            yield chunk


async def _feed(writer: PipeWriter, data: bytes, body: AsyncIterator[bytes]) -> None:
    if data:
        await writer.write(data)
    async for piece in body:
        await writer.write(piece)


async def _answer(
    request: Request,
    responder: Responder,
    plan: Plan,
    reader: PipeReader,
    job: "asyncio.Future[Outcome]",
    engine: Engine,
) -> None:
    """Send a query's result: its beginning, or with `wait_end_of_query` all of it, only when it is known good."""
    patient = request.flag("wait_end_of_query") or plan.settings.get("http_wait_end_of_query", "0") in (
        "1",
        "true",
    )
    limit = SPOOL_BYTES if patient else BUFFER_BYTES
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_MEMORY_BYTES, dir=engine.spool_dir) as buffer:
        size = 0
        chunks = reader.chunks()
        async for chunk in chunks:
            buffer.write(chunk)
            size += len(chunk)
            if size >= limit:
                break
        else:
            outcome = await asyncio.shield(job)
            if outcome.data:
                buffer.write(outcome.data)
            await responder.start_result(plan.format, outcome)
        if not responder.started:
            await responder.start_result(plan.format, None)
        buffer.seek(0)
        while piece := buffer.read(1 << 18):
            await responder.write(piece)
    async for chunk in chunks:
        await responder.write(chunk)
    await asyncio.shield(job)
    await responder.finish()


async def _read_statement(request: Request, body: AsyncIterator[bytes]) -> tuple[Statement, bytes]:
    """The statement and the beginning of the data that follow it in the same text."""
    text = sql_text(request.protocol.get("query", ""))
    prefix = len(text) + 1 if text else 0
    sent = bytearray()
    complete = False
    while not complete:
        limit = HEAD_BYTES if len(sent) < HEAD_BYTES else STATEMENT_BYTES
        complete = True
        async for piece in body:
            sent += piece
            if len(sent) >= limit:
                complete = False
                break
        sql = f"{text}\n{sent.decode('latin-1')}" if prefix and sent else text or sent.decode("latin-1")
        try:
            statement = analyse(sql, complete=complete)
        except Undecided:
            if len(sent) >= STATEMENT_BYTES:
                raise ClickHouseError(
                    62, f"Syntax error: Max query size exceeded: {STATEMENT_BYTES} bytes", status=413
                ) from None
            continue
        if statement.data_start is None:
            return statement, b""
        return statement, sql[statement.data_start :].encode("latin-1")
    raise AssertionError("unreachable")


def _plan(request: Request, user: User, statement: Statement, session: Session | None) -> Plan:
    readonly: int = user.readonly
    if request.method in ("GET", "HEAD") and not readonly:
        # As a server does; in a session it could not be taken back, so there it is judged by the statement.
        if session is None:
            readonly = 2
        elif not statement.reads_only:
            raise ClickHouseError(
                164,
                "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly",
            )
    return Plan(
        query_id=request.query_id,
        statement=statement,
        format=(statement.format if statement.kind != "insert" else None) or request.default_format,
        readonly=readonly,
        session=session,
        database=request.database,
        settings=request.settings,
        parameters=request.parameters,
    )


def _refuse_unsupported(request: Request) -> None:
    for name in ("compress", "decompress"):
        if request.flag(name):
            raise ClickHouseError(
                48,
                f"{name}=1 (ClickHouse's own block format) is not supported here, use HTTP's content encodings",
            )
    if request.protocol.get("role"):
        raise ClickHouseError(48, "Roles are not supported here")
    if "multipart/form-data" in request.headers.get("content-type", ""):
        raise ClickHouseError(48, "External data and forms (multipart/form-data) are not supported here")


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


__all__ = ["App", "ResponseAborted"]

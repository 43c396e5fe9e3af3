"""Data on their way: a client's body into an insert, a query's result into a response, and their sudden ends."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from stack.clickhouse.engine import Engine, Outcome
from stack.clickhouse.execute import Plan, execute
from stack.clickhouse.pipes import PipeReader, PipeWriter, open_pipe
from stack.clickhouse.request import ClientGone, Request
from stack.clickhouse.response import Responder

# A result's beginning waits in memory, so that a failure there still has a status of its own.
BUFFER_BYTES = 1 << 20
# With wait_end_of_query all of it waits, on disk from the first limit on; beyond the second it is streamed after all.
SPOOL_MEMORY_BYTES = 8 << 20
SPOOL_BYTES = 2 << 30
_PIECE_BYTES = 1 << 18
# How often a transfer that stands still is checked for a KILL QUERY.
_WATCH_S = 1.0


@dataclass
class Transfers:
    """Runs plans in threads and moves their data. Finishing the response is left to the caller: a client may
    send its next statement then, so this one must be over in every respect."""

    engine: Engine
    threads: ThreadPoolExecutor

    async def command(self, responder: Responder, plan: Plan) -> None:
        """A statement without a stream either way. It runs to its end even if the client leaves, as on a server."""
        outcome = await asyncio.shield(self._submit(plan))
        has_result = outcome.data or plan.statement.kind == "kill"
        await responder.start_result(plan.format if has_result else None, outcome)
        await responder.write(outcome.data)

    async def insert(self, responder: Responder, plan: Plan, data: bytes, body: AsyncIterator[bytes]) -> None:
        """`data`, then `body`, into the plan's insert. If they don't end well, nothing of them is reported as done
        and the insert is killed."""
        read_end, write_end = open_pipe()
        writer = PipeWriter(write_end)
        job = self._submit(plan, source=read_end)
        feeding = asyncio.ensure_future(_feed(writer, data, body))
        try:
            while not feeding.done() and not job.done():
                written = writer.written
                await asyncio.wait((feeding, job), timeout=_WATCH_S, return_when=asyncio.FIRST_COMPLETED)
                if written == writer.written and not job.done() and await self._killed(plan):
                    break
            if feeding.done() or (job.done() and job.exception() is None):
                await feeding
        except BaseException:
            # The body is cut off or corrupt, the client gone, or we are stopping: the end of the pipe would be
            # taken for the end of the data, so the insert must be dead before.
            feeding.cancel()
            await asyncio.shield(self._abandon_insert(plan, job, writer))
            raise
        feeding.cancel()  # if the engine has refused the insert, or somebody killed it
        await asyncio.wait((feeding,))
        writer.close()
        await responder.start_result(None, await job)

    async def _abandon_insert(self, plan: Plan, job: "asyncio.Future[Outcome]", writer: PipeWriter) -> None:
        await self._stop(plan, job)
        writer.close()
        await asyncio.wait((job,))
        job.exception()

    async def select(self, request: Request, responder: Responder, plan: Plan) -> None:
        """The plan's result as the response. The query ends with the client's connection."""
        read_end, write_end = open_pipe()
        reader = PipeReader(read_end)
        job = self._submit(plan, sink=write_end)
        watching = asyncio.ensure_future(request.gone())
        sending = asyncio.ensure_future(self._answer(request, responder, plan, reader, job))
        try:
            await self._until_sent(plan, reader, sending, watching)
        except BaseException:
            sending.cancel()
            await asyncio.shield(self._stop(plan, job))
            raise
        finally:
            watching.cancel()
            await asyncio.shield(_drain(reader, job))

    async def _until_sent(
        self,
        plan: Plan,
        reader: PipeReader,
        sending: "asyncio.Future[None]",
        watching: "asyncio.Future[None]",
    ) -> None:
        while not sending.done():
            read = reader.read
            await asyncio.wait((watching, sending), timeout=_WATCH_S, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                break
            if watching.done() or (read == reader.read and await self._killed(plan) and not reader.at_end):
                raise ClientGone  # or it does not take what is left of a killed query's result
        sending.result()

    async def _answer(
        self,
        request: Request,
        responder: Responder,
        plan: Plan,
        reader: PipeReader,
        job: "asyncio.Future[Outcome]",
    ) -> None:
        """Send the beginning of a result, or with `wait_end_of_query` all of it, only when it is known good."""
        patient = request.flag("wait_end_of_query") or plan.settings.get("http_wait_end_of_query") in (
            "1",
            "true",
        )
        limit = SPOOL_BYTES if patient else BUFFER_BYTES
        chunks = reader.chunks()
        with tempfile.SpooledTemporaryFile(
            max_size=SPOOL_MEMORY_BYTES, dir=str(self.engine.spool_dir)
        ) as buffer:
            outcome: Outcome | None = None
            while buffer.tell() < limit:
                chunk = await anext(chunks, b"")
                if not chunk:
                    outcome = await asyncio.shield(job)
                    buffer.write(outcome.data)
                    break
                buffer.write(chunk)
            await responder.start_result(plan.format, outcome)
            buffer.seek(0)
            while piece := buffer.read(_PIECE_BYTES):
                await responder.write(piece)
        async for chunk in chunks:
            await responder.write(chunk)
        await asyncio.shield(job)

    def _submit(
        self, plan: Plan, *, source: int | None = None, sink: int | None = None
    ) -> "asyncio.Future[Outcome]":
        """Run the plan in a thread, which closes the ends of pipes it was given."""

        def job() -> Outcome:
            try:
                return execute(self.engine, plan, source=source, sink=sink)
            finally:
                for descriptor in (source, sink):
                    if descriptor is not None:
                        os.close(descriptor)

        return asyncio.get_running_loop().run_in_executor(self.threads, job)

    async def _killed(self, plan: Plan) -> bool:
        return await asyncio.to_thread(self.engine.cancelled, plan.query_id)

    async def _stop(self, plan: Plan, job: "asyncio.Future[Outcome]") -> None:
        """Kill the plan's query and return when the engine knows; the job may not have reached it yet."""
        while not job.done():
            if await asyncio.to_thread(self.engine.kill, plan.query_id):
                return
            await asyncio.sleep(0.01)


async def _feed(writer: PipeWriter, data: bytes, body: AsyncIterator[bytes]) -> None:
    """All of it, also when the engine stops reading: what it thinks of the data is the job's to tell, whether
    the body is sound is to be found out here."""
    reading = await writer.write(data)
    async for piece in body:
        reading = reading and await writer.write(piece)


async def _drain(reader: PipeReader, job: "asyncio.Future[Outcome]") -> None:
    """The engine's thread must not wait for a reader for ever."""
    with contextlib.suppress(OSError):
        async for _ in reader.chunks():
            pass
    reader.close()
    await asyncio.wait((job,))
    job.exception()

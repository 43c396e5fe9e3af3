"""Tracked events, in this order: on disk, in the session, out of the cached feeds; ClickHouse comes later."""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ingestion.event_stream import REFUSED_LINE
from serving.events.enrich import TrackedEvent, enriched
from serving.events.metrics import EventMetrics
from serving.events.schemas import TrackRequest
from serving.events.shipping import EventShipper
from serving.spool.spool import Spool, SpoolBrokenError, SpoolError
from stack.erased_users import OptOutFileError

if TYPE_CHECKING:
    from serving.api.state import State
    from stack.settings import Settings

log = logging.getLogger(__name__)

NAME = "events"
DURABLE_S = 2.0
STOP_S = 5.0
SEGMENT_S = 2.0
"""Shipping a segment costs some 15 ms of this process's time, however small it is; dbt looks every five minutes."""


class NotDurableError(Exception):
    """The disk did not take the events in time. It may do so yet: the client must send them again under their ids."""


class ErasedUserError(Exception):
    """The user was erased: nothing of the event is kept."""


class EventIntake:
    """What the event routes hand their events to."""

    def __init__(self, settings: "Settings", state: "State") -> None:
        self._state = state
        self.metrics = EventMetrics(state.metrics.registry)
        self._shipper = EventShipper(settings)
        self._spool = Spool(
            settings.spool_dir / NAME,
            self._shipper.ship,
            registry=state.metrics.registry,
            name=NAME,
            max_segment_age_s=SEGMENT_S,
        )

    def start(self) -> None:
        """Start writing, and shipping what an earlier process left."""
        self._spool.start()

    async def close(self) -> None:
        """Ship what is there, or leave it on disk for the next start."""
        await self._spool.stop(STOP_S)
        await asyncio.to_thread(self._shipper.close)

    def waiting(self) -> tuple[int, int, float]:
        """Events and bytes that are not in ClickHouse yet, and the age in seconds of the oldest."""
        return self._spool.waiting()

    def enriched(self, asked: TrackRequest) -> TrackedEvent:
        """The event as it will be stored; raises `ErasedUserError`."""
        if self._is_erased(asked.user_id):
            raise ErasedUserError
        return enriched(asked, datetime.now(UTC), self._state.serving)

    def _is_erased(self, user_id: str) -> bool:
        try:
            return self._state.is_erased(user_id)
        except OptOutFileError:
            return False  # kept on disk: the shipper sends nothing before it has read the list itself

    async def refuse(self, erased: int) -> None:
        """Have the ledger count events of erased users, which are not kept; raises `NotDurableError`."""
        await self._durable([REFUSED_LINE] * erased)

    async def take(self, events: Sequence[TrackedEvent]) -> None:
        """Returns once the events survive a kill and the next feed takes them into account, as far as Redis (or this
        process's own memory) can; raises `NotDurableError`."""
        if not events:
            return
        started = time.perf_counter()
        await self._durable([event.line for event in events])
        await self._remember(events)
        self.metrics.seconds.observe(time.perf_counter() - started)
        for event in events:
            self.metrics.count("accepted", event.act.event_type)
            delay_ms = event.row["created_at"] - event.row["impression_timestamp"]
            self._state.metrics.outcomes.happened(
                event.act.event_type, event.row["request_id"], delay_ms / 1000
            )

    async def _durable(self, lines: Iterable[bytes]) -> None:
        try:
            async with asyncio.timeout(DURABLE_S):
                await self._spool.all_durable(list(lines))
        except TimeoutError as error:
            raise NotDurableError("the disk is too slow") from error
        except SpoolError as error:
            kind = "the disk cannot be written" if isinstance(error, SpoolBrokenError) else "the disk is full"
            raise NotDurableError(kind) from error

    async def _remember(self, events: Sequence[TrackedEvent]) -> None:
        context, cache = self._state.context, self._state.cache
        saved = context is not None and await context.record_all(event.act for event in events)
        if not saved and cache is not None:  # Redis drops the lists as it records
            for user_id in {event.act.user_id for event in events}:
                cache.drop(user_id)

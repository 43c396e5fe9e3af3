"""The parts of an endpoint are closed one after the other, and those that wait for a store together."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from prometheus_client import CollectorRegistry

from serving.api.state import State
from serving.assembly import Parts
from serving.decisions.log import DecisionLog
from serving.events import intake as event_intake
from serving.events.intake import EventIntake
from serving.events.schemas import TrackRequest
from stack.settings import Settings
from tests.serving.conftest import wait_for
from tests.serving.decisions.conftest import decision


def test_the_newest_is_closed_first_and_what_fails_keeps_nobody_open(caplog):
    closed: list[str] = []

    def closing(name: str, error: Exception | None = None) -> Callable[[], Awaitable[None]]:
        async def close() -> None:
            closed.append(name)
            if error:
                raise error

        return close

    async def run() -> None:
        parts = Parts()
        parts.on_close("first", closing("first"))
        parts.on_close("second", closing("second", RuntimeError("stuck")))
        parts.on_close("third", closing("third"))
        parts.on_close("late", closing("late"), beside="second")
        await parts.close()

    asyncio.run(run())
    assert closed == ["third", "second", "late", "first"]
    assert "second did not close cleanly" in caplog.text


def test_a_store_that_hangs_is_waited_for_once_not_twice(tmp_path: Path, monkeypatch):
    tried: set[str] = set()

    def hang(name: str) -> Callable[..., None]:
        def ship(*_: object) -> None:
            tried.add(name)
            time.sleep(4)

        return ship

    monkeypatch.setattr("serving.events.shipping.EventShipper.ship", hang("events"))
    monkeypatch.setattr("serving.decisions.shipping.DecisionShipper.ship", hang("decisions"))
    monkeypatch.setattr(event_intake, "STOP_S", 1.0)
    settings = Settings(_env_file=None, home=tmp_path)

    async def run() -> float:
        state, parts = State(), Parts()
        state.settings = settings
        decisions, events = DecisionLog(settings, CollectorRegistry()), EventIntake(settings, state)
        parts.on_close("decision log", lambda: decisions.close(1.0))
        parts.on_close("events", events.close, beside="decision log")
        decisions.start()
        events.start()
        decisions.record(decision(1))
        asked = TrackRequest(user_id="ann", video_id="v", event_type="like")
        await events.take([events.enriched(asked)])
        await asyncio.to_thread(wait_for, lambda: tried == {"events", "decisions"}, "both attempts", 10)
        started = time.perf_counter()
        await parts.close()
        return time.perf_counter() - started

    assert asyncio.run(run()) < 2.5  # one after the other: 3 s and more

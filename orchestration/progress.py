"""Shows a Dagster run as it happens: a line a step, the steps' own words, and what failed."""

import time
from collections.abc import Callable
from typing import TypeVar

from rich.console import Console

from orchestration.graphql import UNFINISHED, DagsterClient, DagsterUnreachable, RunEvent

T = TypeVar("T")

POLL_S = 0.5
STEP_KINDS = {"ExecutionStepStartEvent", "ExecutionStepSuccessEvent", "ExecutionStepFailureEvent"}


def follow(client: DagsterClient, run_id: str, console: Console) -> str:
    """Print events until the run ends; returns its status (SUCCESS, FAILURE, CANCELED)."""
    cursor: str | None = None
    began: dict[str, float] = {}
    running: list[str] = []
    with console.status("waiting for the run to start") as spinner:
        while True:
            status = patiently(lambda: client.status(run_id))
            events, cursor = patiently(lambda at=cursor: client.events(run_id, at))  # type: ignore[misc]
            for event in events:
                line = describe(event, began)
                _track(event, running)
                if line:
                    console.print(line, highlight=False, markup=False)
            spinner.update(f"running {', '.join(running)}" if running else f"run {status.lower()}")
            if status not in UNFINISHED and not events:
                return status
            time.sleep(POLL_S)


def patiently(call: Callable[[], T], patience_s: float = 90) -> T:
    """The call's result; while Dagster is being restarted, asked for again and again."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return call()
        except DagsterUnreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def _track(event: RunEvent, running: list[str]) -> None:
    if event.step is None or event.kind not in STEP_KINDS:
        return
    if event.kind == "ExecutionStepStartEvent":
        running.append(event.step)
    elif event.step in running:
        running.remove(event.step)


def _is_noise(event: RunEvent) -> bool:
    """What dagster-dbt tells about itself."""
    return event.message.lstrip().startswith(("A dbt subsetted", "Copying `", "Finished dbt command"))


def describe(event: RunEvent, began: dict[str, float]) -> str | None:
    """The line to print for an event, if it is worth one. `began` keeps each step's start between calls."""
    step = event.step or ""
    if event.kind == "ExecutionStepStartEvent":
        began[step] = event.at
        return None
    if event.kind == "ExecutionStepSuccessEvent":
        return f"  {step:<28} {event.at - began.get(step, event.at):6.1f} s"
    if event.kind in ("ExecutionStepFailureEvent", "RunFailureEvent"):
        return f"  {step or 'run':<28} FAILED  {event.message}"
    if event.kind == "ExecutionStepUpForRetryEvent":
        return f"  {step:<28} failed, trying again: {event.message}"
    if (
        event.kind == "LogMessageEvent"
        and event.level in ("INFO", "WARNING", "ERROR")
        and not _is_noise(event)
    ):
        return f"    {step}: {event.message.splitlines()[0][:160]}"
    return None

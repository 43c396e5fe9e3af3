"""`reelgraph demo`: from an empty home to a served feed, with progress, and a summary of what came out."""

import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from orchestration.graphql import AssetState, DagsterClient, DagsterError
from orchestration.progress import follow, patiently
from orchestration.summary import print_summary
from stack.settings import Settings

JOB = "everything_job"


class DemoFailed(Exception):
    """The demo could not come to its end; the message says where to look."""


StackStarter = Callable[[Settings, Console], None]


def run_demo(settings: Settings, data: Path | None, console: Console, *, start_stack: StackStarter) -> None:
    """Check the source, start the stack, materialize what is missing or out of date, ask for a feed.

    Raises SourceError before anything is started or written if the data set cannot be read."""
    from ingestion.sources import choose_source, open_source

    started = time.monotonic()
    source = open_source(settings, data)
    with console.status("checking the data set"):
        source.validate()
        fingerprint = source.fingerprint()
    console.print(f"data: {source.name}, fingerprint {fingerprint[:12]}")

    start_stack(settings, console)
    choose_source(settings, data)
    client = DagsterClient(settings)
    try:
        pipeline_seconds = _materialize(client, settings, fingerprint, console)
    except DagsterError as error:
        raise DemoFailed(f"Dagster: {error}") from error
    finally:
        client.close()
    print_summary(settings, console, pipeline_seconds=pipeline_seconds, started=started)


def _materialize(
    client: DagsterClient, settings: Settings, fingerprint: str, console: Console
) -> float | None:
    """Seconds of the run, or None if everything was up to date."""
    began = time.monotonic()
    run_id = client.unfinished_run(JOB)
    if run_id:
        console.print(f"following the run already under way: {settings.dagster_url}/runs/{run_id}")
    else:
        reason = why_run(client, fingerprint)
        if reason is None:
            console.print("nothing changed: every asset is up to date")
            return None
        run_id = patiently(
            lambda: client.launch(JOB, tags={"reelgraph/trigger": "demo", "reelgraph/reason": reason})
        )
        console.print(f"{reason}: {settings.dagster_url}/runs/{run_id}")
    status = follow(client, run_id, console)
    if status != "SUCCESS":
        raise DemoFailed(
            f"the run ended with {status}: {settings.dagster_url}/runs/{run_id} shows why; "
            "`make demo` again goes on from there"
        )
    return time.monotonic() - began


def why_run(client: DagsterClient, fingerprint: str) -> str | None:
    """Why the graph must run, in words; None if every asset is there, fresh, and made from this source."""
    states = _states(client)
    missing = [s.name for s in states if s.stale == "MISSING"]
    if missing:
        return f"{len(missing)} of {len(states)} assets have never been materialized"
    loaded = next((s.metadata.get("fingerprint") for s in states if s.name == "playback_events"), None)
    if loaded != fingerprint:
        return "the data set is another one than was loaded"
    stale = [s.name for s in states if s.stale == "STALE"]
    if stale:
        return f"out of date: {', '.join(sorted(stale)[:5])}{' ...' if len(stale) > 5 else ''}"
    return None


def _states(client: DagsterClient) -> list[AssetState]:
    try:
        states = client.assets()
    except DagsterError as error:
        raise DemoFailed(f"Dagster does not answer: {error}") from error
    if not states:
        raise DemoFailed("Dagster shows no assets: `make logs SERVICE=dagster-code` says why")
    return states

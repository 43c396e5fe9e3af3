"""`reelgraph demo`: from an empty home to a served feed, with progress, and a summary of what came out."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from orchestration.graphql import AssetState, DagsterClient, DagsterError
from orchestration.progress import follow, patiently
from orchestration.summary import STORE_ERRORS, print_summary, stored_rows
from stack.settings import Settings

JOB = "everything_job"
LOADED = ("users", "videos", "playback_events")


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
    client = DagsterClient(settings)
    try:
        _wait_for_a_run_under_way(client, settings, console)
        choose_source(settings, data)
        pipeline_seconds = _materialize(client, settings, fingerprint, console)
        print_summary(settings, console, pipeline_seconds=pipeline_seconds, started=started)
    except (DagsterError, *STORE_ERRORS) as error:
        raise DemoFailed(f"{type(error).__name__}: {error} (`make status`, `make logs`)") from error
    finally:
        client.close()


def _wait_for_a_run_under_way(client: DagsterClient, settings: Settings, console: Console) -> None:
    """An interrupted demo leaves its run going on, with the source that was chosen then: let it end first."""
    while run_id := client.unfinished_run(JOB):
        console.print(f"following the run under way: {settings.dagster_url}/runs/{run_id}")
        follow(client, run_id, console)


def _materialize(
    client: DagsterClient, settings: Settings, fingerprint: str, console: Console
) -> float | None:
    """Seconds of the run, or None if everything was up to date."""
    began = time.monotonic()
    reason = why_run(_states(client), fingerprint) or why_reload(_states(client), stored_rows(settings))
    if reason is None:
        console.print("nothing changed: every asset is up to date")
        return None
    tags = {"reelgraph/trigger": "demo", "reelgraph/reason": reason}
    run_id = patiently(lambda: client.launch(JOB, tags=tags))
    console.print(f"{reason}: {settings.dagster_url}/runs/{run_id}")
    status = follow(client, run_id, console)
    if status != "SUCCESS":
        raise DemoFailed(
            f"the run ended with {status}: {settings.dagster_url}/runs/{run_id} shows why; "
            "`make demo` again goes on from there"
        )
    return time.monotonic() - began


def why_run(states: Sequence[AssetState], fingerprint: str) -> str | None:
    """Why the graph must run, in words; None if every asset is there, fresh, and made from this source."""
    missing = [s.name for s in states if s.stale == "MISSING"]
    if missing:
        return f"{len(missing)} of {len(states)} assets have never been materialized"
    if any(s.metadata.get("fingerprint") != fingerprint for s in states if s.name in LOADED):
        return "the data set is another one than was loaded"
    stale = [s.name for s in states if s.stale == "STALE"]
    if stale:
        return f"out of date: {', '.join(sorted(stale)[:5])}{' ...' if len(stale) > 5 else ''}"
    return None


def why_reload(states: Sequence[AssetState], rows: dict[str, int | None]) -> str | None:
    """Whether the stores are other ones than Dagster remembers filling: a URL was changed, a server set up anew."""
    for state in states:
        if state.name in LOADED and rows[state.name] != state.metadata.get("dagster/row_count"):
            return f"{state.name} is not what was loaded ({rows[state.name]} rows)"
    return None


def _states(client: DagsterClient) -> list[AssetState]:
    try:
        states = client.assets(JOB)  # what is run on demand alone (tuning) need not be there
    except DagsterError as error:
        raise DemoFailed(f"Dagster does not answer: {error}") from error
    if not states:
        raise DemoFailed("Dagster shows no assets: `make logs SERVICE=dagster-code` says why")
    return states

"""`make bench-recovery`: kill -9 of every service, idle and during the job; a promotion by hand under load."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from orchestration.bench.bench_stack import bench_settings, cleaned_up, reelgraph, write_result
from orchestration.graphql import UNFINISHED, DagsterClient
from orchestration.progress import patiently
from serving.security.own_key import own_key
from stack.clients import clickhouse_client
from stack.endpoint_trust import endpoint_trust
from stack.settings import Settings
from stack.status import stack_status

JOB = "everything_job"
TABLES = ("playback_events", "watch_sessions", "interactions", "user_features", "video_features")
KILL_AFTER_S = 12  # the job is at work in the warehouse by then
PATIENCE_S = 600


def main(
    data: Annotated[Path | None, typer.Option(help="A public data set; the simulator if left out.")] = None,
) -> None:
    settings = bench_settings("recovery")
    with cleaned_up(settings):
        done = reelgraph(settings, "demo", *(["--data", str(data)] if data else []))
        if done.returncode:
            raise SystemExit(f"{done.stdout}\n{done.stderr}")
        expected = counts(settings)
        names = [s.name for s in stack_status(settings).services if s.pid]
        result: dict[str, Any] = {"data": str(data.name) if data else "simulator", "rows": expected}
        result["promotion"] = [promote(settings, kind) for kind in ("svd", "two-tower", "svd", "two-tower")]
        typer.echo(f"promotions by hand: {result['promotion']}")
        result["idle"] = {name: kill_idle(settings, name) for name in names}
        result["during_job"] = {}
        for name in names:
            result["during_job"][name] = kill_during_job(settings, name, expected)
            typer.echo(
                f"{name:<20} idle {result['idle'][name]} s, during the job {result['during_job'][name]}"
            )
    typer.echo(f"idle: {result['idle']}")
    typer.echo(f"written to {write_result('recovery', result)}")


def counts(settings: Settings) -> dict[str, int]:
    client = clickhouse_client(settings)
    try:
        query = "SELECT count() FROM {t:Identifier}"
        return {t: int(client.query(query, parameters={"t": t}).result_rows[0][0]) for t in TABLES}
    finally:
        client.close()


def kill(settings: Settings, name: str) -> None:
    pid = next(s.pid for s in stack_status(settings).services if s.name == name)
    if pid is None:
        raise SystemExit(f"{name} does not run")
    os.kill(pid, signal.SIGKILL)


def healthy_again(settings: Settings, name: str, restarts: int) -> float:
    """Seconds until the supervisor counts a restart of the service and the whole stack is well."""
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE_S:
        status = stack_status(settings)
        if status.healthy and next(s.restarts for s in status.services if s.name == name) > restarts:
            return round(time.monotonic() - began, 1)
        time.sleep(0.2)
    raise SystemExit(f"{name} did not come back")


def kill_idle(settings: Settings, name: str) -> float:
    restarts = next(s.restarts for s in stack_status(settings).services if s.name == name)
    kill(settings, name)
    return healthy_again(settings, name, restarts)


def kill_during_job(settings: Settings, name: str, expected: dict[str, int]) -> dict[str, Any]:
    """How the run that lost the service ended, whether the next one completed, and whether any row was doubled."""
    client = DagsterClient(settings)
    restarts = next(s.restarts for s in stack_status(settings).services if s.name == name)
    run_id = patiently(lambda: client.launch(JOB))
    while patiently(lambda: client.status(run_id)) != "STARTED":
        time.sleep(0.2)
    time.sleep(KILL_AFTER_S)
    kill(settings, name)
    back_s = healthy_again(settings, name, restarts)
    hit = wait(client, run_id)
    following = wait(client, patiently(lambda: client.launch(JOB)))
    client.close()
    return {
        "back_s": back_s,
        "run_hit": hit,
        "next_run": following,
        "rows_unchanged": counts(settings) == expected,
    }


def wait(client: DagsterClient, run_id: str) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while (status := patiently(lambda: client.status(run_id))) in UNFINISHED:
        if time.monotonic() > deadline:
            return f"still {status}"
        time.sleep(0.5)
    return status


def promote(settings: Settings, kind: str) -> dict[str, Any]:
    """Move `champion` to the newest version of a kind under a feed request every 20 ms."""
    from serving.registry import registry

    version = registry.by_alias(settings, kind)
    if version is None:
        raise SystemExit(f"no version of {kind}")
    answers: list[tuple[int, int | None]] = []
    stop = threading.Event()

    def ask() -> None:
        url = f"{settings.endpoint_url}/api/v1/recommendations/feed"
        user = next(iter(_known_users(settings)))
        with httpx.Client(timeout=10, verify=endpoint_trust(settings)) as http, own_key(settings, http):
            while not stop.wait(0.02):
                try:
                    response = http.get(url, params={"user_id": user})
                    answers.append((response.status_code, response.json()["model"]["version"]))
                except (httpx.HTTPError, KeyError):
                    answers.append((0, None))

    thread = threading.Thread(target=ask)
    thread.start()
    began = time.monotonic()
    registry.set_alias(settings, "champion", version.version)
    while (not answers or answers[-1][1] != version.version) and time.monotonic() - began < PATIENCE_S:
        time.sleep(0.1)
    seconds = time.monotonic() - began
    stop.set()
    thread.join()
    failed = sum(status != 200 for status, _ in answers)
    return {"to": kind, "seconds": round(seconds, 1), "requests": len(answers), "failed": failed}


def _known_users(settings: Settings) -> list[str]:
    client = clickhouse_client(settings)
    try:
        query = "SELECT user_id FROM watch_sessions GROUP BY user_id ORDER BY count() DESC LIMIT 1"
        return [str(row[0]) for row in client.query(query).result_rows]
    finally:
        client.close()


if __name__ == "__main__":
    typer.run(main)

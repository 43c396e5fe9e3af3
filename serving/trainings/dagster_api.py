"""Dagster's GraphQL API, as the endpoint speaks it: start a job, find and look at runs. `orchestration.graphql` is its
sibling for programs that wait and follow a run's log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from serving.breaker import Breaker, DependencyError
from serving.telemetry.metrics import Metrics
from serving.telemetry.tracing import propagate, span
from stack.settings import Settings

LOCATION = "reelgraph"
REPOSITORY = "__repository__"
# Not NOT_STARTED: a launch that broke half-way leaves a run there for ever.
UNDER_WAY = ("QUEUED", "STARTING", "STARTED", "CANCELING")

LAUNCH_BUDGET_S = 20.0
"""Dagster loads the job in its code server first, which may be busy."""
READ_BUDGET_S = 2.5
_NEWEST = 50

_LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
    ... on LaunchRunSuccess { run { runId status } } ... on Error { message } } }"""
_RUNS = """query ($filter: RunsFilter!, $limit: Int!) { runsOrError(filter: $filter, limit: $limit) { __typename
    ... on Runs { results { runId jobName status creationTime startTime endTime tags { key value } } }
    ... on Error { message } } }"""
_CANCEL = """mutation ($id: String!) { terminateRun(runId: $id) { __typename
    ... on TerminateRunFailure { message } ... on Error { message } } }"""


class DagsterDownError(Exception):
    """Dagster does not answer, or not in time."""


class DagsterRefusedError(Exception):
    """Dagster answers that it will not: the message is its own, for the log and not for clients."""


@dataclass(frozen=True)
class DagsterRun:
    """`created_at`, `started_at`, `ended_at`: epoch seconds."""

    run_id: str
    job: str
    status: str
    created_at: float
    started_at: float | None
    ended_at: float | None
    tags: Mapping[str, str]


class DagsterApi:
    """Raises `DagsterDownError`, `DagsterRefusedError`."""

    def __init__(self, settings: Settings, metrics: Metrics, *, read_budget_s: float = READ_BUDGET_S) -> None:
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(LAUNCH_BUDGET_S, connect=1.0), event_hooks={"request": [propagate]}
        )
        self._url = settings.dagster_api_url
        self._reading = Breaker("dagster", metrics, budget_s=read_budget_s)
        self._launching = Breaker("dagster_launch", metrics, budget_s=LAUNCH_BUDGET_S)

    async def close(self) -> None:
        await self._http.aclose()

    async def launch(
        self,
        job: str,
        *,
        assets: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> tuple[str, str]:
        """Start a job, of some of its assets if any are named; the run's id and status."""
        selector: dict[str, Any] = {
            "repositoryLocationName": LOCATION,
            "repositoryName": REPOSITORY,
            "jobName": job,
        }
        if assets:
            selector["assetSelection"] = [{"path": [name]} for name in assets]
        params = {
            "selector": selector,
            "runConfigData": dict(config or {}),
            "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in (tags or {}).items()]},
        }
        with span("dagster.launch"):
            run = (await self._call(self._launching, _LAUNCH, "LaunchRunSuccess", params=params))["run"]
        return str(run["runId"]), str(run["status"])

    async def runs(self, **filters: Any) -> list[DagsterRun]:
        """The newest runs that pass: `runIds`, `statuses`, `tags`, ... as Dagster's `RunsFilter` names them."""
        with span("dagster.runs"):
            found = await self._call(self._reading, _RUNS, "Runs", filter=filters, limit=_NEWEST)
        return [_run(item) for item in found["results"]]

    async def cancel(self, run_id: str) -> None:
        with span("dagster.cancel"):
            await self._call(self._launching, _CANCEL, "TerminateRunSuccess", id=run_id)

    async def _call(self, breaker: Breaker, query: str, typename: str, **variables: Any) -> dict[str, Any]:
        try:
            found = await breaker.call(self._ask(query, variables), httpx.HTTPError, ValueError, KeyError)
        except DependencyError as error:
            raise DagsterDownError("Dagster does not answer now") from error
        if found["__typename"] != typename:
            raise DagsterRefusedError(f"{found['__typename']}: {found.get('message', '')}")
        return found

    async def _ask(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        response = await self._http.post(self._url, json={"query": query, "variables": variables})
        payload = response.json()
        if payload.get("errors"):
            # A webserver without its code server or its Postgres answers so, and is well again later.
            raise ValueError(str(payload["errors"][0].get("message"))[:500])
        [result] = payload["data"].values()
        return dict(result)


def _run(found: Mapping[str, Any]) -> DagsterRun:
    return DagsterRun(
        run_id=str(found["runId"]),
        job=str(found["jobName"]),
        status=str(found["status"]),
        created_at=float(found["creationTime"]),
        started_at=found["startTime"],
        ended_at=found["endTime"],
        tags={str(tag["key"]): str(tag["value"]) for tag in found["tags"]},
    )

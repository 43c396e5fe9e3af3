"""The few calls we make to Dagster's GraphQL API: what is stale, start a job, follow a run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from stack.settings import Settings

LOCATION = "reelgraph"
REPOSITORY = "__repository__"
UNFINISHED = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")
# A run that is NOT_STARTED is on its way to the queue, or was left there by a launch that broke half-way: for ever.
UNDER_WAY = tuple(status for status in UNFINISHED if status != "NOT_STARTED")


class DagsterError(Exception):
    """Dagster refused a request or answered with an error; the message is Dagster's own."""


class DagsterUnreachable(DagsterError):
    """The webserver or the code server behind it does not answer now; it may be restarting."""


@dataclass(frozen=True)
class AssetState:
    """`stale` is FRESH, STALE or MISSING; `metadata` is the last materialization's text and number entries."""

    name: str
    stale: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class RunEvent:
    kind: str
    step: str | None
    message: str
    level: str
    at: float  # epoch seconds


def _error(message: str) -> DagsterError:
    """A restart shows as an unreachable code server, as a connection of the webserver that Postgres dropped, or as jobs
    that are not there: the webserver has not yet asked the new code server which there are."""
    signs = ("UserCodeUnreachable", "psycopg2.OperationalError", "PipelineNotFoundError")
    restarting = any(sign in message for sign in signs)
    return DagsterUnreachable(message) if restarting else DagsterError(message)


class DagsterClient:
    """Talks to the webserver of this stack."""

    def __init__(self, settings: Settings, timeout_s: float = 60) -> None:
        self._url = settings.dagster_api_url
        self._http = httpx.Client(timeout=timeout_s)

    def close(self) -> None:
        self._http.close()

    def _call(self, query: str, **variables: Any) -> dict[str, Any]:
        try:
            response = self._http.post(self._url, json={"query": query, "variables": variables})
            payload = response.json()
        except (httpx.TransportError, ValueError) as error:
            raise DagsterUnreachable(f"{self._url}: {error}") from error
        if "errors" in payload:
            raise _error(payload["errors"][0]["message"])
        data: dict[str, Any] = payload["data"]
        return data

    @staticmethod
    def _expect(result: dict[str, Any], typename: str) -> dict[str, Any]:
        if result["__typename"] != typename:
            raise _error(f"{result['__typename']}: {result.get('message', '')}".strip())
        return result

    def assets(self, job: str | None = None) -> list[AssetState]:
        """Every asset of the graph (or of one job) that can be materialized."""
        data = self._call(
            """{ assetNodes { assetKey { path } isMaterializable jobNames staleStatus
                 assetMaterializations(limit: 1) { metadataEntries { label __typename
                   ... on TextMetadataEntry { text } ... on IntMetadataEntry { intValue }
                   ... on BoolMetadataEntry { boolValue } } } } }"""
        )
        states = []
        for node in data["assetNodes"]:
            if node["isMaterializable"] and (job is None or job in node["jobNames"]):
                latest = (node["assetMaterializations"] or [{"metadataEntries": []}])[0]
                metadata = {
                    entry["label"]: entry.get("text", entry.get("intValue", entry.get("boolValue")))
                    for entry in latest["metadataEntries"]
                }
                states.append(AssetState("/".join(node["assetKey"]["path"]), node["staleStatus"], metadata))
        return states

    def launch(self, job: str, tags: dict[str, str] | None = None) -> str:
        """Start a job; returns the run id."""
        params = {
            "selector": {
                "repositoryLocationName": LOCATION,
                "repositoryName": REPOSITORY,
                "jobName": job,
            },
            "executionMetadata": {"tags": [{"key": k, "value": v} for k, v in (tags or {}).items()]},
        }
        data = self._call(
            """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
                 ... on LaunchRunSuccess { run { runId } } ... on Error { message } } }""",
            params=params,
        )
        return str(self._expect(data["launchRun"], "LaunchRunSuccess")["run"]["runId"])

    def unfinished_run(self, job: str) -> str | None:
        """The newest run of the job that has not ended."""
        data = self._call(
            """query ($filter: RunsFilter!) { runsOrError(filter: $filter, limit: 1) { __typename
                 ... on Runs { results { runId } } ... on Error { message } } }""",
            filter={"pipelineName": job, "statuses": list(UNDER_WAY)},
        )
        results = self._expect(data["runsOrError"], "Runs")["results"]
        return str(results[0]["runId"]) if results else None

    def status(self, run_id: str) -> str:
        data = self._call(
            """query ($id: ID!) { runOrError(runId: $id) { __typename
                 ... on Run { status } ... on Error { message } } }""",
            id=run_id,
        )
        return str(self._expect(data["runOrError"], "Run")["status"])

    def events(self, run_id: str, cursor: str | None) -> tuple[list[RunEvent], str | None]:
        """Events after the cursor, and the next cursor."""
        data = self._call(
            """query ($id: ID!, $cursor: String) { logsForRun(runId: $id, afterCursor: $cursor) { __typename
                 ... on EventConnection { cursor events { __typename
                   ... on MessageEvent { message timestamp level stepKey } } } ... on Error { message } } }""",
            id=run_id,
            cursor=cursor,
        )
        page = self._expect(data["logsForRun"], "EventConnection")
        return list(_events(page["events"])), page["cursor"]


def _events(raw: list[dict[str, Any]]) -> Iterator[RunEvent]:
    for event in raw:
        if "message" in event:
            yield RunEvent(
                kind=event["__typename"],
                step=event["stepKey"],
                message=event["message"],
                level=event["level"],
                at=int(event["timestamp"]) / 1000,
            )

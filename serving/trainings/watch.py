"""Whether the newest training run failed, asked of Dagster once a minute, so that an alert can say so (contract R7)."""

import asyncio
import contextlib
import logging

import httpx
from prometheus_client import CollectorRegistry, Gauge

from stack.settings import Settings

log = logging.getLogger(__name__)

EVERY_S = 60.0
JOB = "training_job"
_ANSWER_S = 10.0
_QUERY = """query Newest($job: String!) {
  runsOrError(filter: {pipelineName: $job, statuses: [SUCCESS, FAILURE]}, limit: 1) {
    __typename
    ... on Runs { results { status } }
  }
}"""


class TrainingWatch:
    """`reelgraph_training_failed`: 1 or 0 by the newest run that ended; NaN while none has, or Dagster is not heard."""

    def __init__(self, settings: Settings, registry: CollectorRegistry, every_s: float = EVERY_S) -> None:
        self._url = settings.dagster_api_url
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None
        self.failed = Gauge(
            "reelgraph_training_failed",
            "1 if the newest training run that ended failed; NaN if that is not known",
            registry=registry,
        )
        self.failed.set(float("nan"))

    def start(self) -> None:
        self._task = asyncio.create_task(self._watch(), name="training-watch")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self) -> None:
        # No proxy sits between us and our own server.
        async with httpx.AsyncClient(timeout=_ANSWER_S, trust_env=False) as client:
            while True:
                self.failed.set(await self._newest(client))
                await asyncio.sleep(self._every_s)

    async def _newest(self, client: httpx.AsyncClient) -> float:
        content = {"query": _QUERY, "variables": {"job": JOB}}
        try:
            answer = await client.post(self._url, json=content)
            runs = answer.raise_for_status().json()["data"]["runsOrError"]["results"]
            return float(runs[0]["status"] == "FAILURE") if runs else float("nan")
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            # Not known is what the gauge says then; a line a minute would say no more.
            log.debug("Dagster was not heard: %s", type(error).__name__)
            return float("nan")

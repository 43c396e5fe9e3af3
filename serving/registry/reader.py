"""Reads the registered model's versions over MLflow's REST API; keeps them half a minute, longer if MLflow is down."""

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx

from serving.breaker import Breaker, DependencyError
from serving.registry.answers import Run, Version, run_of, version_of
from serving.telemetry.metrics import Metrics
from serving.telemetry.tracing import propagate, span
from stack.settings import Settings

MODEL_NAME = "recommender"
"""As `serving.registry.registry` registers it, which this process must not import: it brings mlflow."""
FRESH_S = 30.0
BUDGET_S = 2.0
_PAGE = 200
_MOST_VERSIONS = 2000
"""Older ones are not shown: seven a training make a year of daily trainings."""
_RUNS_KEPT = 2000
_RUNS_AT_ONCE = 8
_API = "/api/2.0/mlflow"


class RegistryDownError(Exception):
    """MLflow cannot be read now, and nothing has been read before."""


@dataclass(frozen=True)
class Snapshot:
    """All versions, newest first, as they were at `read_at` (monotonic seconds)."""

    versions: tuple[Version, ...]
    read_at: float


@dataclass(frozen=True)
class Reading:
    """`degraded_because` is empty if the versions are at most half a minute old."""

    versions: tuple[Version, ...]
    degraded_because: tuple[str, ...] = ()


class RegistryReader:
    """Part `registry` of the endpoint's state."""

    def __init__(
        self, settings: Settings, metrics: Metrics, *, fresh_s: float = FRESH_S, budget_s: float = BUDGET_S
    ) -> None:
        self.ui_url = settings.mlflow_ui_url
        self._http = httpx.AsyncClient(
            base_url=settings.mlflow_tracking_uri,
            timeout=httpx.Timeout(budget_s, connect=1.0),
            event_hooks={"request": [propagate]},
        )
        self._breaker = Breaker("mlflow", metrics, budget_s=budget_s)
        self._fresh_s = fresh_s
        self._snapshot: Snapshot | None = None
        self._reading = asyncio.Lock()
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._few = asyncio.Semaphore(_RUNS_AT_ONCE)

    async def close(self) -> None:
        await self._http.aclose()

    async def versions(self) -> Reading:
        """All versions, newest first. However many ask at once, MLflow is asked once. Raises `RegistryDownError`."""
        async with self._reading:
            kept = self._snapshot
            if kept and time.monotonic() - kept.read_at < self._fresh_s:
                return Reading(kept.versions)
            try:
                with span("mlflow.versions"):
                    found = await self._breaker.call(self._read(), *_FAILURES)
            except DependencyError as error:
                if kept is None:
                    raise RegistryDownError("MLflow does not answer now") from error
                age = time.monotonic() - kept.read_at
                return Reading(kept.versions, (f"MLflow does not answer; this is {age:.0f} s old",))
            self._snapshot = Snapshot(found, time.monotonic())
            return Reading(found)

    async def runs(self, run_ids: Iterable[str]) -> dict[str, Run]:
        """Those of the runs that can be read now. A run that has ended is asked for once."""
        wanted = list(set(run_ids))
        with span("mlflow.runs", runs=len(wanted)):
            found = await asyncio.gather(*(self._run(run_id) for run_id in wanted))
        return {run_id: run for run_id, run in zip(wanted, found, strict=True) if run is not None}

    async def _run(self, run_id: str) -> Run | None:
        if (kept := self._runs.get(run_id)) is not None:
            return kept
        async with self._few:
            try:
                run = await self._breaker.call(self._read_run(run_id), *_FAILURES)
            except DependencyError:
                return None  # the answer has no metrics of it then, which is not the same as none
        if run is not None and run.finished:
            self._runs[run_id] = run
            while len(self._runs) > _RUNS_KEPT:
                self._runs.popitem(last=False)
        return run

    async def _read_run(self, run_id: str) -> Run | None:
        found = await self._get("runs/get", run_id=run_id)
        return None if found is None else run_of(found["run"])

    async def _read(self) -> tuple[Version, ...]:
        model = await self._get("registered-models/get", name=MODEL_NAME)
        if model is None:
            return ()  # nothing has been registered yet
        aliases: dict[int, list[str]] = defaultdict(list)
        for item in model["registered_model"].get("aliases") or ():
            aliases[int(item["version"])].append(str(item["alias"]))
        versions: list[Version] = []
        query = {
            "filter": f"name='{MODEL_NAME}'",
            "max_results": str(_PAGE),
            "order_by": "version_number DESC",
        }
        while len(versions) < _MOST_VERSIONS:
            page = await self._get("model-versions/search", **query) or {}
            versions += [version_of(item, aliases) for item in page.get("model_versions") or ()]
            if not page.get("next_page_token"):
                break
            query["page_token"] = str(page["next_page_token"])
        return tuple(sorted(versions, key=lambda version: -version.number))

    async def _get(self, path: str, **query: str) -> dict[str, Any] | None:
        """MLflow's answer; None if there is no such thing."""
        response = await self._http.get(f"{_API}/{path}", params=query)
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        response.raise_for_status()
        found: dict[str, Any] = response.json()
        return found


# What MLflow, or something else at its address, may do to us.
_FAILURES = (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError)

"""The servers of a measurement: the stack's own services as it starts them, on free ports, to be killed and started."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from ingestion.schema import bootstrap
from serving import bento
from stack.health import HttpProbe, Probe
from stack.processes import owned, spawn, stop, sweep
from stack.service import Service
from stack.services import declared_services
from stack.settings import LOOPBACK, PROJECT_ROOT, Settings, child_environment, load_settings

BUILD = PROJECT_ROOT / "build" / "bench"
START_S = 60
STORES = ("clickhouse", "postgres", "redis")
_TROUBLES = ("reelgraph_degraded_total", "reelgraph_dependency_failures_total")
_STORE_URLS = ("clickhouse_url_override", "database_url_override", "redis_url_override")


class ServerDidNotStartError(Exception):
    """A server ended, or was not well in time; the message has what it said."""


class BundleNotServedError(Exception):
    """What was published did not come into service in time."""


def bench_settings(name: str, **changes: object) -> Settings:
    """The person's settings in an empty home, on free ports and with embedded stores; no authentication unless
    `changes` say otherwise."""
    home = BUILD / f"{name}-home"
    shutil.rmtree(home, ignore_errors=True)
    ports = {field: free_port() for field in Settings.model_fields if field.endswith("_port")}
    embedded = dict.fromkeys(_STORE_URLS)
    update = {"home": home, "development": True, **ports, **embedded, **changes}
    return load_settings().model_copy(update=update)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class Servers:
    """Started services by name."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._services = {service.name: service for service in declared_services(settings)}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self.settings.logs_dir.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for name in reversed(list(self._processes)):
                self.stop(name)
        finally:
            sweep(lambda: owned(self.settings.home), 0)
            shutil.rmtree(self.settings.home, ignore_errors=True)

    def start(self, *names: str) -> None:
        """Start each and wait until it is well; raises `ServerDidNotStartError`."""
        for name in names:
            self._processes[name] = self._start(self._services[name])

    def stop(self, name: str) -> None:
        service = self._services[name]
        stop(self._processes.pop(name), service.stop_signal, service.stop_grace_s)

    def kill(self, name: str) -> None:
        """SIGKILL, and whatever it had started goes too, as the supervisor would see to."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()
        sweep(lambda: owned(self.settings.home, name), 0)

    @property
    def endpoint(self) -> psutil.Process:
        """The process that answers: the worker below `bentoml serve`, or that itself."""
        root = psutil.Process(self._processes["endpoint"].pid)
        return max([root, *root.children(recursive=True)], key=lambda process: process.memory_info().rss)

    def log(self, name: str) -> str:
        return (self.settings.logs_dir / f"{name}.log").read_text(errors="replace")

    def _start(self, service: Service) -> subprocess.Popen[bytes]:
        if service.prepare is not None:
            service.prepare()
        log = self.settings.logs_dir / f"{service.name}.log"
        # The person's stores are not those of the measurement.
        inherited = {"CLICKHOUSE_URL", "DATABASE_URL", "REDIS_URL"}
        environment = {k: v for k, v in child_environment(self.settings).items() if k not in inherited}
        with log.open("ab") as output:
            process = spawn(
                service.command,
                environment={**environment, **service.environment},
                output=output,
                owner=self.settings.home,
                service=service.name,
                cwd=service.cwd or PROJECT_ROOT,
                identity=service.identity(),
                death_signal=service.stop_signal,
            )
        wait_until_well(process, service.probe, log, START_S)
        if service.on_healthy is not None:
            service.on_healthy()
        return process


def wait_until_well(process: subprocess.Popen[bytes], probe: Probe, log: Path, timeout_s: float) -> None:
    """Raises `ServerDidNotStartError` with the end of its log, and ends the process."""
    deadline = time.monotonic() + timeout_s
    while (trouble := probe.check()) is not None:
        if process.poll() is not None or time.monotonic() > deadline:
            stop(process, signal.SIGTERM, 5)
            raise ServerDidNotStartError(f"{trouble}\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.05)


@contextmanager
def endpoint_over(settings: Settings, folder: Path, *, stores: tuple[str, ...] = STORES) -> Iterator[Servers]:
    """The stores with their schema and the endpoint with this bundle in service; all gone afterwards."""
    from serving.bench.world import shelve

    with Servers(settings) as servers:
        servers.start(*stores)
        if {"clickhouse", "postgres"} <= set(stores):
            bootstrap(settings)
        tag = shelve(settings, folder)
        bento.publish(settings, tag)
        servers.start("endpoint")
        wait_for_bundle(settings, tag)
        yield servers


def wait_for_bundle(settings: Settings, tag: str, timeout_s: float = 180) -> float:
    """Seconds until the endpoint says that it serves this; raises `BundleNotServedError`."""
    began = time.monotonic()
    with httpx.Client(base_url=settings.endpoint_url, timeout=10, trust_env=False) as http:
        answer = ""
        while time.monotonic() - began < timeout_s:
            try:
                response = http.get("/health/ready")
                answer = response.text
                if response.status_code == 200 and f"{bento.NAME}:{response.json()['bundle']}" == tag:
                    return time.monotonic() - began
            except httpx.HTTPError as error:
                answer = str(error)
            time.sleep(0.05)
    raise BundleNotServedError(f"{tag}: {answer}")


def troubles(settings: Settings) -> dict[str, float]:
    """What the endpoint counted of degraded lists and failed calls until now, by series, without zeros."""
    text = httpx.get(f"{settings.endpoint_url}/metrics", timeout=10, trust_env=False).raise_for_status().text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {
        f"{sample.name}{sample.labels}": sample.value
        for sample in samples
        if sample.name in _TROUBLES and sample.value
    }


@contextmanager
def peer_over(model: Path, log: Path, environment: Mapping[str, str]) -> Iterator[tuple[int, psutil.Process]]:
    """The bare app over a saved model: its port and process."""
    port = free_port()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving.bench.peer", str(model), str(port)],
            cwd=PROJECT_ROOT,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_well(process, HttpProbe(LOOPBACK, port, "/?user_id=u0000000"), log, 60)
        yield port, psutil.Process(process.pid)
    finally:
        stop(process, signal.SIGTERM, 5)


def cpu_s(process: psutil.Process) -> float:
    """Seconds it computed until now, all threads."""
    times = process.cpu_times()
    return float(times.user + times.system)

"""The two stores of the benchmark: the product's own services, in an empty home and on free ports."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

from ingestion.schema import bootstrap
from stack.clients import clickhouse_client
from stack.processes import owned, spawn, stop, sweep
from stack.service import Service
from stack.services import declared_services
from stack.settings import Settings, child_environment

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

NEEDED = ("clickhouse", "postgres")
SETTLE_S = 120


class StoreDidNotStartError(Exception):
    """A store of the benchmark ended, or was not well in time; the message has what it said."""


@dataclass(frozen=True)
class Stores:
    """Both stores, up and with the product's schema. `clickhouse` is the server's process."""

    settings: Settings
    client: "Client"
    clickhouse: psutil.Process

    def command(self, sql: str, **parameters: Any) -> None:
        self.client.command(sql, parameters=parameters)

    def value(self, sql: str, **parameters: Any) -> Any:
        """The first column of the only row."""
        return self.client.query(sql, parameters=parameters).result_rows[0][0]

    def row(self, sql: str, **parameters: Any) -> tuple[Any, ...]:
        return tuple(self.client.query(sql, parameters=parameters).result_rows[0])

    def settle(self) -> None:
        """Wait until what was loaded is merged: in production it comes over a day or a month, not within minutes."""
        deadline = time.monotonic() + SETTLE_S
        while self.value("SELECT count() FROM system.merges") and time.monotonic() < deadline:
            time.sleep(0.5)


@contextmanager
def running_stores(settings: Settings) -> Iterator[Stores]:
    """Start both, make the schema, and whatever happens end them. The home stays: the caller removes it."""
    settings.logs_dir.mkdir(parents=True, exist_ok=True)
    services = [service for service in declared_services(settings) if service.name in NEEDED]
    started = []
    try:
        for service in services:
            started.append((service, _start(settings, service)))
        bootstrap(settings)
        clickhouse = next(process for service, process in started if service.name == "clickhouse")
        client = clickhouse_client(settings)
        yield Stores(settings, client, psutil.Process(clickhouse.pid))
        client.close()
    finally:
        for service, process in reversed(started):
            stop(process, service.stop_signal, service.stop_grace_s)
        sweep(lambda: owned(settings.home), 0)


def _start(settings: Settings, service: Service) -> Any:
    if service.prepare is not None:
        service.prepare()
    log = settings.logs_dir / f"{service.name}.log"
    with log.open("ab") as output:
        process = spawn(
            service.command,
            environment={**child_environment(settings), **service.environment},
            output=output,
            owner=settings.home,
            service=service.name,
            cwd=service.cwd,
            identity=service.identity(),
            death_signal=service.stop_signal,
        )
    deadline = time.monotonic() + service.start_timeout_s
    while (trouble := service.probe.check()) is not None:
        if process.poll() is not None or time.monotonic() > deadline:
            stop(process, service.stop_signal, 5)
            said = log.read_text(errors="replace")[-2000:]
            raise StoreDidNotStartError(f"{service.name}: {trouble}\n{said}")
        time.sleep(0.05)
    if service.on_healthy is not None:
        service.on_healthy()
    return process


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))

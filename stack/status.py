"""How the stack is: what its supervisor says, and what its processes weigh."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from stack.fingerprint import outdated
from stack.processes import owned, service_of
from stack.run_files import read_state, supervisor_pid
from stack.runner import State
from stack.settings import Settings


@dataclass(frozen=True)
class ServiceStatus:
    """One row; `uptime_s` and `pid` are None unless it runs, `memory_bytes` counts all its processes."""

    name: str
    state: str
    pid: int | None
    port: int | None
    url: str
    uptime_s: float | None
    restarts: int
    memory_bytes: int
    last_exit: str
    detail: str


@dataclass(frozen=True)
class StackStatus:
    """`healthy`: a supervisor runs and every service it was asked for is well. `outdated`: it was started with
    other settings or code than there are now, `note` says with which."""

    home: str
    running: bool
    healthy: bool
    supervisor_pid: int | None
    memory_bytes: int
    orphans: int
    outdated: bool
    note: str
    services: list[ServiceStatus]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def stack_status(settings: Settings) -> StackStatus:
    """Ask the run files and the process table; nothing is connected to."""
    state = read_state(settings)
    weights = memory_by_service(settings)
    pid = supervisor_pid(settings)
    services = [_row(entry, weights) for entry in state["services"]] if state else []
    healthy = bool(services) and all(State(s.state).well for s in services)
    note = outdated(settings)
    total = sum(weights.values()) + (_weight(psutil.Process(pid)) if pid else 0)
    return StackStatus(
        home=str(settings.home),
        running=pid is not None,
        healthy=healthy,
        supervisor_pid=pid,
        memory_bytes=total,
        outdated=bool(note),
        note=note,
        orphans=0 if pid else len(owned(settings.home)),
        services=services,
    )


def _row(entry: dict[str, Any], weights: dict[str, int]) -> ServiceStatus:
    started = entry["started_at"]
    return ServiceStatus(
        name=entry["name"],
        state=entry["state"],
        pid=entry["pid"],
        port=entry["port"],
        url=entry["url"],
        uptime_s=None if started is None else max(0.0, time.time() - started),
        restarts=entry["restarts"],
        memory_bytes=weights.get(entry["name"], 0),
        last_exit=entry["last_exit"],
        detail=entry["detail"],
    )


def memory_by_service(settings: Settings) -> dict[str, int]:
    """Bytes by service: proportional set size, so that pages shared by two processes count once."""
    weights: dict[str, int] = {}
    for process in owned(settings.home):
        try:
            name = service_of(process, settings.home)
            weights[name] = weights.get(name, 0) + _weight(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # ended while we looked
            continue
    return weights


def _weight(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.AccessDenied:
        return int(process.memory_info().rss)

"""What the supervisor needs to know of a service, and in which order a set of them starts."""

import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stack.health import Alive, Probe
from stack.processes import Identity
from stack.settings import LOOPBACK


class UnknownServiceError(Exception):
    """A name that no service has; the message lists those there are."""


class CircularServicesError(Exception):
    """Services that require each other."""


def _nobody_else() -> Identity | None:
    return None


@dataclass(frozen=True)
class Service:
    """One process to keep running, or with `one_shot` one to run to its end before its dependents start."""

    name: str
    command: tuple[str, ...]
    requires: tuple[str, ...] = ()
    probe: Probe = field(default_factory=Alive)
    # Where it listens, and the variable that moves it; for the preflight and for people.
    port: int | None = None
    host: str = LOOPBACK
    port_variable: str = ""
    url: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    identity: Callable[[], Identity | None] = _nobody_else
    # Before each start; after the first good probe of each start. What they raise counts as a failed start.
    prepare: Callable[[], object] | None = None
    on_healthy: Callable[[], object] | None = None
    one_shot: bool = False
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace_s: float = 15
    # Ask its children too: one that waits for them to finish would take as long as they do.
    stop_children: bool = False
    start_timeout_s: float = 120
    # Two cores shared with a training run: slow is not hung.
    hang_timeout_s: float = 120


def in_start_order(services: Sequence[Service]) -> list[Service]:
    """Each after all it requires, else in the order given; raises `CircularServicesError`."""
    ordered: list[Service] = []
    left = list(services)
    while left:
        placed = {service.name for service in ordered}
        free = next((s for s in left if placed.issuperset(s.requires)), None)
        if free is None:
            raise CircularServicesError("require each other: " + ", ".join(s.name for s in left))
        ordered.append(free)
        left.remove(free)
    return ordered


def all_requirements(services: Sequence[Service]) -> dict[str, set[str]]:
    """For each service the names of all it requires, directly or not."""
    found: dict[str, set[str]] = {}
    for service in in_start_order(services):
        found[service.name] = set(service.requires).union(*(found[name] for name in service.requires))
    return found


def with_requirements(services: Sequence[Service], names: Iterable[str]) -> list[Service]:
    """The named services and all they require, directly or not; raises `UnknownServiceError`."""
    by_name = {service.name: service for service in services}
    wanted: set[str] = set()
    queue = list(names)
    while queue:
        name = queue.pop()
        if name not in by_name:
            raise UnknownServiceError(f"no service {name!r}; there are: {', '.join(by_name)}")
        if name not in wanted:
            wanted.add(name)
            queue.extend(by_name[name].requires)
    return [service for service in services if service.name in wanted]

"""What the commands print: a live table on a terminal, a line an event elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stack.control import Watcher
from stack.runner import State
from stack.status import StackStatus

_COLOURS = {
    State.HEALTHY: "green",
    State.DONE: "green",
    State.FAILED: "bold red",
    State.UNHEALTHY: "red",
    State.RESTARTING: "yellow",
    State.STARTING: "cyan",
    State.STOPPING: "cyan",
}


@contextmanager
def progress(console: Console) -> Iterator[Watcher]:
    """A watcher of the supervisor's state that shows how far each service is."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=8) as live:
            clocks = _Clocks()
            yield lambda state: live.update(_progress_table(state, clocks))
    else:
        yield _Lines(console)


class _Clocks:
    """Seconds each service has spent on the way to its present state."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._settled: dict[tuple[str, str], float] = {}

    def seconds(self, name: str, state: State) -> float:
        now = time.monotonic() - self._begun
        return self._settled.setdefault((name, state), now) if state.well else now


def _progress_table(state: dict[str, Any], clocks: _Clocks) -> Table:
    table = Table.grid(padding=(0, 2))
    for service in state["services"]:
        now = State(service["state"])
        seconds = f"{clocks.seconds(service['name'], now):5.1f} s"
        note = service["url"] if now.well else service["detail"]
        table.add_row(
            service["name"], Text(now, style=_COLOURS.get(now, "")), seconds, Text(note, style="dim")
        )
    return table


class _Lines:
    """One line whenever a service changes its state."""

    def __init__(self, console: Console) -> None:
        self._console, self._said = console, dict[str, str]()
        self._begun = time.monotonic()

    def __call__(self, state: dict[str, Any]) -> None:
        for service in state["services"]:
            name, now = service["name"], State(service["state"])
            if now is State.WAITING or self._said.get(name) == now:
                continue
            self._said[name] = now
            if state["stopping"] and now not in (State.STOPPING, State.STOPPED):
                continue
            note = service["url"] if now.well else service["detail"]
            seconds = time.monotonic() - self._begun
            line = f"{seconds:6.1f} s  {name:<18} {now:<10} {note}".rstrip()
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def status_table(status: StackStatus) -> Table:
    """Service, state, pid, where, uptime, restarts, memory."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("service", "state", "pid", "where", "up", "restarts", "memory"):
        numeric = title in ("pid", "up", "restarts", "memory")
        table.add_column(title, justify="right" if numeric else "left", no_wrap=True)
    for service in status.services:
        state = State(service.state)
        table.add_row(
            service.name,
            Text(state, style=_COLOURS.get(state, "")),
            str(service.pid or ""),
            service.url,
            span(service.uptime_s),
            str(service.restarts),
            size(service.memory_bytes),
        )
    return table


def status_notes(status: StackStatus) -> list[str]:
    """A line for each service that has something to say: what it waits for, how it ended last."""
    lines = []
    for service in status.services:
        said = [service.detail] if service.detail else []
        if service.last_exit and service.last_exit not in service.detail:
            said.append(f"last ended: {service.last_exit}")
        if service.state == State.FAILED:
            said.append("tried again once a minute")
        if said:
            lines.append(f"{service.name}: {'; '.join(said)}")
    return [*lines, *([status.note] if status.note else [])]


def span(seconds: float | None) -> str:
    """`45s`, `12m`, `3h 5m`, `2d 4h`; '' for None."""
    if seconds is None:
        return ""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60}m"
    return f"{whole // 86400}d {whole % 86400 // 3600}h"


def size(count: int) -> str:
    """`512 MB`, `1.2 GB`; '' for 0."""
    if count == 0:
        return ""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"

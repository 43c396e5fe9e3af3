"""What would make a start fail, found before anything starts: one line each, naming what to change."""

import errno
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

import psutil

from stack.postgres_user import NoPostgresUserError, postgres_identity
from stack.service import Service
from stack.settings import Settings

MIN_FREE_BYTES = 1_000_000_000


def problems(settings: Settings, services: Sequence[Service]) -> list[str]:
    """One line a problem; the home must exist."""
    found = _disk(settings.home)
    for service in services:
        if service.port is not None:
            found += port_problem(service, service.port)
        if shutil.which(service.command[0]) is None:
            found.append(f"{service.name}: program not found: {service.command[0]}")
    if any(service.name == "postgres" for service in services):
        try:
            postgres_identity()
        except NoPostgresUserError as error:
            found.append(f"postgres: {error}")
    return found


def _disk(home: Path) -> list[str]:
    free = shutil.disk_usage(home).free
    if free < MIN_FREE_BYTES:
        return [
            f"disk nearly full: {free / 1e6:.0f} MB free at {home}, {MIN_FREE_BYTES / 1e9:.0f} GB needed; "
            "free some, or move the state with REELGRAPH_HOME"
        ]
    return []


def port_problem(service: Service, port: int) -> list[str]:
    """Empty if `service` can listen on `port`, else one line: who has it and what to change."""
    try:
        family = socket.AF_INET6 if ":" in service.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, for TIME_WAIT
            probe.bind((service.host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            trouble = f"is taken by {holder_of(port)}"
        else:
            trouble = f"can't be used on {service.host}: {error.strerror}"
        return [f"port {port} ({service.name}) {trouble}; choose another with {service.port_variable}"]
    return []


def holder_of(port: int) -> str:
    """`name (pid N)` of the process that has `port`, as far as we may see it."""
    having = [c for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port]
    listening = [c for c in having if c.status == psutil.CONN_LISTEN]
    # High ports are also given out to whoever connects somewhere.
    for connection in listening or having:
        what = "" if listening else "an outgoing connection of "
        if connection.pid is not None:
            return what + _name_of(connection.pid)
    return "another user's process" if having else "another process"


def _name_of(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        words = process.cmdline() or [process.name()]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return f"pid {pid}"
    command = " ".join([Path(words[0]).name, *words[1:]])
    return f"{command if len(command) <= 60 else command[:59] + '…'} (pid {pid})"

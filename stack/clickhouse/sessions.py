"""Sessions: a handle of the engine that lives between requests, one statement at a time."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from stack.clickhouse.engine import Engine, Handle
from stack.clickhouse.errors import ClickHouseError

log = logging.getLogger("stack.clickhouse")

DEFAULT_TIMEOUT_S = 60
MAX_TIMEOUT_S = 3600
MAX_SESSIONS = 1000


@dataclass(slots=True)
class Session:
    """`database` is what `USE` last chose: it outlives a request, unlike the request's own `database`. A user
    with readonly=1 can set nothing, so such a session needs no `handle`."""

    handle: Handle | None
    database: str = "default"
    busy: bool = False
    expires: float = 0.0


@dataclass
class Sessions:
    """By (user, session_id): a user cannot enter another's session."""

    engine: Engine
    _sessions: dict[tuple[str, str], Session] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._sessions)

    @contextlib.asynccontextmanager
    async def enter(
        self, user: str, session_id: str, timeout_s: float, *, must_exist: bool, readonly: int = 0
    ) -> AsyncIterator[Session]:
        """The session, locked for one statement. Raises `ClickHouseError` 372 (not found) or 373 (locked)."""
        self.expire()
        key = (user, session_id)
        session = self._sessions.get(key)
        if session is None:
            if must_exist:
                raise ClickHouseError(372, f"Session {session_id} not found")
            if len(self._sessions) >= MAX_SESSIONS:
                raise ClickHouseError(202, f"Too many sessions: {MAX_SESSIONS} are open")
            session = self._sessions[key] = Session(None if readonly == 1 else self.engine.handle())
        if session.busy:
            raise ClickHouseError(373, f"Session {session_id} is locked by a concurrent client")
        session.busy = True
        try:
            yield session
        finally:
            session.busy = False
            session.expires = time.monotonic() + timeout_s

    def expire(self) -> None:
        """Close the sessions whose time has come."""
        now = time.monotonic()
        for key in [
            key for key, session in self._sessions.items() if not session.busy and session.expires < now
        ]:
            _close(self._sessions.pop(key))
            log.debug("session %s expired", key[1])

    async def watch(self) -> None:
        """Expire sessions once a second, for ever."""
        while True:
            await asyncio.sleep(1)
            self.expire()

    def close(self) -> None:
        """Close them all."""
        for session in self._sessions.values():
            _close(session)
        self._sessions.clear()


def _close(session: Session) -> None:
    if session.handle is not None:
        session.handle.close()


def timeout(value: str | None) -> float:
    """`session_timeout` in seconds. Raises `ClickHouseError` 374."""
    if value is None:
        return DEFAULT_TIMEOUT_S
    if not value.isdecimal():
        raise ClickHouseError(374, f"Invalid session timeout: '{value}'")
    if int(value) > MAX_TIMEOUT_S:
        raise ClickHouseError(
            374, f"Session timeout '{value}' is larger than max_session_timeout: {MAX_TIMEOUT_S}"
        )
    return int(value)

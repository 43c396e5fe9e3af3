"""This process's own copy of the sessions it recorded: what a feed goes by while Redis is down."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field

from serving.context.change import SIGNALS, SessionChange
from serving.context.session import MET, NOTHING, RECENT_ITEMS, SessionContext

USERS = 10_000
"""Some 25 kB each at most."""
MET_HERE = 200
BLOCKED = 200


@dataclass
class _Session:
    met: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    categories: dict[str, int] = field(default_factory=dict)
    blocked: tuple[str, ...] = ()
    until: float = 0.0
    unsaved: bool = False


class SessionMemory:
    """Bounded: the user who acted longest ago is forgotten first, and everybody after `ttl_s` without an act."""

    def __init__(self, ttl_s: float, users: int = USERS) -> None:
        self._ttl_s = ttl_s
        self._users = users
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    def apply(self, change: SessionChange) -> None:
        now = time.monotonic()
        old = self._sessions.pop(change.user_id, None)
        session = old if old is not None and old.until > now else _Session()
        session.met = tuple(dict.fromkeys(change.met + session.met))[:MET_HERE]
        session.signals = (change.signals + session.signals)[:SIGNALS]
        session.blocked = tuple(dict.fromkeys(change.reported + session.blocked))[:BLOCKED]
        for category, count in change.categories.items():
            session.categories[category] = session.categories.get(category, 0) + count
        session.until = now + self._ttl_s
        self._sessions[change.user_id] = session
        while len(self._sessions) > self._users:
            self._sessions.popitem(last=False)

    def mark_unsaved(self, user_id: str) -> None:
        """Redis lacks something of what this copy holds."""
        if (session := self._sessions.get(user_id)) is not None:
            session.unsaved = True

    def of(self, user_id: str, *missing: str) -> SessionContext:
        """What this process knows; `missing` goes into the context."""
        session = self._alive(user_id)
        if session is None:
            return SessionContext(missing=missing) if missing else NOTHING
        return SessionContext(
            recent=session.met[:RECENT_ITEMS],
            met=session.met,
            signals=pairs(session.signals),
            categories=dict(session.categories),
            blocked=frozenset(session.blocked),
            missing=missing,
        )

    def merged(self, user_id: str, saved: SessionContext) -> SessionContext:
        """`saved` is Redis's word; ours goes before it where Redis was down when the user acted."""
        session = self._alive(user_id)
        if session is None or not session.unsaved:
            return saved
        categories = {
            name: max(saved.categories.get(name, 0), session.categories.get(name, 0))
            for name in {*saved.categories, *session.categories}
        }
        return SessionContext(
            recent=tuple(dict.fromkeys(session.met[:RECENT_ITEMS] + saved.recent))[:RECENT_ITEMS],
            met=tuple(dict.fromkeys(session.met + saved.met))[:MET],
            signals=tuple(dict.fromkeys(pairs(session.signals) + tuple(saved.signals)))[:SIGNALS],
            categories=categories,
            blocked=saved.blocked | frozenset(session.blocked),
        )

    def __len__(self) -> int:
        return len(self._sessions)

    def _alive(self, user_id: str) -> _Session | None:
        session = self._sessions.get(user_id)
        if session is not None and session.until <= time.monotonic():
            del self._sessions[user_id]
            return None
        return session


def pairs(signals: tuple[str, ...] | list[str]) -> tuple[tuple[str, str], ...]:
    """`like|v7` -> `("like", "v7")`."""
    return tuple((kind, video) for kind, _, video in (signal.partition("|") for signal in signals))

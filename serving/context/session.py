"""What a user has done in the last minutes, as the feed takes it into account (contract R2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

RECENT_ITEMS = 20
"""R2: `user:{id}:recent_items` holds this many, newest first."""
MET = 2000
"""`user:{id}:met` holds this many, newest first: what must not come again before a new bundle knows of it."""


@dataclass(frozen=True)
class SessionContext:
    """All ids newest first. `missing` says what could not be read; empty when the context is whole.

    `recent`: videos met in this session. `met`: these and what was met in the last days. `signals`: what was done with
    which video, as (event type, video id). `categories`: how often each was met. `blocked`: videos the user reported.
    """

    recent: tuple[str, ...] = ()
    met: tuple[str, ...] = ()
    signals: tuple[tuple[str, str], ...] = ()
    categories: Mapping[str, int] = field(default_factory=dict)
    blocked: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()


NOTHING = SessionContext()
"""The context of somebody who has done nothing yet."""

"""The receipt of an erasure: every place that can hold a user, and what was found there when it was last counted."""

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """What a place was found to be, after erasing."""

    GONE = "gone"
    ABSENT = "not there"
    MASKED = "masked"
    """Still on a disk, but nobody is answered from it."""
    PENDING = "waits for the next run"
    """Only a run of the pipeline can make it anew without the user; checked again by `reelgraph users receipt`."""
    KEPT = "kept"
    """Past versions, which change no more: there until they are removed."""
    UNCHECKED = "not counted"
    """Holds nothing of its own, or cannot be asked without doing harm; the note says which."""
    HELD = "still there"
    FAILED = "failed"

    @property
    def bad(self) -> bool:
        """The erasure has to be run again."""
        return self in (State.HELD, State.FAILED)

    @property
    def open(self) -> bool:
        return self.bad or self is State.PENDING


@dataclass(frozen=True)
class Entry:
    """One place. `erased`: rows, keys or files removed, over all runs; `left`: what a count found afterwards."""

    place: str
    state: State
    erased: int = 0
    left: int = 0
    note: str = ""


@dataclass(frozen=True)
class Receipt:
    """What became of one user, named by pseudonym alone."""

    user_hash: str
    requested_at: datetime
    checked_at: datetime
    completed_at: datetime | None
    entries: tuple[Entry, ...]

    @property
    def held(self) -> list[Entry]:
        """The places that still have the user, or could not be asked; the erasure must be run again."""
        return [entry for entry in self.entries if entry.state.bad]

    @property
    def waiting(self) -> list[Entry]:
        """The places that the next runs of the pipeline make anew."""
        return [entry for entry in self.entries if entry.state is State.PENDING]

    @property
    def erased(self) -> int:
        return sum(entry.erased for entry in self.entries)

    @property
    def found_nothing(self) -> bool:
        """Nobody knew this user: nothing was removed, nothing is left anywhere."""
        return not self.held and not self.erased and not any(entry.left for entry in self.entries)

    def summary(self) -> str:
        """One sentence."""
        if self.held:
            places = ", ".join(entry.place for entry in self.held)
            return f"not erased: {places}; run it again"
        if self.found_nothing:
            return "no trace of this user was found; what arrives of them from now on is refused"
        if self.waiting:
            places = ", ".join(entry.place for entry in self.waiting)
            return f"erased; {places}: by the next run, then `reelgraph users erase` again"
        return "erased everywhere it can be"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        instants = {name: getattr(self, name) for name in ("requested_at", "checked_at", "completed_at")}
        return {
            "user_hash": self.user_hash,
            **{name: at.isoformat() if at else None for name, at in instants.items()},
            "summary": self.summary(),
            "places": [asdict(entry) for entry in self.entries],
        }


def entries_of(stored: dict[str, Any] | None) -> list[Entry]:
    """The entries of a receipt as Postgres keeps it."""
    if stored is None:
        return []
    return [Entry(**{**place, "state": State(place["state"])}) for place in stored["places"]]


def with_earlier(entries: list[Entry], earlier: list[Entry]) -> tuple[Entry, ...]:
    """`entries`, each with what earlier runs removed from the same place added."""
    before = {entry.place: entry.erased for entry in earlier}
    return tuple(replace(entry, erased=entry.erased + before.get(entry.place, 0)) for entry in entries)

"""How many requests somebody may make in a minute: never more than the limit in any 60 seconds.

Each caller has a ring of 5-second slots. The window is the twelve full slots before now and the one that runs, so it
covers 60 to 65 seconds: a caller may wait up to 5 seconds longer than they need, and cannot get a burst at the edge
of two minutes, as fixed windows allow.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

WINDOW_S = 60
SLOT_S = 5
SLOTS = WINDOW_S // SLOT_S + 1
MOST_CALLERS = 50_000
SHARED_FROM = 20
"""A caller is told to the other replicas once they used a twentieth of their limit here: with fewer replicas than
that nobody below it can be over, and the many who ask now and then cost nothing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`remaining` requests are left now; `retry_after` seconds until one is, 0 if it was allowed."""

    allowed: bool
    limit: int
    remaining: int
    retry_after: int


class _Ring:
    """One caller's requests by slot: `own` of this process, `others` of the other replicas as last heard."""

    __slots__ = ("newest", "others", "own", "own_total", "total")

    def __init__(self, slot: int) -> None:
        self.begin(slot)

    def begin(self, slot: int) -> None:
        """With nothing counted."""
        self.own = [0] * SLOTS
        self.others: list[int] | None = None
        self.newest = slot
        self.own_total = 0
        self.total = 0

    def advance(self, slot: int) -> None:
        """Forget what left the window."""
        passed = slot - self.newest
        if passed >= SLOTS or passed < -1:  # long ago, or the clock was set back
            self.begin(slot)
            return
        for each in range(self.newest + 1, slot + 1):
            at = each % SLOTS
            self.own_total -= self.own[at]
            self.total -= self.own[at]
            self.own[at] = 0
            if self.others is not None:
                self.total -= self.others[at]
                self.others[at] = 0
        self.newest = max(self.newest, slot)

    def hear(self, others: Mapping[int, int]) -> None:
        """What the others counted, by slot; one whose clock is ahead counts as of now."""
        ring = [0] * SLOTS
        for slot, count in others.items():
            if slot > self.newest - SLOTS:
                ring[min(slot, self.newest) % SLOTS] += count
        self.others = ring
        self.total = self.own_total + sum(ring)

    def slots(self) -> dict[int, int]:
        """This process's counts, by slot."""
        return {
            slot: self.own[slot % SLOTS]
            for slot in range(self.newest - SLOTS + 1, self.newest + 1)
            if self.own[slot % SLOTS]
        }


class RateLimiter:
    """Counts in memory, for at most `most` callers (the one who asked longest ago is forgotten first)."""

    def __init__(self, clock: Callable[[], float] = time.time, most: int = MOST_CALLERS) -> None:
        self._clock = clock
        self._most = most
        self._rings: OrderedDict[str, _Ring] = OrderedDict()
        self.touched: set[str] = set()
        """Callers whose counts the other replicas should hear of; none that is forgotten here."""

    def __len__(self) -> int:
        return len(self._rings)

    def take(self, caller: str, limit: int) -> Verdict:
        """Count one request, unless it would be one too many: a refused one does not make the wait longer."""
        now = self._clock()
        ring = self._ring(caller, int(now // SLOT_S))
        if (ring.own_total + 1) * SHARED_FROM >= limit:
            self.touched.add(caller)
        if ring.total >= limit:
            return Verdict(False, limit, 0, self._wait(ring, limit, now))
        ring.own[ring.newest % SLOTS] += 1
        ring.own_total += 1
        ring.total += 1
        return Verdict(True, limit, limit - ring.total, 0)

    def tell_again(self, callers: Iterable[str]) -> None:
        """The other replicas did not hear of these."""
        self.touched.update(caller for caller in callers if caller in self._rings)

    def own_slots(self, caller: str) -> dict[int, int]:
        """What this process counted, by slot of the clock; empty for a caller it has forgotten."""
        ring = self._rings.get(caller)
        return ring.slots() if ring else {}

    def hear(self, caller: str, others: Mapping[int, int]) -> None:
        """Take up what the other replicas counted, by slot."""
        ring = self._rings.get(caller)
        if ring is not None:
            ring.advance(int(self._clock() // SLOT_S))
            ring.hear(others)

    def _ring(self, caller: str, slot: int) -> _Ring:
        ring = self._rings.get(caller)
        if ring is None:
            ring = self._rings[caller] = _Ring(slot)
            if len(self._rings) > self._most:
                self.touched.discard(self._rings.popitem(last=False)[0])
        else:
            self._rings.move_to_end(caller)
            if ring.newest != slot:
                ring.advance(slot)
        return ring

    def _wait(self, ring: _Ring, limit: int, now: float) -> int:
        """Whole seconds until enough slots have left the window."""
        left = ring.total
        for slot in range(ring.newest - SLOTS + 1, ring.newest + 1):
            at = slot % SLOTS
            left -= ring.own[at] + (ring.others[at] if ring.others else 0)
            if left < limit:
                return max(1, int((slot + SLOTS) * SLOT_S - now) + 1)
        return WINDOW_S + SLOT_S

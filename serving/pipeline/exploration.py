"""Places that may show what no model would yet, with probabilities that are known and written down.

Every `every`-th place explores with probability `share`. Its pool is a part of the new videos that no other place
draws from, and that the ranking itself does not hold, so the probability of each item at each place does not depend
on what the other places drew:

    P(ranked item at an exploring place) = 1 - share          P(item of its pool) = share / size of the pool

and 1 at all other places. The ranked item that gives way is not moved elsewhere: it is simply not in this list.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from serving.pipeline.space import Rows

_OF_53_BITS = 2.0**-53


@dataclass(frozen=True)
class Placed:
    """What stands at one place. `explored`: drawn from the pool."""

    propensity: float
    row: int | None = None

    @property
    def explored(self) -> bool:
        return self.row is not None


CERTAIN = Placed(1.0)


def explore(
    pool: Rows, first: int, places: int, *, share: float, every: int, places_in_all: int, request_id: str
) -> Sequence[Placed]:
    """What stands at the places `first` to `first + places - 1` (from 0) of a list.

    `pool`: rows outside the list, in an order that does not change from page to page. Exploring places share it out
    evenly; `places_in_all` says how long the list can be. Draws follow from `request_id` alone: the same request can
    be replayed.
    """
    found = [CERTAIN] * places
    if not share or not len(pool):
        return found
    exploring = max(1, places_in_all // every)
    for place in range(first, first + places):
        if place % every != every - 1:
            continue
        mine = pool[place // every % exploring :: exploring] if place < places_in_all else pool[:0]
        if not len(mine):
            continue
        decides, which = _draws(request_id, place)
        if decides < share:
            found[place - first] = Placed(share / len(mine), int(mine[int(which * len(mine))]))
        else:
            found[place - first] = Placed(1.0 - share)
    return found


def _draws(request_id: str, place: int) -> tuple[float, float]:
    """Two numbers in [0, 1)."""
    digest = blake2b(f"{request_id}/{place}".encode(), digest_size=16).digest()
    return (
        (int.from_bytes(digest[:8], "big") >> 11) * _OF_53_BITS,
        (int.from_bytes(digest[8:], "big") >> 11) * _OF_53_BITS,
    )

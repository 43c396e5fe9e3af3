"""A list as the cache keeps it, and as bytes in Redis."""

import logging
import time
from dataclasses import dataclass, replace
from typing import Self

import orjson

from serving.pipeline.page import Page

log = logging.getLogger(__name__)


# Of a place in memory beside its item: row, score, propensity, and references to them.
_PLACE_BYTES = 120


@dataclass(frozen=True, slots=True)
class CachedList:
    """A page and its items as they are sent.

    Tens of thousands are kept: a page here holds tuples of numbers and texts, which the garbage collector need not
    walk, where it held lists."""

    page: Page
    items: bytes

    @classmethod
    def of(cls, page: Page, items: bytes) -> Self:
        compact = replace(
            page,
            rows=tuple(page.rows),
            scores=tuple(page.scores),
            origins=tuple(page.origins),
            propensities=tuple(page.propensities),
        )
        return cls(compact, items)

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        return len(self.items) + _PLACE_BYTES * len(self.page.rows)


def packed(made: CachedList, until: float) -> bytes:
    """`until`: when it runs out, in seconds since 1970."""
    return orjson.dumps([until, made.page, made.items.decode()])


def unpacked(value: bytes | str) -> tuple[CachedList, float] | None:
    """The list and how many seconds it is still good for; None for one that is too old (the lists of a user run out
    together in Redis) and for what another version of this code wrote."""
    try:
        until, page, items = orjson.loads(value)
        left_s = float(until) - time.time()
        found = CachedList.of(Page(**{**page, "degraded": tuple(page["degraded"])}), items.encode())
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("a cached list in Redis cannot be read: %s", type(error).__name__)
        return None
    return (found, left_s) if left_s > 0 else None

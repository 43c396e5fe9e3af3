"""A list as the cache keeps it, and as bytes in Redis."""

import logging
import time
from dataclasses import dataclass

import orjson

from serving.pipeline.page import Page

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CachedList:
    """A page and its items as they are sent."""

    page: Page
    items: bytes


def packed(made: CachedList, until: float) -> bytes:
    """`until`: when it runs out, in seconds since 1970."""
    return orjson.dumps([until, vars(made.page), made.items.decode()])


def unpacked(value: bytes | str) -> tuple[CachedList, float] | None:
    """The list and how many seconds it is still good for; None for one that is too old (the lists of a user run out
    together in Redis) and for what another version of this code wrote."""
    try:
        until, page, items = orjson.loads(value)
        left_s = float(until) - time.time()
        found = CachedList(Page(**{**page, "degraded": tuple(page["degraded"])}), items.encode())
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("a cached list in Redis cannot be read: %s", type(error).__name__)
        return None
    return (found, left_s) if left_s > 0 else None

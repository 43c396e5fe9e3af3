"""A few viewers of a bundle to try its feeds with: some with a long history, some with a short one, one with none."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from serving.bundle import Bundle
from serving.catalogue import Catalogue

Kind = Literal["heavy", "regular", "light", "new"]

PER_KIND = 20
"""How many of each kind are kept: enough to leave out those who were erased since."""
MOST_LOOKED_AT = 50_000
"""Users that are compared; of more, evenly spaced ones."""
NEWCOMER = "someone-new"


@dataclass(frozen=True)
class SampleUser:
    """`videos_met`: of the catalogue, when the bundle was made. `mostly`: the category of most of them, if known."""

    user_id: str
    kind: Kind
    videos_met: int
    mostly: str | None


def sample_users(bundle: Bundle) -> list[SampleUser]:
    """Viewers in turn heavy, regular and light, each kind from its most typical on; last one nobody knows.

    Takes milliseconds: once per bundle, not per request. The same bundle, the same viewers.
    """
    watched = bundle.watched
    counts = np.diff(watched.starts)
    met = np.flatnonzero(counts)
    met = met[:: -(-len(met) // MOST_LOOKED_AT) or 1]
    # Ties by place, so that the order does not hang on how a sort works.
    order = met[np.argsort(counts[met], kind="stable")]
    light, regular, heavy = np.array_split(order, 3)
    middle = max(0, (len(regular) - PER_KIND) // 2)
    kinds: dict[Kind, NDArray[np.int64]] = {
        "heavy": heavy[::-1][:PER_KIND],
        "regular": regular[middle : middle + PER_KIND],
        "light": light[:PER_KIND],
    }
    lists = [list(_described(bundle, users, kind)) for kind, users in kinds.items()]
    known = [user for user in chain.from_iterable(zip_longest(*lists)) if user is not None]
    return [*known, SampleUser(_newcomer(bundle), "new", 0, None)]


def _described(bundle: Bundle, users: NDArray[np.int64], kind: Kind) -> Iterator[SampleUser]:
    watched = bundle.watched
    for user in users:
        rows = watched.rows[watched.starts[user] : watched.starts[user + 1]]
        yield SampleUser(str(watched.user_ids[user]), kind, len(rows), _mostly(bundle.catalogue, rows))


def _mostly(catalogue: Catalogue, rows: NDArray[np.int32]) -> str | None:
    codes = Counter(catalogue.categories[rows].tolist())
    known = [(count, -code) for code, count in codes.items() if code >= 0]
    if not known:
        return None
    code = -max(known)[1]
    row = int(rows[catalogue.categories[rows] == code][0])
    category = orjson.loads(b"{%s}" % catalogue.card(row))["category"]
    return str(category)


def _newcomer(bundle: Bundle) -> str:
    """An id that no model and no history knows."""
    name = NEWCOMER
    while len(bundle.watched.of(name)) or any(model.knows(name) for model in bundle.models.values()):
        name += "-"
    return name

"""New videos: what hardly anybody has met, so that no model can rank it; the pool that exploration draws from."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from ml.factors import FactorModel
from ml.ids import MISSING, find
from serving.pipeline.space import Rows, Space, Vector

if TYPE_CHECKING:
    from serving.bundle import Bundle

# A video that more people have met than this is left to the models.
KNOWN_FROM = 20
# The newest to the models, of all users; and what is left of them for one user, by content. Of a small catalogue a
# tenth: what may be drawn anywhere in a list cannot also stand in its order.
POOL, POOL_OF_A_USER = 600, 300
POOL_SHARE = 0.1


@dataclass(frozen=True)
class Newcomers:
    """`rows` (p,): catalogue rows that at most `KNOWN_FROM` people have met, ascending; `rank` (p,): 0 for the least
    met. `most`: how many of them one user's pool may hold. `vectors` (p, d): what the model `content` says of each, of
    length 1 or 0; None without such a model."""

    rows: Rows
    rank: Rows
    most: int = POOL_OF_A_USER
    content: FactorModel | None = None
    vectors: Vector | None = None

    @classmethod
    def of(cls, bundle: "Bundle", content: Space | None) -> Self:
        most = min(POOL_OF_A_USER, int(len(bundle.catalogue) * POOL_SHARE))
        met = np.bincount(bundle.watched.rows, minlength=len(bundle.catalogue))
        few = np.flatnonzero(met <= KNOWN_FROM)
        # Among those met equally often an order that has nothing to do with their ids.
        shuffled = few[np.random.default_rng(0).permutation(len(few))]
        first = shuffled[np.argsort(met[shuffled], kind="stable")][:POOL]
        by_row = np.argsort(first)
        rows, rank = first[by_row], np.arange(len(first))[by_row]
        if content is None or content.factors is None:
            return cls(rows, rank, most)
        return cls(rows, rank, most, content.factors, content.units(rows))

    def pool(self, user_id: str, met: Rows, listed: Rows) -> Rows:
        """The newcomers outside the list and not met, of a user whose taste in content is known those that fit it
        best. The same for every page of a list."""
        left = np.ones(len(self.rows), np.bool_)
        for out in (met, listed):
            at = np.searchsorted(self.rows, out)
            at[at == len(self.rows)] = 0
            left[at[self.rows[at] == out]] = False
        places = np.flatnonzero(left)
        return self.rows[places[np.argsort(self._order(user_id, places), kind="stable")]][: self.most]

    def _order(self, user_id: str, places: Rows) -> Vector | Rows:
        if self.content is not None and self.vectors is not None:
            user = find(self.content.user_ids, user_id)
            if user != MISSING:
                return -(self.vectors[places] @ self.content.user_factors[user])
        return self.rank[places]

    def __bool__(self) -> bool:
        return bool(len(self.rows))

"""New videos: what hardly anybody has met, so that no model can rank it; the pool that exploration draws from."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ml.ids import MISSING, find
from serving.pipeline.space import Rows, Space

if TYPE_CHECKING:
    from serving.bundle import Bundle

# A video that more people have met than this is left to the models.
KNOWN_FROM = 20
# The newest to the models, of all users; and what is left of them for one user, by content.
POOL, POOL_OF_A_USER = 600, 300


@dataclass(frozen=True)
class Newcomers:
    """`rows` (p,): catalogue rows that at most `KNOWN_FROM` people have met, the least met first. False if none."""

    rows: Rows
    content: Space | None = None

    def __bool__(self) -> bool:
        return bool(len(self.rows))

    @classmethod
    def of(cls, bundle: "Bundle", content: Space | None) -> "Newcomers":
        met = np.bincount(bundle.watched.rows, minlength=len(bundle.catalogue))
        few = np.flatnonzero(met <= KNOWN_FROM)
        # Among those met equally often an order that has nothing to do with their ids.
        shuffled = few[np.random.default_rng(0).permutation(len(few))]
        order: NDArray[np.int64] = np.argsort(met[shuffled], kind="stable")
        return cls(shuffled[order][:POOL], content)

    def pool(self, user_id: str, met: Rows, listed: Rows) -> Rows:
        """The newcomers outside the list and not met; of a user whose taste in content is known those that fit it
        best. The same for every page of a list."""
        out = np.concatenate([met, listed]) if len(met) else listed
        rows = self.rows[np.isin(self.rows, out, invert=True)]
        if self.content is None or len(rows) <= POOL_OF_A_USER:
            return rows[:POOL_OF_A_USER]
        model = self.content.factors
        user = MISSING if model is None else find(model.user_ids, user_id)
        if model is None or user == MISSING:
            return rows[:POOL_OF_A_USER]
        fit = self.content.cosines(rows, model.user_factors[user])
        return rows[np.argsort(-fit, kind="stable")[:POOL_OF_A_USER]]

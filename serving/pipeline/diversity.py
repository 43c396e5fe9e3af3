"""A page that is not all of one kind: maximal marginal relevance over categories and creators."""

import numpy as np
from numpy.typing import NDArray

from serving.pipeline.space import Rows, Vector

# What of a place's likeness to the page so far is left one place later: a category may come back after a while.
_FADING = 0.7
_OF_CATEGORY, _OF_CREATOR = 0.5, 0.5


def diversified(
    scores: Vector, categories: NDArray[np.int32], creators: NDArray[np.int32], places: int, strength: float
) -> Rows:
    """The order of the first `places` candidates, (places,) positions into `scores`, greedily by

        (1 - strength) * score - strength * likeness to what was placed before

    (Carbonell and Goldstein 1998), likeness being a half for the same category and a half for the same creator, each
    0.7 times as much with every place between. Unknown categories and creators (negative codes) are like nothing.
    Candidates come in any order; equal ones: the first. A longer page begins with the shorter one's places.
    """
    n = min(places, len(scores))
    order = np.empty(n, np.int64)
    if not strength:
        order[:] = np.argsort(-scores, kind="stable")[:n]
        return order
    value = (np.float32(1 - strength) * scores).astype(np.float32)
    loss = np.zeros(len(scores), np.float32)  # strength * likeness
    worth = value.copy()
    of_category, of_creator = _Members(categories), _Members(creators)
    for place in range(n):
        best = int(worth.argmax())
        order[place] = best
        value[best] = -np.inf
        loss *= _FADING
        if (category := int(categories[best])) >= 0:
            loss[of_category[category]] += strength * _OF_CATEGORY
        if (creator := int(creators[best])) >= 0:
            loss[of_creator[creator]] += strength * _OF_CREATOR
        np.subtract(value, loss, out=worth)
    return order


class _Members(dict[int, Rows]):
    """Which candidates share a code, found when first asked."""

    def __init__(self, codes: NDArray[np.int32]) -> None:
        super().__init__()
        self._codes = codes

    def __missing__(self, code: int) -> Rows:
        self[code] = found = (self._codes == code).nonzero()[0]
        return found

"""What the pipeline makes: a page of a ranked list, with where each item came from and how likely it was."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """Catalogue rows with their scores from place `offset` on, best first.

    `kind`: the model that ranked. `source`: `personal`; `session` (somebody known from this session alone);
    `trending`; `mixed` (a list filled up with trending); `similar`, `next`. `origins` and `propensities`: of each
    item. `degraded`: why it is not what it should be; empty when nothing was wrong. `parts`: of each item, what its
    score is made of, nothing where no step made it; None if that was not asked for.
    """

    rows: Sequence[int]
    scores: Sequence[float]
    kind: str
    source: str
    offset: int = 0
    degraded: tuple[str, ...] = ()
    origins: Sequence[str] = ()
    propensities: Sequence[float] = ()
    parts: Sequence[Mapping[str, float]] | None = None


def certain(page_rows: Sequence[int], scores: Sequence[float], kind: str, source: str, offset: int) -> Page:
    """A page that nothing was left to chance in and one source made."""
    n = len(page_rows)
    return Page(page_rows, scores, kind, source, offset, (), [source] * n, [1.0] * n)

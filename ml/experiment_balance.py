"""The sample-ratio check: did each variant get its share of the users? If not, nothing else can be believed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

SRM_LEVEL = 0.001
"""Low, because a true mismatch is a fault of the plumbing and soon becomes obvious, while false alarms cost trust: of a
thousand sound experiments at most one is ever flagged, however often they are looked at."""
CONCENTRATIONS = (10.0, 100.0, 1_000.0, 10_000.0)
"""How near to the declared shares a mismatch is looked for, from far to near: a fault that loses a fifth of a variant
shows among 3,500 users, one that loses a fiftieth among 400,000."""


@dataclass(frozen=True)
class Balance:
    """`counts` of users by variant, how many were due, and how likely so large a mismatch ever is by chance."""

    counts: tuple[int, ...]
    expected: tuple[float, ...]
    p_value: float

    @property
    def sound(self) -> bool:
        return self.p_value >= SRM_LEVEL


def sample_ratio(variant: NDArray[np.int64], shares: Sequence[float]) -> Balance:
    """The sequential multinomial test of the variants' counts against the declared shares (Lindon and Malek 2022,
    "Anytime-valid inference for multinomial count data"): valid for any number of users and at all looks at once, as
    long as users only come (once the decision log has dropped the oldest, or many were erased, of few looks).

    p = 1 / B, at most 1. B is how much better the counts are foreseen by shares drawn from Dirichlet(c * declared)
    than by the declared ones, the mean over `CONCENTRATIONS` c: of a sound split it is ever above 1 / p with
    probability p at most (Ville)."""
    counts = np.bincount(variant, minlength=len(shares))
    declared = np.asarray(shares, float) / np.sum(shares)
    evidence = [_log_bayes_factor(counts, declared, c) for c in CONCENTRATIONS]
    log_p = min(0.0, np.log(len(evidence)) - float(logsumexp(evidence)))
    due = declared * len(variant)
    return Balance(tuple(int(c) for c in counts), tuple(float(d) for d in due), float(np.exp(log_p)))


def _log_bayes_factor(
    counts: NDArray[np.int64], declared: NDArray[np.float64], concentration: float
) -> float:
    """log of P(counts | shares ~ Dirichlet(concentration * declared)) / P(counts | declared)."""
    prior = concentration * declared
    drawn = gammaln(concentration) - gammaln(concentration + counts.sum())
    drawn += (gammaln(prior + counts) - gammaln(prior)).sum()
    return float(drawn - (counts * np.log(declared)).sum())

"""The sample-ratio check: did each variant get its share of the users? If not, nothing else can be believed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chisquare

SRM_LEVEL = 0.001
"""Low, because a true mismatch is a fault of the plumbing and soon becomes obvious, while false alarms cost trust. The
test is of one look: of sound experiments that are looked at hourly for a month, about 2% are flagged at some moment."""
MIN_EXPECTED = 5.0
"""Below so many users due to a variant the chi-square distribution says nothing."""


@dataclass(frozen=True)
class Balance:
    """`counts` of users by variant, how many were due, and how likely so large a mismatch is by chance."""

    counts: tuple[int, ...]
    expected: tuple[float, ...]
    p_value: float

    @property
    def sound(self) -> bool:
        return self.p_value >= SRM_LEVEL


def sample_ratio(variant: NDArray[np.int64], shares: Sequence[float]) -> Balance:
    """Pearson's chi-square test of the variants' counts against the declared shares; p is 1 for too few users."""
    counts = np.bincount(variant, minlength=len(shares))
    due = np.asarray(shares, float) / np.sum(shares) * len(variant)
    judged = len(variant) > 0 and due.min() >= MIN_EXPECTED
    p = float(chisquare(counts, due).pvalue) if judged else 1.0
    return Balance(tuple(int(c) for c in counts), tuple(float(d) for d in due), p)

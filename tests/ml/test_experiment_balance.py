"""The sample-ratio check: calm at all looks of a sound split, awake to a broken one."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ml.experiment_balance import CONCENTRATIONS, sample_ratio


def looks_at(seed: int, n: int, drawn: tuple[float, ...], every: int) -> list[NDArray[np.int64]]:
    """The variants of n users, as they are known at each look."""
    variant = np.random.default_rng(seed).choice(len(drawn), n, p=drawn)
    return [variant[:seen] for seen in range(every, n + 1, every)]


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.8, 0.1, 0.1)])
def test_a_sound_split_passes_however_often_it_is_looked_at(shares: tuple[float, ...]) -> None:
    """Of 200 experiments with 100 looks each 0.2 are due; Pearson's test at this level flags 3."""
    flagged = sum(
        any(not sample_ratio(seen, shares).sound for seen in looks_at(seed, 5_000, shares, 50))
        for seed in range(200)
    )
    assert flagged <= 1


@pytest.mark.parametrize(
    ("drawn", "users"), [((0.45, 0.55), 3_500), ((0.48, 0.52), 20_000), ((0.495, 0.505), 400_000)]
)
def test_a_broken_split_is_found_among_few_users_if_it_is_broken_badly(
    drawn: tuple[float, ...], users: int
) -> None:
    found = sum(
        not sample_ratio(looks_at(seed, users, drawn, users)[0], (0.5, 0.5)).sound for seed in range(50)
    )
    assert found >= 45


def test_the_sample_ratio_says_what_was_due_and_the_odds_by_the_formula() -> None:
    balance = sample_ratio(np.repeat([0, 1], [6, 4]), (0.5, 0.5))
    assert (balance.counts, balance.expected) == ((6, 4), (5.0, 5.0))
    assert balance.p_value == 1.0  # no evidence at all: odds below 1
    lost = sample_ratio(np.repeat([0, 1], [40, 0]), (0.5, 0.5))
    # One variant only, by hand: P = prod (c / 2 + i) / (c + i) over 40 users, against a half each time.
    users = np.arange(40)
    odds = [np.prod((c / 2 + users) / (c + users) * 2) for c in CONCENTRATIONS]
    assert lost.p_value == pytest.approx(1 / np.mean(odds))
    assert not lost.sound


@pytest.mark.parametrize("counts", [[0, 0], [3, 1], [9, 0]])
def test_a_handful_of_users_is_no_broken_split(counts: list[int]) -> None:
    assert sample_ratio(np.repeat([0, 1], counts), (0.5, 0.5)).sound

"""The best trial replaces the present parameters for a lead that neither users, seeds nor many asks explain."""

from math import pi
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ml.errors import DivergedError
from ml.gate import Rules
from ml.training_set import TrainingSet
from ml.tuning_search import Search
from ml.tuning_study import TrialRecord
from ml.tuning_verdict import Confirmation, Verdict, compare
from tests.ml import test_tuning as planted
from tests.ml.test_tuning import made_up, nothing, raises

folder, data = planted.folder, planted.data  # the planted training set, by fixture

USERS = 2_000


def fits(rng: np.random.Generator, users: NDArray, seeds: int, noise: float) -> NDArray[np.float64]:
    """NDCG@10 of equal recipes, (seeds, n): each fit has its luck, as a whole and with each user."""
    luck = 1 + noise * rng.standard_normal((seeds, 1))
    return users * luck + 0.02 * rng.standard_normal((seeds, len(users)))


@pytest.mark.parametrize("seeds", [1, 3])
def test_equal_als_parameters_are_rarely_replaced_however_lucky_their_seeds(seeds: int) -> None:
    """At most 6 / pi^2 of 5% of first asks may; with the luck of seeds left out of account, far more would."""
    rng = np.random.default_rng(0)
    noise = Rules().noise_of("als")
    better = ignoring = 0
    for _ in range(1_000):
        users = rng.beta(0.5, 6.0, USERS)
        pair = fits(rng, users, seeds, noise), fits(rng, users, seeds, noise)
        numbers = tuple(range(1, seeds + 1))
        better += compare(*pair, numbers, noise=noise).better
        ignoring += compare(*pair, numbers, noise=0.0).better
    assert better <= 45  # 30.4 expected, and two standard deviations
    assert ignoring >= 150


def test_the_bound_counts_the_noise_of_both_and_less_of_it_with_more_seeds() -> None:
    """Every user gains a tenth of a common value: users explain nothing, sd = sqrt(2 / k) * noise * mean."""
    present = np.full((2, 50), 0.1)
    verdict = compare(present + 0.01, present, (1, 2), noise=0.04)
    reach = 1.875000  # of the normal distribution, at 0.05 * 6 / pi^2
    sd = np.hypot(0.04 / np.sqrt(2) * 0.11, 0.04 / np.sqrt(2) * 0.10)
    assert verdict.difference.value == pytest.approx(0.01)
    assert verdict.difference.low == pytest.approx(0.01 - reach * sd, rel=1e-4)
    assert verdict.confidence == pytest.approx(1 - 0.05 * 6 / pi**2)
    assert verdict.better
    assert not compare(present[:1] + 0.01, present[:1], (1,), noise=0.06).better


def test_the_same_lead_that_convinces_at_first_does_not_when_asked_for_often() -> None:
    present = np.full((1, 50), 0.1)
    asks = [compare(present + 0.005, present, (1,), noise=0.015, ask=k).better for k in (1, 2, 3, 10)]
    assert asks == [True, False, False, False]


def test_a_verdict_survives_being_written_down() -> None:
    verdict = compare(np.full((2, 5), 0.2), np.full((2, 5), 0.1), (1, 2), noise=0.01, ask=3)
    assert Verdict.from_json({"of": [], **verdict.as_json()}) == verdict


def confirmation(search: Search) -> Confirmation:
    return Confirmation(search.about, search.study, search.config, search.fit, search.judge, 10.0, search.say)


def others(search: Search) -> list[TrialRecord]:
    return [record for record in search.study.settled() if record.params != search.about.present]


def test_asks_are_counted_with_the_study_over_rounds_and_kills(data: TrainingSet, tmp_path: Path) -> None:
    first = made_up(data, tmp_path, [])
    while len(first.study.settled()) < 4:
        first._trial(np.inf)
    one, two, three = others(first)[:3]
    verdicts = [confirmation(first).of(one), confirmation(first).of(two)]

    resumed = made_up(data, tmp_path, [])
    verdicts += [confirmation(resumed).of(two), confirmation(resumed).of(three)]
    assert [verdict.ask for verdict in verdicts if verdict] == [1, 2, 2, 3]
    assert verdicts[1] == verdicts[2]  # the same two: remembered, not asked anew
    assert verdicts[3] is not None
    assert verdicts[3].confidence == pytest.approx(1 - 0.05 * 6 / (3 * pi) ** 2)


@pytest.mark.parametrize("error", [MemoryError(), DivergedError("the loss is nan")])
def test_present_parameters_that_cannot_be_fitted_anew_are_not_beaten_and_nothing_was_asked(
    error: Exception, data: TrainingSet, tmp_path: Path
) -> None:
    fails = raises(error)
    search = made_up(data, tmp_path, [fails, nothing, nothing, nothing, fails])
    outcome = search.run()
    assert outcome.best is not None
    assert outcome.verdict is None
    assert not outcome.replaced
    assert outcome.params == outcome.about.present
    assert "the present parameters stay, they could not be fitted anew against trial" in str(outcome)

    again = made_up(data, tmp_path, []).run()
    assert again.verdict is not None
    assert again.verdict.ask == 1


def test_a_winner_that_cannot_be_fitted_anew_replaces_nothing(data: TrainingSet, tmp_path: Path) -> None:
    search = made_up(data, tmp_path, [])
    while len(search.study.settled()) < 2:
        search._trial(np.inf)
    search.fit.happenings[:] = [nothing, raises(MemoryError())]  # type: ignore[attr-defined]
    verdict = confirmation(search).of(others(search)[0])
    assert verdict is not None
    assert verdict.winner == 0
    assert not verdict.better

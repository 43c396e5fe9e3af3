"""The loss, by hand: what is corrected for, and that each example meets the popularity of its own time."""

import math

import numpy as np
import pytest
import torch

from ml.config import TwoTowerConfig
from ml.dataset import Encoded
from ml.examples import Examples
from ml.features import DAY_MS, video_codes
from ml.towers import TwoTower
from ml.two_tower import Tensors, sampled_softmax
from tests.ml.planted import HOUR_MS, START_MS, catalogue, interactions

MIDNIGHT_H = (DAY_MS - START_MS % DAY_MS) / HOUR_MS
CONFIG = TwoTowerConfig(popularity_half_life_days=1, temperature=0.5)


def loss_by_hand(logits: list[float], right: int) -> float:
    return math.log(sum(map(math.exp, logits))) - logits[right]


def test_each_example_meets_the_prior_of_its_own_day_and_draws_are_corrected_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = interactions([("u", "a", MIDNIGHT_H - 12, 1.0), ("v", "b", MIDNIGHT_H + 1, 2.0)])
    videos = catalogue(["a", "b", "c", "d"])
    data = Encoded.of(rows, videos)
    codes, sizes = video_codes(data, videos)
    examples = Examples.of(data, CONFIG)
    examples.strength[:] = [1, 3]
    model = TwoTower(2, sizes, CONFIG)
    with torch.no_grad():
        model.gain.fill_(2.0)
    monkeypatch.setattr(model, "user_vectors", lambda users, *_: torch.eye(2)[users - 1])
    monkeypatch.setattr(model, "video_vectors", lambda codes: torch.eye(4)[codes[:, 0] - 1, :2])
    tensors = Tensors(examples, codes, torch.device("cpu"))
    # Candidates: a and b of the batch, then c, a. a and b are expected 2 * 1/2 + 2/4 times, c 2/4 times.
    found = sampled_softmax(model, tensors, torch.tensor([0, 1]), torch.tensor([2, 0]))

    of_batch, drawn = -math.log(1.5), -math.log(0.5)
    prior_of_a = 2 * math.log1p(0.5**0.5)  # on the second day; on the first nothing was known
    first = loss_by_hand([1 / 0.5 + of_batch, of_batch, drawn], 0)  # its own video drawn again is left out
    second = loss_by_hand(
        [prior_of_a + of_batch, 1 / 0.5 + of_batch, drawn, prior_of_a + of_batch],
        1,
    )
    assert float(found) == pytest.approx((1 * first + 3 * second) / 4, rel=1e-5)


def test_a_later_day_tells_an_earlier_example_nothing() -> None:
    """The prior rows an example meets are those of its day, whatever is played on the days after."""
    early = interactions([("u", "a", MIDNIGHT_H - 12, 1.0), ("v", "b", MIDNIGHT_H + 1, 1.0)])
    more = interactions(
        [("u", "a", MIDNIGHT_H - 12, 1.0), ("v", "b", MIDNIGHT_H + 1, 1.0), ("u", "b", MIDNIGHT_H + 50, 1.0)]
    )
    priors = []
    for rows in (early, more):
        examples = Examples.of(Encoded.of(rows, catalogue(["a", "b"])), CONFIG)
        priors.append(examples.priors.table[examples.inputs(np.asarray([0, 1])).prior_rows])
    np.testing.assert_array_equal(*priors)

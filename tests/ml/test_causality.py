"""No training example is told anything that was not known when it started."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ml.config import TwoTowerConfig
from ml.dataset import Encoded, Interactions
from ml.examples import Examples
from ml.features import DAY_MS, DailyPriors, log_prior
from ml.fitting import decayed
from ml.histories import Histories
from ml.towers import TwoTower
from ml.two_tower import fit
from tests.ml.planted import HOUR_MS, START_MS, VIDEO_MS, catalogue, interactions

VIDEOS = ["a", "b", "c", "d"]
CONFIG = TwoTowerConfig(history_length=3, history_half_life_days=1, popularity_half_life_days=1)

Row = tuple[str, str, float, float]
"""User, video, hours since the start, watch ratio (of a minute: 60 an hour, so that plays overlap others)."""

ROWS = st.tuples(
    st.sampled_from(["u", "v"]),
    st.sampled_from(VIDEOS),
    st.integers(0, 100).map(float),
    st.sampled_from([0.0, 0.2, 0.8, 1.0, 60.0, 240.0]),
)
NEW_VIDEOS = st.sampled_from([*VIDEOS, "0 before all others", "never seen before"])
LATER_ROWS = st.tuples(
    st.sampled_from(["u", "v", "0 new"]),
    NEW_VIDEOS,
    st.integers(0, 130).map(float),
    ROWS.map(lambda row: row[3]),
)

Told = tuple[list[tuple[str, float]], dict[str, float]]


def end_h(row: Row) -> float:
    return row[2] + row[3] * VIDEO_MS / HOUR_MS


def told(rows: list[Row], example: Row) -> Told:
    """What the model is told about an example: (video, weight) of its history, and each video's prior if not 0."""
    data = Encoded.of(interactions(sorted(rows, key=lambda row: row[2])), catalogue(VIDEOS))
    examples = Examples.of(data, CONFIG)
    place = _place(data, examples, example)
    inputs = examples.inputs(np.asarray([place]))
    history = [
        (str(data.video_ids[code - 1]), float(weight))
        for code, weight in zip(inputs.history[0], inputs.weights[0], strict=True)
        if code and weight
    ]
    return history, _by_video(data, examples.priors.table[inputs.prior_rows[0]])


def told_before_the_fix(rows: list[Row], example: Row) -> Told:
    """As the code was: the whole history but for the example's own video, and the popularity at the end."""
    data = Encoded.of(interactions(sorted(rows, key=lambda row: row[2])), catalogue(VIDEOS))
    all_rows = data.interactions
    end = int(all_rows.started_at_ms.max())
    own = np.flatnonzero((all_rows.user_ids == example[0]) & (all_rows.weights > 0))
    newest = own[np.argsort(-all_rows.started_at_ms[own], kind="stable")][: CONFIG.history_length]
    fading = decayed(all_rows.started_at_ms[newest], end, CONFIG.history_half_life_days)
    history = [
        (str(all_rows.video_ids[row]), float(all_rows.weights[row] * fade))
        for row, fade in zip(newest, fading, strict=True)
        if all_rows.video_ids[row] != example[1]
    ]
    return history, _by_video(data, log_prior(data, CONFIG.popularity_half_life_days))


def _place(data: Encoded, examples: Examples, example: Row) -> int:
    user, video = np.searchsorted(data.user_ids, example[0]), np.searchsorted(data.video_ids, example[1])
    same = (examples.users == user) & (examples.videos == video)
    return int(np.flatnonzero(same & (examples.times_ms == START_MS + round(example[2] * HOUR_MS)))[0])


def _by_video(data: Encoded, prior: np.ndarray) -> dict[str, float]:
    return {str(video): float(value) for video, value in zip(data.video_ids, prior, strict=True) if value}


@given(st.lists(ROWS, max_size=25), st.lists(LATER_ROWS, max_size=10), ROWS)
def test_nothing_an_example_is_told_changes_with_what_ended_after_it_started(
    rows: list[Row], later: list[Row], example: Row
) -> None:
    """Rows not known when the example started may be removed, added or replaced by any others: all the same."""
    example = (*example[:3], 1.0)
    time_h = example[2]
    known = [row for row in rows if end_h(row) < time_h]
    unknown = [row for row in later if end_h(row) >= time_h]
    expected = told([*known, example], example)
    assert told([*rows, example], example) == expected
    assert told([*known, example, *unknown], example) == expected


@given(st.lists(ROWS, min_size=1, max_size=25))
def test_what_examples_are_told_is_what_a_plain_loop_finds(rows: list[Row]) -> None:
    data = Encoded.of(interactions(sorted(rows, key=lambda row: row[2])), catalogue(VIDEOS))
    histories, priors = Histories.of(data, CONFIG), DailyPriors.of(data, 1)
    given_rows = data.interactions
    for at in range(len(given_rows)):
        time = int(given_rows.started_at_ms[at])
        codes, weights = histories.before(data.users[[at]], np.asarray([time]))
        past = [
            row
            for row in range(len(given_rows))
            if given_rows.user_ids[row] == given_rows.user_ids[at]
            and given_rows.ended_at_ms[row] < time
            and given_rows.weights[row] > 0
        ]
        newest = sorted(past, key=lambda row: (given_rows.ended_at_ms[row], row), reverse=True)[:3]
        assert [code for code in codes[0] if code] == [data.videos[row] + 1 for row in newest]
        ages = [(time - given_rows.started_at_ms[row]) / DAY_MS for row in newest]
        expected = [given_rows.weights[row] * 0.5**age for row, age in zip(newest, ages, strict=True)]
        np.testing.assert_allclose(weights[0][: len(newest)], expected, rtol=1e-5)
        assert not weights[0][len(newest) :].any()
        day = time // DAY_MS * DAY_MS
        counts = np.zeros(len(data.video_ids))
        for row in np.flatnonzero(given_rows.positives & (given_rows.ended_at_ms // DAY_MS < day // DAY_MS)):
            counts[data.videos[row]] += 0.5 ** ((day - given_rows.started_at_ms[row]) / DAY_MS)
        (known,) = priors.rows_at(np.asarray([time]))
        np.testing.assert_allclose(priors.table[known], np.log1p(counts), rtol=1e-5)


EXAMPLE = ("u", "b", 50.0, 1.0)
PAST = [("u", "a", 0.0, 1.0), ("v", "c", 1.0, 1.0)]


@pytest.mark.parametrize(
    "future",
    [
        [("u", "d", 51.0, 1.0)],  # played after the example
        [("u", "d", 49.5, 60.0)],  # still running when the example started
        [("v", "d", 90.0, 1.0)] * 3,  # another user's: the video becomes popular
    ],
)
def test_planted_future_events_are_told_by_the_code_before_and_not_by_this(future: list[Row]) -> None:
    without, with_it = [*PAST, EXAMPLE], [*PAST, EXAMPLE, *future]
    assert told(with_it, EXAMPLE) == told(without, EXAMPLE)
    assert told_before_the_fix(with_it, EXAMPLE) != told_before_the_fix(without, EXAMPLE)
    history, prior = told(with_it, EXAMPLE)
    assert [video for video, _ in history] == ["a"]
    assert set(prior) == {"a", "c"}


def test_an_example_is_not_in_its_own_history_and_neither_is_an_earlier_play_of_its_video() -> None:
    history, _ = told([("u", "b", 1.0, 1.0), *PAST, EXAMPLE], EXAMPLE)
    assert [video for video, _ in history] == ["a"]


def test_the_whole_training_asks_for_histories_of_the_past_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What reaches the towers in training, example by example; at the end everything known does."""
    rows: Interactions = interactions([("u", video, hour, 1.0) for hour, video in enumerate("abc")])
    asked: dict[bool, set[tuple[int, ...]]] = {True: set(), False: set()}
    original = TwoTower.user_vectors

    def listening(
        self: TwoTower, users: torch.Tensor, history: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        asked[self.training] |= {tuple(row[row > 0].tolist()) for row in history.masked_fill(weights == 0, 0)}
        return original(self, users, history, weights)

    monkeypatch.setattr(TwoTower, "user_vectors", listening)
    fit(rows, catalogue([]), TwoTowerConfig(epochs=2, batch_size=2))
    assert asked == {True: {(), (1,), (2, 1)}, False: {(3, 2, 1)}}

"""No training example is told anything that was not known when it started."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.dataset import Encoded, Interactions
from ml.examples import Examples
from ml.histories import Histories
from ml.tower_priors import DAY_MS, Snapshots, log_prior
from ml.towers import Past, TwoTower
from ml.two_tower import fit
from ml.two_tower_config import TwoTowerConfig
from tests.ml.planted import HOUR_MS, START_MS, VIDEO_MS, catalogue, interactions, known

VIDEOS = ["a", "b", "c", "d"]
CONFIG = TwoTowerConfig(history_length=3, history_min_weight=0, popularity_half_life_days=1, weak_targets=0.5)

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

Told = list[tuple[str, float, float]]
"""Video, weight and age in days of the past that an example is told, newest first."""


def end_h(row: Row) -> float:
    return row[2] + row[3] * VIDEO_MS / HOUR_MS


def encoded(rows: list[Row]) -> Encoded:
    return Encoded.of(interactions(sorted(rows, key=lambda row: row[2])), catalogue(VIDEOS))


def told(rows: list[Row], example: Row) -> Told:
    data = encoded(rows)
    examples = Examples.of(data, CONFIG)
    past = examples.batch(np.asarray([_place(data, examples, example)])).history
    return [
        (str(data.video_ids[code - 1]), float(weight), float(age))
        for code, weight, age in zip(past.codes[0], past.weights[0], past.ages_days[0], strict=True)
        if code
    ]


def told_before_the_fix(rows: list[Row], example: Row) -> Told:
    """As the code once was: the whole history but for the example's own video."""
    all_rows = encoded(rows).interactions
    end = int(all_rows.started_at_ms.max())
    own = np.flatnonzero((all_rows.user_ids == example[0]) & (all_rows.weights > 0))
    newest = own[np.argsort(-all_rows.started_at_ms[own], kind="stable")][: CONFIG.history_length]
    return [
        (
            str(all_rows.video_ids[row]),
            float(all_rows.weights[row]),
            float((end - all_rows.started_at_ms[row]) / DAY_MS),
        )
        for row in newest
        if all_rows.video_ids[row] != example[1]
    ]


def _place(data: Encoded, examples: Examples, example: Row) -> int:
    user, video = np.searchsorted(data.user_ids, example[0]), np.searchsorted(data.video_ids, example[1])
    same = (examples.users == user) & (examples.videos == video)
    return int(np.flatnonzero(same & (examples.times_ms == START_MS + round(example[2] * HOUR_MS)))[0])


@settings(deadline=None)
@given(st.lists(ROWS, max_size=25), st.lists(LATER_ROWS, max_size=10), ROWS)
def test_nothing_an_example_is_told_changes_with_what_ended_after_it_started(
    rows: list[Row], later: list[Row], example: Row
) -> None:
    """Rows not known when the example started may be removed, added or replaced by any others: all the same."""
    example = (*example[:3], 1.0)
    time_h = example[2]
    past = [row for row in rows if end_h(row) < time_h]
    unknown = [row for row in later if end_h(row) >= time_h]
    expected = told([*past, example], example)
    assert told([*rows, example], example) == expected
    assert told([*past, example, *unknown], example) == expected


@settings(deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=25))
def test_what_examples_are_told_is_what_a_plain_loop_finds(rows: list[Row]) -> None:
    data = encoded(rows)
    given_rows = data.interactions
    histories = Histories.of(data, 3)
    for at in range(len(given_rows)):
        time = int(given_rows.started_at_ms[at])
        history = histories.before(data.users[[at]], np.asarray([time]))
        past = [
            row
            for row in range(len(given_rows))
            if given_rows.user_ids[row] == given_rows.user_ids[at]
            and given_rows.ended_at_ms[row] < time
            and given_rows.weights[row] > 0
        ]
        newest = sorted(past, key=lambda row: (given_rows.ended_at_ms[row], row), reverse=True)[:3]
        n = len(newest)
        assert [code for code in history.codes[0] if code] == [data.videos[row] + 1 for row in newest]
        assert history.weights[0].tolist() == [*given_rows.weights[newest].tolist(), *[0] * (3 - n)]
        ages = [(time - given_rows.started_at_ms[row]) / DAY_MS for row in newest]
        np.testing.assert_allclose(history.ages_days[0][:n], ages, rtol=1e-6)


@settings(deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=25), st.integers(0, 150))
def test_the_popularity_at_a_time_is_what_a_plain_loop_counts(rows: list[Row], hour: int) -> None:
    data = encoded(rows)
    as_of_ms = START_MS + hour * HOUR_MS
    counts = dict.fromkeys(data.video_ids.tolist(), 0.0)
    for _, video, start_h, ratio in rows:
        end_ms = START_MS + round(start_h * HOUR_MS) + round(ratio * VIDEO_MS)
        if ratio >= 0.7 and end_ms < as_of_ms:
            counts[video] += 0.5 ** ((hour - start_h) / 24)
    np.testing.assert_allclose(log_prior(data, as_of_ms, 1), np.log1p(list(counts.values())), rtol=1e-5)


@settings(deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=25), st.integers(1, 4), st.integers(0, 3))
def test_the_targets_of_a_moment_start_at_it_or_later_are_the_user_s_and_were_not_met(
    rows: list[Row], width: int, epoch: int
) -> None:
    data = encoded([*rows, ("u", "a", 50.5, 1.0)])
    given_rows = data.interactions
    examples = Examples.of(data, CONFIG.model_copy(update={"targets": width}))
    places = examples.epoch(seed=0, epoch=epoch)
    batch = examples.batch(places)
    for place, row in zip(places, range(len(places)), strict=True):
        asked = [int(v) for v, s in zip(batch.targets[row], batch.strength[row], strict=True) if s]
        past = set((batch.history.codes[row] - 1).tolist())
        own = np.flatnonzero((data.users == batch.users[row]) & (given_rows.weights > 0))
        later = own[given_rows.started_at_ms[own] >= examples.times_ms[place]]
        assert len(asked) <= width
        assert set(asked) <= set(data.videos[later].tolist()) - past


EXAMPLE = ("u", "b", 50.0, 1.0)
PAST = [("u", "a", 0.0, 1.0), ("v", "c", 1.0, 1.0)]


@pytest.mark.parametrize(
    "future",
    [
        [("u", "d", 51.0, 1.0)],  # played after the example
        [("u", "d", 49.5, 60.0)],  # still running when the example started
    ],
)
def test_planted_future_events_are_told_by_the_code_before_and_not_by_this(future: list[Row]) -> None:
    without, with_it = [*PAST, EXAMPLE], [*PAST, EXAMPLE, *future]
    assert told(with_it, EXAMPLE) == told(without, EXAMPLE)
    assert told_before_the_fix(with_it, EXAMPLE) != told_before_the_fix(without, EXAMPLE)
    assert [video for video, _, _ in told(with_it, EXAMPLE)] == ["a"]


def test_a_video_met_before_is_no_target() -> None:
    data = encoded([("u", "b", 1.0, 1.0), *PAST, EXAMPLE])
    examples = Examples.of(data, CONFIG)
    batch = examples.batch(np.asarray([_place(data, examples, EXAMPLE)]))
    assert set(batch.history.codes[0].tolist()) == {0, 1, 2}
    assert not batch.strength.any()
    assert len(batch.told().users) == 0


def test_more_days_than_snapshots_are_told_older_ages_and_never_newer_ones() -> None:
    times_ms = START_MS + 24 * HOUR_MS * np.arange(100)
    snapshots = Snapshots.of(np.asarray([START_MS]), times_ms)
    assert len(snapshots.times_ms) == 32
    told_at = snapshots.times_ms[snapshots.rows_at(times_ms)]
    assert (told_at <= times_ms).all()
    assert ((times_ms - told_at) / DAY_MS).max() < 5


def test_the_whole_training_asks_for_histories_of_the_past_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What reaches the towers in training, example by example; at the end everything known does."""
    rows: Interactions = interactions([("u", video, hour, 1.0) for hour, video in enumerate("abc")])
    asked: dict[bool, set[tuple[int, ...]]] = {True: set(), False: set()}
    original = TwoTower.user_vectors

    def listening(self: TwoTower, past: Past) -> object:
        codes = past.codes.masked_fill(past.weights == 0, 0)
        asked[self.training] |= {tuple(row[row > 0].tolist()) for row in codes}
        return original(self, past)

    monkeypatch.setattr(TwoTower, "user_vectors", listening)
    fit(known(rows, []), TwoTowerConfig(epochs=20, batch_size=2))
    assert asked == {True: {(), (1,), (2, 1)}, False: {(3, 2, 1)}}

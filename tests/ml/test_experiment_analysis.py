"""The judgement of experiments: calm when nothing changes, however often one looks; awake when something does."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.experiment_analysis import analyse
from ml.experiment_effects import effects_of
from ml.experiment_intervals import half_width
from ml.experiment_users import (
    CTR,
    METRICS,
    WATCH_TIME,
    Design,
    ExperimentUsers,
    UnusableExperimentError,
)
from ml.experiment_words import rows, verdict

HALVES = Design("diversity", ("today", "more"), (0.5, 0.5), "today")
LOOKS = np.unique(np.geomspace(300, 6_000, 30).astype(int))


def simulated(seed: int, n: int, *, lift: float = 0.0, share: float = 0.5) -> ExperimentUsers:
    """Users with heavy tails: a taste that their past shows too, and lists of very different length."""
    rng = np.random.default_rng(seed)
    variant = (rng.random(n) >= share).astype(np.int64)
    factor = 1 + lift * (variant == 1)
    taste = rng.lognormal(0, 1, n)
    shown = 20.0 * rng.geometric(0.3, n)
    played = rng.binomial(shown.astype(int), np.clip(rng.beta(2, 3, n) * factor, 0, 1)).astype(float)
    finished = rng.binomial(played.astype(int), rng.beta(2, 2, n)).astype(float)
    watched = rng.gamma(1, 60 * taste) * factor
    sums = {
        "ctr": (played, shown),
        "watch_time": (watched, np.ones(n)),
        "completion": (finished, played),
    }
    return ExperimentUsers(variant, np.ones(n, bool), rng.poisson(100 * taste).astype(float), sums)


def by_hand(
    values: list[float],
    variant: list[int],
    before: list[float] | None = None,
    below: list[float] | None = None,
) -> ExperimentUsers:
    n = len(values)
    sums = {"watch_time": (np.array(values, float), np.array(below or [1] * n, float))}
    past = np.array(before or [0] * n, float)
    return ExperimentUsers(np.array(variant), np.ones(n, bool), past, sums)


# --- Intervals ----------------------------------------------------------------------------------------------------


def test_the_interval_is_that_of_the_paper() -> None:
    """By hand, with alpha 0.05 and 1000 planned users: rho^2 = (5.991465 + ln 5.991465 + 1) / 1000 = 0.008782."""
    doubled = 2 * math.log(20)
    rho2 = (doubled + math.log(doubled) + 1) / 1000
    assert rho2 == pytest.approx(0.0087818, rel=1e-4)
    t, s2 = 1000, 4.0
    wanted = 2.0 * math.sqrt(2 * (t * rho2 + 1) / (t**2 * rho2) * math.log(math.sqrt(t * rho2 + 1) / 0.05))
    assert half_width(s2 / t, t, alpha=0.05, planned_users=1000) == pytest.approx(wanted, rel=1e-12)
    # The price of looking whenever one likes: 3.03 standard errors instead of 1.96.
    assert wanted / (2 / math.sqrt(t)) == pytest.approx(3.03, abs=0.01)


def test_the_interval_is_narrowest_for_its_standard_error_at_the_planned_users() -> None:
    def errors(t: int) -> float:
        return half_width(1 / t, t, alpha=0.05, planned_users=1000) * math.sqrt(t)

    around = [errors(t) for t in (250, 500, 1000, 2000, 4000)]
    assert min(around) == errors(1000)


@pytest.mark.parametrize(("variance", "users"), [(1.0, 0), (-1.0, 10), (float("nan"), 10)])
def test_an_interval_of_nothing_is_refused(variance: float, users: int) -> None:
    with pytest.raises(ValueError):
        half_width(variance, users, alpha=0.05, planned_users=1000)


# --- Looking all the time -------------------------------------------------------------------------------------------


def test_an_a_a_test_is_calm_under_thirty_looks_where_a_plain_test_is_not() -> None:
    runs, alarms, naive = 250, 0, 0
    for seed in range(runs):
        everybody = simulated(seed, LOOKS[-1])
        seen = [analyse(everybody.chosen(np.arange(n)), HALVES) for n in LOOKS]
        alarms += any(result.found for result in seen)
        naive += any(_naive_alarm(everybody.chosen(np.arange(n))) for n in LOOKS)
    assert alarms / runs <= 0.05  # 0.8% when written: of three metrics together
    assert naive / runs > 0.15  # 29% when written: 95% intervals of one metric


def _naive_alarm(users: ExperimentUsers) -> bool:
    watched = users.sums["watch_time"][0]
    a, b = watched[users.variant == 0], watched[users.variant == 1]
    return bool(abs(b.mean() - a.mean()) > 1.96 * math.sqrt(a.var() / len(a) + b.var() / len(b)))


def test_a_planted_effect_is_found_and_its_size_is_within_the_interval() -> None:
    result = analyse(simulated(3, 20_000, lift=0.15), HALVES)
    found = {effect.metric: effect for effect in result.found}
    assert set(found) == {"ctr", "watch_time"}  # completion was left alone
    assert all(effect.direction == 1 for effect in found.values())
    watch = found["watch_time"]
    assert watch.low < 0.15 * 60 * math.exp(0.5) < watch.high
    assert "more is better in ctr: +" in verdict(result)
    assert "more is better in watch_time: +" in verdict(result)


def test_a_harm_is_found_too() -> None:
    result = analyse(simulated(4, 20_000, lift=-0.15), HALVES)
    assert {effect.metric: effect.direction for effect in result.found} == {"ctr": -1, "watch_time": -1}
    assert "more is worse in watch_time: -" in verdict(result)


def test_the_intervals_hold_the_truth_of_a_real_effect_at_all_looks() -> None:
    truth, runs, missed = 0.1 * 60 * math.exp(0.5), 100, 0
    for seed in range(runs):
        everybody = simulated(seed, LOOKS[-1], lift=0.1)
        for n in LOOKS[::3]:
            [effect] = effects_of(everybody.chosen(np.arange(n)), WATCH_TIME, HALVES, 0.05)
            if not effect.low <= truth <= effect.high:
                missed += 1
                break
    assert missed / runs <= 0.05


# --- The estimate -----------------------------------------------------------------------------------------------------


def test_without_a_past_the_difference_is_that_of_the_means() -> None:
    [effect] = effects_of(by_hand([1, 3, 4, 6], [0, 0, 1, 1]), WATCH_TIME, HALVES, 0.05)
    assert (effect.control, effect.value, effect.difference) == (2.0, 5.0, 3.0)
    assert (effect.relative, effect.variance_kept, effect.users) == (1.5, 1.0, 4)
    assert effect.high - 3 == pytest.approx(half_width(2.0, 4, alpha=0.05, planned_users=10_000))


def test_a_ratio_is_of_sums_with_the_variance_of_the_delta_method() -> None:
    """R = 6/8 and 4/8; influences (x - R y) / 4: (0.375, -0.375) and (0.5, -0.5), so variances 0.140625 and 0.25."""
    users = by_hand([3, 3, 4, 0], [0, 0, 1, 1], below=[2, 6, 4, 4])
    [effect] = effects_of(users, WATCH_TIME, HALVES, 0.05)
    assert (effect.control, effect.value) == (0.75, 0.5)
    variance = 0.375**2 * 2 / 1 / 2 + 0.5**2 * 2 / 1 / 2
    assert effect.high - effect.difference == pytest.approx(
        half_width(variance, 4, alpha=0.05, planned_users=10_000)
    )


def test_what_the_past_explains_altogether_leaves_no_noise() -> None:
    """y = 2 * before + 5 * treated: CUPED finds the 5 exactly, though the treated had the richer past."""
    users = by_hand([2, 4, 6, 13, 15, 17], [0, 0, 0, 1, 1, 1], before=[1, 2, 3, 4, 5, 6])
    [effect] = effects_of(users, WATCH_TIME, HALVES, 0.05)
    assert effect.difference == pytest.approx(5)
    assert effect.variance_kept == pytest.approx(0, abs=1e-12)


def test_cuped_takes_noise_away_and_stays_unbiased() -> None:
    plain, adjusted, kept = [], [], []
    for seed in range(300):
        users = simulated(seed, 1_000, lift=0.2)
        watched, variant = users.sums["watch_time"][0], users.variant
        plain.append(watched[variant == 1].mean() - watched[variant == 0].mean())
        [effect] = effects_of(users, WATCH_TIME, HALVES, 0.05)
        adjusted.append(effect.difference)
        kept.append(effect.variance_kept)
    truth = 0.2 * 60 * math.exp(0.5)
    error = np.std(adjusted) / math.sqrt(len(adjusted))
    assert abs(np.mean(adjusted) - truth) < 3 * error
    assert np.var(adjusted) / np.var(plain) < 0.85
    # What it says of itself is what it does.
    assert np.mean(kept) == pytest.approx(np.var(adjusted) / np.var(plain), abs=0.1)


def test_a_past_that_says_nothing_costs_nothing() -> None:
    users = simulated(1, 20_000)
    noise = np.random.default_rng(9).normal(size=20_000)
    other = ExperimentUsers(users.variant, users.observed, noise, users.sums)
    [effect] = effects_of(other, WATCH_TIME, HALVES, 0.05)
    assert 0.999 < effect.variance_kept <= 1.0


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 50), st.floats(0, 1e6), st.booleans()), max_size=60),
    st.integers(0, 2**32 - 1),
)
def test_any_users_give_finite_figures(drawn: list[tuple[float, float, float, bool]], seed: int) -> None:
    base = simulated(seed, 400)
    top, bottom, before, second = (
        (np.array(column, float) for column in zip(*drawn, strict=True))
        if drawn
        else (np.empty(0) for _ in range(4))
    )
    sums = {
        name: (np.concatenate([above, top]), np.concatenate([below, bottom]))
        for name, (above, below) in base.sums.items()
    }
    users = ExperimentUsers(
        np.concatenate([base.variant, second.astype(np.int64)]),
        np.ones(400 + len(top), bool),
        np.concatenate([base.before, before]),
        sums,
    )
    for effect in analyse(users, HALVES).effects:
        assert np.isfinite([effect.low, effect.difference, effect.high, effect.control]).all()
        assert effect.low <= effect.difference <= effect.high


def sparse(seed: int, n: int, views: float, finishing: float) -> ExperimentUsers:
    """Nothing differs between the variants, and few have seen anything: `views` each on average."""
    rng = np.random.default_rng(seed)
    seen = rng.poisson(views, n).astype(float)
    finished = rng.binomial(seen.astype(int), finishing).astype(float)
    sums = {
        "ctr": (seen, np.full(n, 20.0)),
        "watch_time": (finished * 10, np.ones(n)),
        "completion": (finished, seen),
    }
    return ExperimentUsers(np.arange(n) % 2, np.ones(n, bool), np.zeros(n), sums)


@pytest.mark.parametrize(
    ("n", "views", "finishing"),
    [
        (400, 0.01, 0.5),  # completion alone: 18% false alarms of one or two viewers
        (200, 0.05, 0.5),
        (200, 0.3, 0.02),
        (200, 1.0, 0.3),
        (2_000, 0.003, 0.5),
        (2_000, 0.15, 0.02),
    ],
)
def test_an_a_a_test_of_people_who_hardly_watch_is_calm(n: int, views: float, finishing: float) -> None:
    alarms = sum(bool(analyse(sparse(seed, n, views, finishing), HALVES).found) for seed in range(400))
    assert alarms / 400 <= 0.05


def viewers(control: tuple[int, int], treated: tuple[int, int]) -> ExperimentUsers:
    """200 users a variant; of each the first so many have one view, and of those so many finished it."""
    views, finished = np.zeros(400), np.zeros(400)
    for place, (seen, done) in enumerate((control, treated)):
        views[200 * place :][:seen] = 1
        finished[200 * place :][:done] = 1
    rng = np.random.default_rng(0)
    sums = {
        "ctr": (rng.binomial(20, 0.3, 400).astype(float), np.full(400, 20.0)),
        "watch_time": (rng.exponential(1, 400), np.ones(400)),
        "completion": (finished, views),
    }
    return ExperimentUsers(np.repeat([0, 1], 200), np.ones(400, bool), np.zeros(400), sums)


@pytest.mark.parametrize(
    ("control", "treated", "unsaid"),
    [
        ((1, 0), (1, 1), ("completion",)),  # one viewer a variant, and only one of them finished
        ((0, 0), (1, 1), ("completion",)),
        ((200, 60), (99, 40), ("completion",)),
        ((200, 0), (200, 40), ("completion",)),  # nobody yet: the control's variance is not really 0
        ((200, 60), (100, 40), ()),
    ],
)
def test_nothing_is_said_of_a_metric_that_few_users_have(
    control: tuple[int, int], treated: tuple[int, int], unsaid: tuple[str, ...]
) -> None:
    result = analyse(viewers(control, treated), HALVES)
    assert result.unsaid == unsaid
    assert ("completion" in {effect.metric for effect in result.effects}) == (not unsaid)
    assert ("; too little to say anything of completion" in verdict(result)) == bool(unsaid)
    assert result.found == []


def test_a_metric_nobody_has_says_nothing() -> None:
    n = 400
    nothing = {m.name: (np.zeros(n), np.zeros(n)) for m in METRICS}
    users = ExperimentUsers(np.arange(n) % 2, np.ones(n, bool), np.zeros(n), nothing)
    result = analyse(users, HALVES)
    assert (result.effects, rows(result)) == ((), [])
    assert verdict(result) == "too little to say anything of ctr, watch_time, completion"


def test_a_change_of_a_control_of_0_has_no_percentage() -> None:
    n = 400
    balanced = np.tile([1.0, 1.0, -1.0, -1.0], n // 4)  # of a mean of exactly 0 in both variants
    sums = {m.name: (balanced + 5 * (np.arange(n) % 2), np.ones(n)) for m in METRICS}
    result = analyse(ExperimentUsers(np.arange(n) % 2, np.ones(n, bool), np.zeros(n), sums), HALVES)
    assert {row["relative"] for row in rows(result)} == {"n/a"}
    assert "more is better in ctr: n/a (+5, within" in verdict(result)


# --- The sample and the words -----------------------------------------------------------------------------------------


def test_a_broken_split_is_flagged_and_nothing_is_concluded() -> None:
    users = simulated(5, 20_000, lift=0.15, share=0.48)  # 48 : 52 where halves were declared
    result = analyse(users, HALVES)
    assert not result.trusted
    assert result.found == []
    assert verdict(result).startswith("not to be trusted: today has 9")
    assert {row["verdict"] for row in rows(result)} == {"not to be trusted"}


def test_users_who_are_still_watched_count_for_the_sample_and_for_nothing_else() -> None:
    users = simulated(6, 1_000)
    half = ExperimentUsers(users.variant, np.arange(1_000) < 500, users.before, users.sums)
    result = analyse(half, HALVES)
    assert (sum(result.balance.counts), sum(result.observed)) == (1_000, 500)
    assert {effect.users for effect in result.effects} == {500}


def test_a_few_users_are_too_early() -> None:
    result = analyse(simulated(7, 150), HALVES)
    assert result.effects == ()
    assert "too early: " in verdict(result)
    assert verdict(result).endswith("have been observed in full, it takes 100")


def test_nothing_found_is_said_with_the_number_of_users() -> None:
    result = analyse(simulated(8, 2_000), HALVES)
    assert verdict(result) == "no difference found in ctr, watch_time, completion among 2000 users"
    assert [row["verdict"] for row in rows(result)] == ["no difference found"] * 3


def test_each_comparison_has_its_part_of_the_error() -> None:
    rng = np.random.default_rng(2)
    three = Design("three", ("a", "b", "c"), (0.4, 0.3, 0.3), "b")
    n = 3_000
    sums = {m.name: (rng.random(n), np.ones(n)) for m in METRICS}
    variant = rng.choice(3, n, p=three.shares)
    result = analyse(ExperimentUsers(variant, np.ones(n, bool), np.zeros(n), sums), three)
    assert [(e.metric, e.variant) for e in result.effects] == [
        (m.name, variant) for m in METRICS for variant in ("a", "c")
    ]
    assert {effect.alpha for effect in result.effects} == {0.05 / 6}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"before": np.zeros(3)}, "before: .* where .2,. users are"),
        ({"before": np.array([0, np.nan])}, "before: not every value is finite"),
        ({"sums": {"ctr": (np.ones(2), np.array([1, np.inf]))}}, "ctr below: not every value is finite"),
    ],
)
def test_columns_that_cannot_be_are_named(change: dict, told: str) -> None:
    columns = {
        "variant": np.array([0, 1]),
        "observed": np.ones(2, bool),
        "before": np.zeros(2),
        "sums": {CTR.name: (np.ones(2), np.ones(2))},
    }
    with pytest.raises(UnusableExperimentError, match=told):
        ExperimentUsers(**{**columns, **change})


def test_a_variant_that_was_not_declared_is_refused() -> None:
    with pytest.raises(UnusableExperimentError, match="experiment diversity: users of a variant"):
        analyse(by_hand([1, 2, 3], [0, 1, 2]), HALVES)

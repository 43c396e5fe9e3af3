"""Who gets what: stable, uniform, independent, and the same on every machine."""

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare, kstest

from serving.experiments.assignment import NO_EXPERIMENT, Assignment, Splits, assign
from serving.experiments.errors import UnknownExperimentError

from .declared import declared, experiment, plain

NOW = datetime(2026, 11, 15, tzinfo=UTC)
USERS = [str(number) for number in range(20_000)]


def variants(*experiments: dict, users: list[str] = USERS) -> list[dict[str, str]]:
    splits = Splits(declared(*experiments)).active(NOW)
    return [dict(assign(splits, user).variants) for user in users]


def test_the_hash_is_the_same_for_ever() -> None:
    """Golden: a change here would move every user of every running experiment."""
    two = experiment(), plain("session", 0.34, 0.33, 0.33, traffic=0.4, group="g", slot=[0.0, 0.7])
    names = ["0", "1", "2", "ann", "bob", "é", "用户"]
    assert variants(*two, users=names) == GOLDEN


GOLDEN = [
    {"diversity": "today"},
    {"diversity": "today"},
    {"diversity": "today"},
    {"diversity": "more"},
    {"diversity": "today"},
    {"diversity": "more"},
    {"diversity": "more", "session": "v0"},
]


def test_a_user_gets_what_the_variant_changes() -> None:
    splits = Splits(declared(experiment())).active(NOW)
    assert assign(splits, "ann") == Assignment({"diversity": "more"}, {"diversity": 0.4})
    assert assign(splits, "bob") == Assignment({"diversity": "today"}, {})


@given(st.text(st.characters(codec=None), max_size=128))
def test_any_id_is_assigned_and_always_alike(user: str) -> None:
    splits = Splits(declared(experiment())).active(NOW)
    once = assign(splits, user)
    assert once.variants["diversity"] in ("today", "more")
    assert assign(splits, user) == once


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.34, 0.33, 0.33), (0.01, 0.99)])
def test_variants_get_their_shares_of_the_users(shares: tuple[float, ...]) -> None:
    counts = Counter(found["e"] for found in variants(plain("e", *shares)))
    seen = [counts[f"v{i}"] for i in range(len(shares))]
    assert chisquare(seen, [share * len(USERS) for share in shares]).pvalue > 0.01


def test_users_are_uniform_also_within_a_decile() -> None:
    counts = Counter(found["e"] for found in variants(plain("e", *[0.05] * 20)))
    assert chisquare(list(counts.values())).pvalue > 0.01
    assert len(counts) == 20


def test_over_many_experiments_the_split_is_as_even_as_chance() -> None:
    """Were the hash less than random, too few or too many of 300 salts would look odd."""
    p_values = []
    for salt in range(300):
        counts = Counter(
            found["e"] for found in variants(plain("e", 0.5, 0.5, salt=f"s{salt}"), users=USERS[:2_000])
        )
        p_values.append(chisquare([counts["v0"], counts["v1"]]).pvalue)
    assert kstest(p_values, "uniform").pvalue > 0.01


def test_experiments_are_independent_of_each_other() -> None:
    pairs = Counter((f["a"], f["b"]) for f in variants(plain("a", 0.5, 0.5), plain("b", 0.3, 0.7)))
    table = [[pairs[f"v{i}", f"v{j}"] for j in range(2)] for i in range(2)]
    assert chi2_contingency(table).pvalue > 0.01


def test_being_in_an_experiment_says_nothing_of_the_variant() -> None:
    counts = Counter(found.get("e") for found in variants(plain("e", 0.5, 0.5, traffic=0.3)))
    inside = counts["v0"] + counts["v1"]
    assert chisquare([inside, counts[None]], [0.3 * len(USERS), 0.7 * len(USERS)]).pvalue > 0.01
    assert chisquare([counts["v0"], counts["v1"]]).pvalue > 0.01


@given(st.floats(0, 1), st.floats(0, 1))
def test_more_traffic_takes_users_in_and_moves_nobody(one: float, other: float) -> None:
    less, more = sorted((one, other))
    few = variants(plain("e", 0.3, 0.7, traffic=less), users=USERS[:300])
    many = variants(plain("e", 0.3, 0.7, traffic=more), users=USERS[:300])
    assert all(before in ({}, after) for before, after in zip(few, many, strict=True))


@pytest.mark.parametrize(("traffic", "users"), [(0.0, 0), (1.0, len(USERS))])
def test_no_traffic_is_nobody_and_all_of_it_everybody(traffic: float, users: int) -> None:
    assert sum(map(len, variants(plain("e", 0.5, 0.5, traffic=traffic)))) == users


def test_experiments_of_a_group_share_no_user_and_take_their_slots() -> None:
    found = variants(
        plain("a", 0.5, 0.5, group="g", slot=[0, 0.5]),
        plain("b", 0.5, 0.5, group="g", slot=[0.5, 0.8], traffic=0.5),
    )
    counts = Counter(tuple(of) for of in found)
    assert set(counts) == {("a",), ("b",), ()}
    expected = [0.5 * len(USERS), 0.15 * len(USERS), 0.35 * len(USERS)]
    assert chisquare([counts[("a",)], counts[("b",)], counts[()]], expected).pvalue > 0.01


@pytest.mark.parametrize(
    "stopped",
    [
        {"status": "paused"},
        {"status": "ended"},
        {"start": "2026-11-15T00:00:01Z"},
        {"end": "2026-11-15T00:00:00Z"},
    ],
)
def test_outside_its_time_an_experiment_has_nobody(stopped: dict) -> None:
    assert Splits(declared(experiment(**stopped))).active(NOW) == []


@pytest.mark.parametrize(
    "shown", [{}, {"status": "paused"}, {"traffic": 0.0}, {"start": "2027-01-01T00:00:00Z"}]
)
def test_a_tester_gets_the_variant_asked_for_and_no_other_experiment(shown: dict) -> None:
    splits = Splits(declared(experiment(**shown), plain("other", 0.5, 0.5)))
    assert splits.forced("bob", "diversity:more") == Assignment(
        {"diversity": "more"}, {"diversity": 0.4}, forced=True
    )
    assert splits.forced("bob", "diversity") == Assignment({"diversity": "today"}, {}, forced=True)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("nothing", "no experiment nothing"),
        ("", "no experiment "),
        ("diversity:", "experiment diversity has no variant "),
        ("diversity:less", "experiment diversity has no variant less"),
        ("past:more", "experiment past has ended"),
    ],
)
def test_a_tester_is_told_what_is_not_there(override: str, told: str) -> None:
    splits = Splits(declared(experiment(), experiment("past", status="ended")))
    with pytest.raises(UnknownExperimentError) as caught:
        splits.forced("ann", override)
    assert caught.value.args == (told,)


def test_nobody_in_any_experiment_costs_no_new_object() -> None:
    assert assign([], "ann") is NO_EXPERIMENT

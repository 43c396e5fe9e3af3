"""The rate limit: never more than the limit in any minute, always that much in a minute, bounded in memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.security.rate_limit import SLOT_S, WINDOW_S, RateLimiter


class Clock:
    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> RateLimiter:
    return RateLimiter(clock)


def test_the_limit_is_exact_and_says_what_is_left(limiter: RateLimiter) -> None:
    verdicts = [limiter.take("ann", 5) for _ in range(6)]
    assert [v.allowed for v in verdicts] == [True] * 5 + [False]
    assert [v.remaining for v in verdicts] == [4, 3, 2, 1, 0, 0]
    assert limiter.take("bob", 5).remaining == 4


def test_after_the_wait_that_was_named_one_more_is_allowed(clock: Clock, limiter: RateLimiter) -> None:
    clock.now += 3.25
    for _ in range(5):
        limiter.take("ann", 5)
        clock.now += 2
    wait = limiter.take("ann", 5).retry_after
    assert 0 < wait <= WINDOW_S + SLOT_S
    clock.now += wait - 1.01
    assert not limiter.take("ann", 5).allowed
    clock.now += 1.01
    assert limiter.take("ann", 5).allowed


def test_who_is_refused_does_not_wait_longer_for_asking(clock: Clock, limiter: RateLimiter) -> None:
    for _ in range(3):
        limiter.take("ann", 3)
    for _ in range(64):
        clock.now += 1
        limiter.take("ann", 3)
    clock.now += 1
    assert limiter.take("ann", 3).allowed


def test_a_burst_at_the_edge_of_two_minutes_is_no_more_than_one_limit(
    clock: Clock, limiter: RateLimiter
) -> None:
    clock.now = 1_000_000 // 60 * 60 + 59.9
    assert sum(limiter.take("ann", 100).allowed for _ in range(150)) == 100
    clock.now += 0.2
    assert sum(limiter.take("ann", 100).allowed for _ in range(150)) == 0


@given(
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 15)), min_size=1, max_size=60),
    st.integers(1, 20),
    st.floats(0, 1e9),
)
@settings(max_examples=200, deadline=None)
def test_no_minute_has_more_than_the_limit_and_65_seconds_are_enough(
    steps: list[tuple[float, int]], limit: int, start: float
) -> None:
    clock = Clock(start)
    limiter = RateLimiter(clock)
    allowed: list[float] = []
    for pause, requests in steps:
        clock.now += pause
        for _ in range(requests):
            verdict = limiter.take("ann", limit)
            if verdict.allowed:
                allowed.append(clock.now)
            else:
                # Refused only if the limit was used within the window and the slot before it.
                assert sum(at > clock.now - WINDOW_S - SLOT_S for at in allowed) >= limit
            in_a_minute = sum(at > clock.now - WINDOW_S for at in allowed)
            assert in_a_minute <= limit
            assert verdict.remaining <= limit - in_a_minute


def test_a_clock_that_is_set_back_locks_nobody_out(clock: Clock, limiter: RateLimiter) -> None:
    for _ in range(3):
        limiter.take("ann", 3)
    clock.now -= 2
    assert not limiter.take("ann", 3).allowed
    clock.now -= 3600
    assert limiter.take("ann", 3).allowed


def test_memory_is_bounded_and_keeps_who_asked_last(clock: Clock) -> None:
    limiter = RateLimiter(clock, most=2)
    for caller in ("a", "b", "a", "c"):
        limiter.take(caller, 3)
    assert len(limiter) == 2
    assert limiter.take("a", 3).remaining == 0
    assert limiter.take("b", 3).remaining == 2


def test_what_others_counted_is_counted_and_leaves_with_its_slot(clock: Clock, limiter: RateLimiter) -> None:
    limiter.take("ann", 20)
    slot = int(clock.now // SLOT_S)
    limiter.hear("ann", {slot: 4, slot - 6: 3, slot - 13: 100})
    assert limiter.take("ann", 20).remaining == 20 - 4 - 3 - 2
    limiter.hear("ann", {slot + 1: 5, slot - 6: 3})  # the whole of it again, not more of it
    assert limiter.take("ann", 20).remaining == 20 - 5 - 3 - 3
    clock.now += 7 * SLOT_S
    assert limiter.take("ann", 20).remaining == 20 - 5 - 4
    limiter.hear("nobody", {slot: 4})
    assert limiter.own_slots("nobody") == {}


def test_only_busy_callers_are_told_of(limiter: RateLimiter) -> None:
    for _ in range(24):
        limiter.take("ann", 500)
    assert limiter.touched == set()
    limiter.take("ann", 500)
    assert limiter.touched == {"ann"}


def test_a_caller_who_is_forgotten_is_not_told_of_any_more(clock: Clock) -> None:
    limiter = RateLimiter(clock, most=5)
    for number in range(100):
        limiter.take(f"address {number}", 1)
        assert len(limiter.touched) <= 5
    assert limiter.touched == {f"address {number}" for number in range(95, 100)}
    limiter.touched.clear()
    limiter.tell_again(["address 3", "address 98"])
    assert limiter.touched == {"address 98"}

"""The decisions of the sensors."""

from datetime import UTC, datetime, timedelta

import pytest

from orchestration.automation import (
    FEATURES_AT_LEAST_EVERY,
    PROMOTION_ATTEMPTS,
    PROMOTION_RETRY_AFTER,
    RETRAINING_COOLDOWN,
    PromotionCursor,
    decide_features,
    decide_promotion,
    decide_retraining,
    decide_sessions,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def retraining(**changes: object) -> bool:
    facts: dict = {
        "drifted": True,
        "drift_as_of": "2026-11-20T10:00:00+00:00",
        "trained_as_of": "2026-11-19T02:00:00+00:00",
        "last_requested": None,
        "now": NOW,
    }
    return decide_retraining(**(facts | changes)).run


def test_drift_that_the_models_have_not_seen_starts_a_retraining() -> None:
    assert retraining()


@pytest.mark.parametrize(
    "changes",
    [
        {"drifted": None},
        {"drifted": False},
        {"trained_as_of": "2026-11-20T10:00:00+00:00"},  # trained on the very data that drifted
        {"last_requested": NOW - RETRAINING_COOLDOWN + timedelta(seconds=1)},
    ],
)
def test_no_retraining_without_drift_news_or_within_the_cooldown(changes: dict) -> None:
    assert not retraining(**changes)


def test_retraining_is_asked_for_again_after_the_cooldown_and_without_any_training_yet() -> None:
    assert retraining(last_requested=NOW - RETRAINING_COOLDOWN)
    assert retraining(trained_as_of=None)


def promote(
    champion: int | None, serving: int | None, cursor: PromotionCursor, now: datetime = NOW, building=False
):
    return decide_promotion(champion=champion, serving=serving, building=building, cursor=cursor, now=now)


def test_a_moved_alias_is_built_once_and_forgotten_when_served() -> None:
    decision, cursor = promote(2, 1, PromotionCursor())
    assert decision.run
    again, cursor = promote(2, 1, cursor, NOW + timedelta(seconds=10))
    assert not again.run
    served, cursor = promote(2, 2, cursor, NOW + timedelta(seconds=20))
    assert not served.run
    assert cursor == PromotionCursor()


def test_promoting_back_and_forth_builds_every_time() -> None:
    cursor = PromotionCursor()
    for champion, serving in [(2, 1), (1, 2), (2, 1)]:
        decision, cursor = promote(champion, serving, cursor)
        assert decision.run
        _, cursor = promote(champion, champion, cursor)


def test_a_failed_build_is_tried_again_later_and_not_for_ever() -> None:
    now, cursor, runs = NOW, PromotionCursor(), 0
    for _ in range(PROMOTION_ATTEMPTS + 3):
        decision, cursor = promote(2, 1, cursor, now)
        runs += decision.run
        now += PROMOTION_RETRY_AFTER
    assert runs == PROMOTION_ATTEMPTS


def test_nothing_is_built_while_a_run_that_ends_in_a_bundle_is_under_way_or_without_a_champion() -> None:
    assert not promote(2, 1, PromotionCursor(), building=True)[0].run
    assert not promote(None, 1, PromotionCursor())[0].run


def test_the_first_bundle_is_built_when_nothing_is_served_yet() -> None:
    assert promote(1, None, PromotionCursor())[0].run


def test_the_cursor_survives_its_text_form() -> None:
    _, cursor = promote(7, 3, PromotionCursor())
    assert PromotionCursor.parse(cursor.dump()) == cursor
    assert PromotionCursor.parse(None) == PromotionCursor()


@pytest.mark.parametrize(
    ("waiting", "last_status", "runs"),
    [
        (0, None, False),
        (0, "SUCCESS", False),
        (0, "FAILURE", False),  # what it did not finish would be waiting
        (1, None, True),
        (1, "SUCCESS", True),
        (1, "FAILURE", True),
        (1, "NOT_STARTED", True),
        (1, "STARTED", False),
        (1, "QUEUED", False),
        (1, "CANCELING", False),
    ],
)
def test_sessions_are_rebuilt_when_the_journal_names_some(
    waiting: int, last_status: str | None, runs: bool
) -> None:
    assert decide_sessions(waiting=waiting, last_status=last_status).run is runs


@pytest.mark.parametrize(
    ("changes", "runs", "because"),
    [
        ({}, False, "nothing has arrived"),
        ({"waiting": 3}, True, "3 entries"),
        ({"clock": NOW}, True, "clock moved"),
        ({"clock": NOW - timedelta(days=9)}, False, "nothing"),  # events were erased
        ({"built_as_of": None}, True, "no features yet"),
        ({"rebuilt_since": True}, True, "rebuilt"),
        ({"last_status": "FAILURE"}, True, "did not succeed"),
        ({"last_status": None, "last_success": None}, True, "first run"),
        ({"last_success": NOW - FEATURES_AT_LEAST_EVERY}, True, "profiles"),
        ({"last_status": "STARTED", "waiting": 3}, False, "under way"),
    ],
)
def test_features_are_built_when_they_would_come_out_different(
    changes: dict, runs: bool, because: str
) -> None:
    facts = {
        "waiting": 0,
        "clock": NOW - timedelta(hours=2),
        "built_as_of": NOW - timedelta(hours=2),
        "rebuilt_since": False,
        "last_status": "SUCCESS",
        "last_success": NOW - timedelta(hours=1),
        "now": NOW,
    }
    decision = decide_features(**(facts | changes))
    assert decision.run is runs
    assert because in decision.reason

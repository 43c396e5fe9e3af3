"""When something should run: the decisions of the sensors, as plain functions with a reason for every answer."""

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

# A retraining that did not cure the drift must not be tried again at once.
RETRAINING_COOLDOWN = timedelta(hours=6)
# A bundle takes well under a minute; past this the build failed and is asked for again.
PROMOTION_RETRY_AFTER = timedelta(minutes=2)
PROMOTION_ATTEMPTS = 5
# Profiles change without an event; features show the change within a day, or with the next event of anybody.
FEATURES_AT_LEAST_EVERY = timedelta(days=1)


@dataclass(frozen=True)
class Decision:
    run: bool
    reason: str


def decide_retraining(
    *,
    drifted: bool | None,
    drift_as_of: str | None,
    trained_as_of: str | None,
    last_requested: datetime | None,
    now: datetime,
) -> Decision:
    """Retrain when behaviour has drifted and the models have not seen the data that shows it.

    `drift_as_of` and `trained_as_of` are the data clocks (ISO) of the drift report and of the training set."""
    if drifted is None:
        return Decision(False, "no drift report yet")
    if not drifted:
        return Decision(False, "behaviour has not drifted")
    if trained_as_of and drift_as_of and _time(trained_as_of) >= _time(drift_as_of):
        return Decision(False, f"the models were trained on data up to {trained_as_of}, drift included")
    if last_requested is not None and now - last_requested < RETRAINING_COOLDOWN:
        return Decision(False, f"retraining was asked for at {last_requested.isoformat()}; cooling down")
    return Decision(True, f"behaviour up to {drift_as_of} drifted from what the models know")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


# Not NOT_STARTED: a launch that broke half-way leaves a run there for ever.
_UNDER_WAY = ("QUEUED", "STARTING", "STARTED", "CANCELING")


def decide_sessions(*, waiting: int, last_status: str | None) -> Decision:
    """Rebuild sessions when the journal names some: something has arrived of them, or a run did not get to its end.

    `waiting` counts the journal's rows, one or more a session."""
    if last_status in _UNDER_WAY:
        return Decision(False, "the last run is still under way")
    if waiting == 0:
        return Decision(False, "nothing has arrived")
    return Decision(True, f"{waiting} entries of touched sessions wait")


def decide_features(
    *,
    waiting: int,
    clock: datetime,
    built_as_of: datetime | None,
    rebuilt_since: bool,
    last_status: str | None,
    last_success: datetime | None,
    now: datetime,
) -> Decision:
    """Build the features when they would come out different: sessions or days wait in the journal, the data's clock has
    moved past the features' own, days were rebuilt by hand, or the last run did not get to its end.

    Profiles change without any of these: after `FEATURES_AT_LEAST_EVERY` the features are built anyway."""
    if last_status in _UNDER_WAY:
        return Decision(False, "the last run is still under way")
    if built_as_of is None:
        return Decision(True, "no features yet")
    if waiting:
        return Decision(True, f"{waiting} entries of touched sessions and days wait")
    if clock > built_as_of:
        return Decision(True, f"the data's clock moved from {built_as_of.isoformat()} to {clock.isoformat()}")
    if rebuilt_since:
        return Decision(True, "days were rebuilt since")
    if last_status != "SUCCESS":
        return Decision(True, "the last run did not succeed" if last_status else "the first run")
    if last_success is None or now - last_success >= FEATURES_AT_LEAST_EVERY:
        return Decision(True, "profiles may have changed")
    return Decision(False, f"nothing has arrived, and the features are as of {built_as_of.isoformat()}")


@dataclass(frozen=True)
class PromotionCursor:
    """What the promotion sensor remembers between ticks: the swap it asked for, how often, and when."""

    champion: int = 0
    serving: int = 0
    attempts: int = 0
    at: str = ""

    @classmethod
    def parse(cls, text: str | None) -> "PromotionCursor":
        return cls(**json.loads(text)) if text else cls()

    def dump(self) -> str:
        return json.dumps(vars(self))


def decide_promotion(
    *, champion: int | None, serving: int | None, building: bool, cursor: PromotionCursor, now: datetime
) -> tuple[Decision, PromotionCursor]:
    """Build a bundle when the version under `champion` is not the one being served.

    `champion` and `serving` are registered versions; `building` says that a run under way will build the
    champion's bundle anyway."""
    if champion is None:
        return Decision(False, "no version has the alias `champion`"), cursor
    if champion == serving:
        return Decision(False, f"version {champion} is champion and served"), PromotionCursor()
    if building:
        return Decision(False, "a run that builds a bundle is under way"), cursor
    asked = cursor.champion == champion and cursor.serving == (serving or 0)
    if asked:
        if now - datetime.fromisoformat(cursor.at) < PROMOTION_RETRY_AFTER:
            return Decision(False, f"a bundle with version {champion} was asked for at {cursor.at}"), cursor
        if cursor.attempts >= PROMOTION_ATTEMPTS:
            return Decision(False, f"gave up on version {champion} after {cursor.attempts} attempts"), cursor
    attempts = cursor.attempts + 1 if asked else 1
    cursor = replace(
        cursor,
        champion=champion,
        serving=serving or 0,
        attempts=attempts,
        at=now.isoformat(timespec="seconds"),
    )
    return Decision(True, f"champion is version {champion}, the endpoint serves {serving}"), cursor

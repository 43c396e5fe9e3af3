"""When something should run: the decisions of the sensors, as plain functions with a reason for every answer."""

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

# A retraining that did not cure the drift must not be tried again at once.
RETRAINING_COOLDOWN = timedelta(hours=6)
# A bundle takes well under a minute; past this the build failed and is asked for again.
PROMOTION_RETRY_AFTER = timedelta(minutes=2)
PROMOTION_ATTEMPTS = 5


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


def decide_refresh(
    *, events: int, arrivals: str, last_arrivals: str | None, last_status: str | None
) -> Decision:
    """Rebuild sessions when something has arrived since the last run, or that run did not end well.

    `arrivals` names the state of the event table (rows and newest arrival); a run carries it as a tag."""
    if events == 0:
        return Decision(False, "no event yet")
    if last_status in ("QUEUED", "STARTING", "STARTED"):  # not NOT_STARTED: a broken launch stays there
        return Decision(False, "the last run is still under way")
    if arrivals == last_arrivals and last_status == "SUCCESS":
        return Decision(False, f"nothing has arrived since ({events} events)")
    return Decision(
        True, f"{events} events, {'new' if arrivals != last_arrivals else 'not all of them in sessions'}"
    )


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

"""Who is champion, who made it so and when: moved by the gate, by hand in the MLflow UI, or back.

The alias `champion` alone decides what is served. Beside it the registered model has the tag `champion_version`, the
version last recorded there: where the two differ, a person has moved the alias, and `record_manual_promotion` writes
that down on the version. While the gate moves it, `champion_pending` holds all that will be written on the version, so
that a gate that was killed half-way is not taken for a person: after the alias moved, what it left is written; before
that, the version never served and says nothing of it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from serving.registry.access import RegistryError, VersionNotFoundError, client_of, missing_is
from serving.registry.lineage import RECIPE_TAG
from serving.registry.registry import CHAMPION, MODEL_NAME, RegisteredVersion, by_alias
from stack.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

RECORDED_TAG, PENDING_TAG = "champion_version", "champion_pending"

BY_TAG, AT_TAG, WHY_TAG = "promoted_by", "promoted_at", "promotion_reason"
REPLACED_TAG, RETIRED_TAG = "replaced_version", "retired_at"
HOLD_UNTIL_TAG, HOLD_TAG = "hold_until", "hold"
TESTS_TAG, TESTED_ON_TAG = "gate_tests", "gate_tested_on"

GATE, HAND, ROLLBACK = "gate", "hand", "rollback"
# What the gate must leave alone for a while: any other recipe, or (after a step back) any other version.
HOLD_RECIPE, HOLD_ALL = "recipe", "all"
HOLD_DAYS = 7.0

DESCRIPTION_LIMIT = 5000  # characters, of MLflow
INTENT_REASON = 1000


class ChampionMovedError(RegistryError):
    """The alias points elsewhere than when the decision was taken."""


class NoPreviousChampionError(RegistryError):
    """There is nothing to roll back to."""


@dataclass(frozen=True)
class Promotion:
    """`version` became champion in place of `previous` (None: of nobody). `by`: gate, hand or rollback; who and when
    exactly is unknown for a hand in the MLflow UI: `at` (ISO, UTC) is when it was seen."""

    version: int
    kind: str
    previous: int | None
    by: str
    at: str
    reason: str


def champion(settings: Settings) -> RegisteredVersion | None:
    """The version under the alias `champion`."""
    return by_alias(settings, CHAMPION)


def promote(
    settings: Settings,
    version: int,
    *,
    reason: str,
    expected: int | None,
    by: str = GATE,
    tags: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> Promotion:
    """Point `champion` at `version` and write it down on both versions. Again is the same.

    `expected`: who was champion when this was decided; raises `ChampionMovedError` if another is now,
    `VersionNotFoundError`.
    """
    with client_of(settings) as client:
        aliases, _ = _standing(client)
        current = aliases.get(CHAMPION)
        if current not in (expected, version):
            raise ChampionMovedError(f"champion is version {current} now, it was {expected}")
        found = _existing(client, version)
        previous = expected if expected != version else None
        at = (now or datetime.now(UTC)).isoformat(timespec="seconds")
        done = Promotion(version, found.kind, previous, by, at, reason)
        client.set_registered_model_tag(MODEL_NAME, PENDING_TAG, _intent(done, tags or {}))
        client.set_registered_model_alias(MODEL_NAME, CHAMPION, str(version))
        _write(client, found, done, tags or {})
        _settle(client, version)
        return done


def record_manual_promotion(
    settings: Settings, *, hold_days: float = HOLD_DAYS, now: datetime | None = None
) -> Promotion | None:
    """Write down that somebody moved `champion` since it was last recorded; None if nobody did.

    The gate leaves such a decision alone for `hold_days`: other recipes than the promoted version's do not replace it,
    and after a step back to an earlier champion nothing does. Deleting the tag `hold_until` in the UI ends that.

    A home from before any of this was written down has an alias and nothing else: no version recorded, none promoted,
    and a champion without a recipe. Its champion is recorded, and no person is taken for its author.
    """
    with client_of(settings) as client:
        aliases, model_tags = _standing(client)
        current = aliases.get(CHAMPION)
        recorded, (pending, more) = _number(model_tags.get(RECORDED_TAG)), _pending(model_tags)
        if current is None or (current == recorded and (pending is None or pending.version != current)):
            return None
        found = _existing(client, current)
        if pending is not None and current == pending.version:
            # The gate, or a rollback, moved it and was stopped before it had written so.
            if pending.at:
                _write(client, found, pending, more)
            _settle(client, current)
            return None
        if recorded is None and RECIPE_TAG not in found.tags and not _ever_promoted(client):
            _settle(client, current)
            return None
        back = AT_TAG in found.tags
        what = "moved back by hand" if back else "promoted by hand"
        reason = f"{what} in MLflow; who and when exactly is not known"
        hold = _hold(HOLD_ALL if back else HOLD_RECIPE, hold_days, now)
        at = (now or datetime.now(UTC)).isoformat(timespec="seconds")
        done = Promotion(current, found.kind, recorded, HAND, at, reason)
        _write(client, found, done, hold)
        _settle(client, current)
        return done


def clear_stale_pending(settings: Settings) -> None:
    """Forget a promotion that was stopped before it moved the alias, so that a person who moves it there later is not
    taken for the gate. Only for who promotes, after `record_manual_promotion`: another's may be under way."""
    with client_of(settings) as client:
        aliases, model_tags = _standing(client)
        pending, _ = _pending(model_tags)
        if pending is not None and pending.version != aliases.get(CHAMPION):
            client.set_registered_model_tag(MODEL_NAME, PENDING_TAG, "")


def rollback(
    settings: Settings, *, reason: str = "", hold_days: float = HOLD_DAYS, now: datetime | None = None
) -> Promotion:
    """Move `champion` back to the version it replaced: one alias. Again goes back one more.

    The gate promotes nothing for `hold_days` (0: it may at once). Raises `NoPreviousChampionError`,
    `VersionNotFoundError` when the previous version was deleted.
    """
    record_manual_promotion(settings, now=now)
    current = champion(settings)
    previous = _number(current.tags.get(REPLACED_TAG)) if current else None
    if current is None or previous is None:
        raise NoPreviousChampionError(
            f"{MODEL_NAME}: "
            + (f"version {current.version} replaced nobody" if current else "there is no champion")
        )
    return promote(
        settings,
        previous,
        reason=reason or f"rolled back from version {current.version}",
        expected=current.version,
        by=ROLLBACK,
        tags=_hold(HOLD_ALL, hold_days, now),
        now=now,
    )


def held(version: RegisteredVersion, now: datetime | None = None) -> str | None:
    """What the gate must leave alone because a person decided: `recipe`, `all`, or None."""
    until = version.tags.get(HOLD_UNTIL_TAG)
    if not until:
        return None
    try:
        over = datetime.fromisoformat(until) <= (now or datetime.now(UTC))
    except (ValueError, TypeError) as error:
        raise RegistryError(
            f"{MODEL_NAME} version {version.version}: the tag `{HOLD_UNTIL_TAG}` is no time with a zone: {until!r}"
        ) from error
    return None if over else version.tags.get(HOLD_TAG, HOLD_RECIPE)


def note(
    settings: Settings,
    version: int,
    *,
    tags: Mapping[str, str],
    description: str | None = None,
    artifacts: Mapping[str, str] | None = None,
) -> None:
    """Write tags, a description and texts (file name -> content) on a version and the run that made it."""
    with client_of(settings) as client:
        found = _existing(client, version)
        for name, value in tags.items():
            client.set_model_version_tag(MODEL_NAME, str(version), name, value)
        if description is not None:
            client.update_model_version(MODEL_NAME, str(version), description[:DESCRIPTION_LIMIT])
        for name, text in (artifacts or {}).items():
            client.log_text(found.run_id, text, name)


# --- the parts ----------------------------------------------------------------------------------------------


def _standing(client: "MlflowClient") -> tuple[dict[str, int], dict[str, str]]:
    """Aliases and tags of the registered model; nothing before the first registration."""
    from mlflow.exceptions import MlflowException

    try:
        model = client.get_registered_model(MODEL_NAME)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}, {}
        raise
    return {name: int(number) for name, number in model.aliases.items()}, dict(model.tags or {})


def _existing(client: "MlflowClient", version: int) -> RegisteredVersion:
    from serving.registry.registry import version_of

    with missing_is(VersionNotFoundError, f"{MODEL_NAME} has no version {version}"):
        return version_of(client.get_model_version(MODEL_NAME, str(version)))


def _write(
    client: "MlflowClient", found: RegisteredVersion, done: Promotion, more: Mapping[str, str]
) -> None:
    tags: dict[str, str] = {}
    # Whoever returns keeps what it once replaced: a second rollback goes further back, not forth again. Written before
    # the time, by which who returns is told: whoever is stopped between the two starts over.
    if done.previous is not None and AT_TAG not in found.tags:
        tags[REPLACED_TAG] = str(done.previous)
    tags |= {BY_TAG: done.by, AT_TAG: done.at, WHY_TAG: done.reason, **more}
    for name, value in tags.items():
        client.set_model_version_tag(MODEL_NAME, str(found.version), name, value)
    for name in {HOLD_TAG, HOLD_UNTIL_TAG} & found.tags.keys() - more.keys():
        client.delete_model_version_tag(MODEL_NAME, str(found.version), name)
    if done.previous is not None:
        _retire(client, done.previous, done.at)


def _intent(done: Promotion, more: Mapping[str, str]) -> str:
    """JSON, short enough for a tag of the registered model: of a long reason the start."""
    return json.dumps({**vars(done), "reason": done.reason[:INTENT_REASON], "tags": dict(more)})


def _pending(model_tags: Mapping[str, str]) -> tuple[Promotion | None, dict[str, str]]:
    """The promotion under way, or left so, and the further tags it will write."""
    text = model_tags.get(PENDING_TAG)
    if not text:
        return None, {}
    told = json.loads(text)
    if isinstance(told, int):  # an earlier form: the version alone, whose tags were written first
        return Promotion(told, "", None, GATE, "", ""), {}
    more = told.pop("tags")
    return Promotion(**told), more


def _ever_promoted(client: "MlflowClient") -> bool:
    token = None
    while True:
        page = client.search_model_versions(f"name='{MODEL_NAME}'", page_token=token)
        if any(AT_TAG in (item.tags or {}) for item in page):
            return True
        token = page.token
        if not token:
            return False


def _retire(client: "MlflowClient", version: int, at: str) -> None:
    """A champion that was deleted since has nothing to be written on."""
    from mlflow.exceptions import MlflowException

    try:
        client.set_model_version_tag(MODEL_NAME, str(version), RETIRED_TAG, at)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise


def _settle(client: "MlflowClient", version: int) -> None:
    client.set_registered_model_tag(MODEL_NAME, RECORDED_TAG, str(version))
    client.set_registered_model_tag(MODEL_NAME, PENDING_TAG, "")


def _hold(what: str, days: float, now: datetime | None) -> dict[str, str]:
    if days <= 0:
        return {}
    until = (now or datetime.now(UTC)) + timedelta(days=days)
    return {HOLD_TAG: what, HOLD_UNTIL_TAG: until.isoformat(timespec="seconds")}


def _number(text: str | None) -> int | None:
    return int(text) if text else None

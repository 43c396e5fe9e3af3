"""Asks the gate about a run's best model and does what it says: alias, tags, description, evidence in MLflow."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from orchestration.promotion_inputs import (
    Run,
    champion_of,
    champion_tags,
    check_one_training,
    moved_during,
    rules_of,
)
from orchestration.records import Record
from stack.settings import Settings

if TYPE_CHECKING:
    from ml.gate import Decision
    from serving.registry.promotion import Promotion
    from serving.registry.registry import RegisteredVersion

DECISION_FILE = "decision.json"

__all__ = ["PromotionDecision", "Run", "decide_and_promote", "observation"]


class PromotionDecision(Record):
    """What the gate decided in a run. `decisions` are `ml.gate.Decision`s as JSON, in order: on the challenger, and if
    it failed perhaps on the champion's own recipe. `champion_*` is who has the alias afterwards, None before the first
    champion; `by_hand` says that the one before was promoted by a person since the last decision; `champion_tags` are
    what the champion's version is told of the tests it withstood and of a person's hold."""

    dagster_run_id: str
    promoted: bool
    reason: str
    decided_at: datetime
    challenger_kind: str
    challenger_version: int
    champion_kind: str | None
    champion_version: int | None
    champion_before: int | None
    by_hand: str | None
    champion_tags: dict[str, str]
    decisions: list[dict[str, Any]]
    text: str


def decide_and_promote(
    settings: Settings,
    run: Run,
    *,
    challenger: str | None = None,
    reason: str | None = None,
    log: Callable[[str], object] = lambda _: None,
    now: datetime | None = None,
) -> PromotionDecision:
    """Choose the run's challenger on its validation rows, give it that alias, promote it or not, and write the decision
    on its version.

    A champion that somebody moved while this run was training stays. `challenger`: the kind a person wants tried,
    `reason`: why it need not win (`ml.gate_checks.REASONS`). A person may have seen the judgement: a kind that is not
    the best on validation rows is taken for the best of all kinds on the test rows, and must win by more. A re-run of
    the same Dagster run gives the decision that was taken. Raises `ml.errors.ModelError` for a kind or a reason there
    is not and for files and versions of different trainings, `serving.registry.registry.RegistryError`.
    """
    from ml.errors import ConfigurationError, UnknownKindError
    from ml.gate_challenger import challenger_of, validation_scores
    from ml.gate_checks import REASONS
    from serving.registry import promotion

    made = _taken(settings, run.dagster_run_id)
    if made is None:
        now = now or datetime.now(UTC)
        if reason is not None and reason not in REASONS:
            raise ConfigurationError(f"reason: must be one of {', '.join(REASONS)} (got {reason!r})")
        check_one_training(settings, run)
        by_hand = promotion.record_manual_promotion(settings, now=now)
        promotion.clear_stale_pending(settings)
        champion = promotion.champion(settings)
        scores = validation_scores(run.folders, run.training_set.path, seed=settings.seed)
        chosen = challenger_of(scores)
        challenger = challenger or chosen
        candidates = 1 if challenger == chosen else len(run.versions)
        if challenger not in run.versions:
            raise UnknownKindError(
                f"challenger: {challenger!r} is none of this run's {', '.join(run.versions)}"
            )
        decisions = _decide(settings, run, challenger, scores, champion, reason, now, candidates)
        made = PromotionDecision(
            dagster_run_id=run.dagster_run_id,
            decided_at=now,
            promoted=decisions[-1].promote,
            reason=decisions[-1].reason,
            challenger_kind=challenger,
            challenger_version=run.versions[challenger],
            champion_kind=champion.kind if champion else None,
            champion_version=champion.version if champion else None,
            champion_before=champion.version if champion else None,
            by_hand=by_hand.reason if by_hand else None,
            champion_tags=champion_tags(decisions, champion, run),
            decisions=[decision.as_dict() for decision in decisions],
            text=_text(decisions),
        )
        _keep(settings, made)  # before anything is moved: whoever is killed from here on goes on from it
    for line in (made.by_hand, *(decision["reason"] for decision in made.decisions)):
        if line:
            log(line)
    return _carry_out(settings, run, made)


def _carry_out(settings: Settings, run: Run, made: PromotionDecision) -> PromotionDecision:
    """Do what was decided, again if need be: aliases, tags, descriptions, evidence."""
    from ml.gate import Decision
    from serving.registry import promotion, registry

    registry.set_alias(settings, registry.CHALLENGER, made.challenger_version)
    decisions = [Decision.from_dict(decision) for decision in made.decisions]
    if made.promoted:
        last = decisions[-1]
        try:
            promotion.promote(
                settings,
                run.versions[last.challenger],
                reason=last.reason,
                expected=made.champion_before,
                tags=made.champion_tags,
                now=made.decided_at,
            )
        except promotion.ChampionMovedError as error:
            decisions[-1] = replace(
                last, promote=False, reason=f"{error}: moved while the gate decided, it stays"
            )
    elif made.champion_before is not None and made.champion_tags:
        promotion.note(settings, made.champion_before, tags=made.champion_tags)
    for decision in decisions:
        _write_down(settings, run, decision, made.champion_before)
    after = promotion.champion(settings)
    made = made.model_copy(
        update={
            "promoted": decisions[-1].promote,
            "reason": decisions[-1].reason,
            "champion_kind": after.kind if after else None,
            "champion_version": after.version if after else None,
            "decisions": [decision.as_dict() for decision in decisions],
            "text": _text(decisions),
        }
    )
    _keep(settings, made)
    return made


def _decide(
    settings: Settings,
    run: Run,
    best: str,
    scores: Mapping[str, float],
    champion: "RegisteredVersion | None",
    reason: str | None,
    now: datetime,
    candidates: int,
) -> "list[Decision]":
    from ml.gate import stays
    from ml.gate_run import gate
    from serving.registry import promotion

    facts = {
        "challenger": f"{best}, version {run.versions[best]}",
        "chosen on validation rows, by NDCG@10": ", ".join(
            f"{kind} {score:.4f}" for kind, score in sorted(scores.items(), key=lambda item: -item[1])
        ),
        "champion": f"{champion.kind}, version {champion.version}" if champion else "none yet",
        "training set (DVC)": run.training_set.dvc_hash,
        "Dagster run": run.dagster_run_id,
        "decided at": now.isoformat(timespec="seconds"),
    }
    held = promotion.held(champion, now) if champion else None
    if champion is not None:
        if moved_during(champion, run.started):
            why = f"champion was moved to version {champion.version} by hand during the training: it stays there"
            return [stays(best, champion.kind, why, facts=facts)]
        if held == promotion.HOLD_ALL:
            until = champion.tags[promotion.HOLD_UNTIL_TAG]
            why = f"version {champion.version} was put back by a person and stays until {until}"
            return [stays(best, champion.kind, why, facts=facts)]
    return gate(
        best,
        run.folders,
        run.judgement.path,
        run.training_set.path,
        champion=champion_of(settings, champion) if champion else None,
        rules=rules_of(settings),
        reason=reason,
        held=f"a person chose the champion, until {champion.tags[promotion.HOLD_UNTIL_TAG]}"
        if champion and held
        else None,
        candidates=candidates,
        facts=facts,
    )


def _write_down(settings: Settings, run: Run, decision: "Decision", against: int | None) -> None:
    """On the challenger's version: the verdict as tags, the evidence as its description, all of it as files."""
    from ml.gate_report import brief, describe
    from serving.registry import promotion

    tags = {
        "gate": "promoted" if decision.promote else "not promoted",
        "gate_case": decision.case,
        "gate_reason": decision.reason,
        "gate_against": str(against or "nobody"),
        "gate_run": run.dagster_run_id,
    }
    if decision.evidence is not None:
        tags["gate_difference"] = f"{decision.evidence.difference:+.6f}"
        tags["gate_p_value"] = f"{decision.evidence.p_value:.4g}"
    promotion.note(
        settings,
        run.versions[decision.challenger],
        tags=tags,
        description=brief(decision),
        artifacts={
            "gate/decision.json": json.dumps(decision.as_dict(), indent=2, sort_keys=True, allow_nan=False),
            "gate/decision.md": describe(decision),
        },
    )


def _text(decisions: "list[Decision]") -> str:
    from ml.gate_report import describe

    return "\n\n".join(f"### {decision.challenger}\n\n{describe(decision)}" for decision in decisions)


def _decision_file(settings: Settings) -> Path:
    return settings.home / "models" / DECISION_FILE


def _taken(settings: Settings, dagster_run_id: str) -> PromotionDecision | None:
    """The decision this Dagster run took before it was retried."""
    try:
        found = PromotionDecision.model_validate_json(_decision_file(settings).read_text("utf-8"))
    except (OSError, ValueError):
        return None  # none yet, or of code that kept it in another form: it is taken anew
    return found if found.dagster_run_id == dagster_run_id else None


def _keep(settings: Settings, decision: PromotionDecision) -> None:
    path = _decision_file(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(decision.model_dump_json(indent=2), "utf-8")
    temporary.replace(path)


def observation(promotion: "Promotion") -> dg.AssetObservation:
    """A promotion that was found to have been made by hand, as Dagster shows it beside the gate's decisions."""
    return dg.AssetObservation(
        "promotion_decision",
        description=promotion.reason,
        metadata={
            "by": promotion.by,
            "champion": f"{promotion.kind}, version {promotion.version}",
            "champion before": promotion.previous or 0,
            "seen at": promotion.at,
        },
    )

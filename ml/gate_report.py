"""A decision of the gate as a person reads it."""

from collections.abc import Sequence

from ml.gate import Decision
from ml.gate_checks import SLICE, Check
from ml.gate_evidence import Evidence


def describe(decision: Decision) -> str:
    """Markdown: the verdict, the evidence, a row for each check."""
    return _written(decision, decision.checks)


def brief(decision: Decision) -> str:
    """The same without the slices that are well: short enough for a registry's description."""
    kept = [check for check in decision.checks if not check.passed or not check.name.startswith(SLICE)]
    left = len(decision.checks) - len(kept)
    return _written(decision, kept) + (f"\n{left} slices are no worse than they may be.\n" if left else "")


def _written(decision: Decision, checks: Sequence[Check]) -> str:
    verdict = "**Promoted**" if decision.promote else "**Not promoted**"
    lines = [f"{verdict}: {decision.reason}.", ""]
    if decision.evidence is not None:
        lines += [_evidence(decision.evidence, decision), ""]
    if checks:
        lines += ["| | check | seen | limit | |", "|---|---|---|---|---|"]
        for check in checks:
            mark = "ok" if check.passed else "**no**"
            cells = (mark, check.name, _cell(check.value), _cell(check.limit), check.says.replace("|", "\\|"))
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    if decision.facts:
        lines += [f"- {name}: {value}" for name, value in decision.facts.items()]
    return "\n".join(lines).strip() + "\n"


def _evidence(evidence: Evidence, decision: Decision) -> str:
    if decision.case == "newer data":
        return f"One recipe, {decision.challenger}: NDCG@10 {evidence.challenger:.4f} on {evidence.users} test users."
    relative = f" ({evidence.relative:+.1%})" if evidence.relative is not None else ""
    return (
        f"NDCG@10 of {decision.challenger} {evidence.challenger:.4f}, of {decision.incumbent} "
        f"{evidence.incumbent:.4f}: {evidence.difference:+.4f}{relative}, between {evidence.low:+.4f} and "
        f"{evidence.high:+.4f} at {evidence.confidence:.2%} each side; standard deviation {evidence.sampling_sd:.4f} "
        f"from the users, {evidence.training_sd:.4f} from the seeds; p = {evidence.p_value:.2g}; "
        f"{evidence.users} users: {evidence.wins} better, {evidence.losses} worse, {evidence.ties} the same."
    )


def _cell(value: float | str | None) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)

"""A judged experiment for people: a verdict in words, and the rows of a table."""

import math

from ml.experiment_analysis import MIN_USERS, ExperimentResult
from ml.experiment_balance import SRM_LEVEL
from ml.experiment_effects import Effect

_DIRECTIONS = {1: "better", 0: "no difference found", -1: "worse"}
TOO_LITTLE = "too little to say anything"


def verdict(result: ExperimentResult) -> str:
    """One sentence that a reader may act on, or that says why not yet."""
    design = result.design
    if not result.trusted:
        counts = ", ".join(
            f"{name} has {count} users where {due:.0f} were due"
            for name, count, due in zip(
                design.variants, result.balance.counts, result.balance.expected, strict=True
            )
        )
        return (
            f"not to be trusted: {counts} (p = {result.balance.p_value:.1e}, below {SRM_LEVEL}). "
            "Find out what loses or moves users first"
        )
    if not result.effects and not result.unsaid:
        few = min(result.observed)
        name = design.variants[result.observed.index(few)]
        return f"too early: {few} users of {name} have been observed in full, it takes {MIN_USERS}"
    said = [_told(effect) for effect in result.found]
    if result.effects and not said:
        said = [f"no difference found in {_names(result)} among {sum(result.observed)} users"]
    if result.unsaid:
        said.append(f"{TOO_LITTLE} of {', '.join(result.unsaid)}")
    return "; ".join(said)


def rows(result: ExperimentResult) -> list[dict[str, object]]:
    """A row a metric and treatment, but none of a metric of which too little is known; nothing may be concluded from
    them unless the result is trusted."""
    return [
        {
            "metric": effect.metric,
            "variant": effect.variant,
            "control": effect.control,
            "value": effect.value,
            "difference": effect.difference,
            "low": effect.low,
            "high": effect.high,
            "relative": _relative(effect),
            "users": effect.users,
            "variance left by CUPED": f"{effect.variance_kept:.0%}",
            "verdict": _DIRECTIONS[effect.direction] if result.trusted else "not to be trusted",
        }
        for effect in result.effects
    ]


def _told(effect: Effect) -> str:
    return (
        f"{effect.variant} is {_DIRECTIONS[effect.direction]} in {effect.metric}: {_relative(effect)} "
        f"({effect.difference:+.4g}, within {effect.low:+.4g} and {effect.high:+.4g})"
    )


def _relative(effect: Effect) -> str:
    return "n/a" if math.isnan(effect.relative) else f"{effect.relative:+.2%}"


def _names(result: ExperimentResult) -> str:
    return ", ".join(dict.fromkeys(effect.metric for effect in result.effects))

"""A judged experiment for people: a verdict in words, and the rows of a table."""

from ml.experiment_analysis import MIN_USERS, ExperimentResult
from ml.experiment_balance import SRM_LEVEL
from ml.experiment_effects import Effect

_DIRECTIONS = {1: "better", 0: "no difference found", -1: "worse"}


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
    if not result.effects:
        few = min(result.observed)
        name = design.variants[result.observed.index(few)]
        return f"too early: {few} users of {name} have been observed in full, it takes {MIN_USERS}"
    if not result.found:
        return f"no difference found in {_names(result)} among {sum(result.observed)} users"
    return "; ".join(_told(effect) for effect in result.found)


def rows(result: ExperimentResult) -> list[dict[str, object]]:
    """A row a metric and treatment; nothing may be concluded from them unless the result is trusted."""
    return [
        {
            "metric": effect.metric,
            "variant": effect.variant,
            "control": effect.control,
            "value": effect.value,
            "difference": effect.difference,
            "low": effect.low,
            "high": effect.high,
            "relative": f"{effect.relative:+.2%}",
            "users": effect.users,
            "variance left by CUPED": f"{effect.variance_kept:.0%}",
            "verdict": _DIRECTIONS[effect.direction] if result.trusted else "not to be trusted",
        }
        for effect in result.effects
    ]


def _told(effect: Effect) -> str:
    return (
        f"{effect.variant} is {_DIRECTIONS[effect.direction]} in {effect.metric}: {effect.relative:+.2%} "
        f"({effect.difference:+.4g}, within {effect.low:+.4g} and {effect.high:+.4g})"
    )


def _names(result: ExperimentResult) -> str:
    return ", ".join(dict.fromkeys(effect.metric for effect in result.effects))

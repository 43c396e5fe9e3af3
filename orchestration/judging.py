"""A judgement as MLflow and the operator read it: flat names, and the lead in words."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml.judgement import Judgement


def flat_metrics(judgement: "Judgement", kind: str) -> dict[str, float]:
    """`ndcg_at_10`, `ndcg_at_10_low`, `ndcg_at_10_high`, ...: each metric with the ends of its 95% interval; coverage,
    diversity, novelty, popularity; what it costs; `new_users/ndcg_at_10`, ...: the primary metric on each slice."""
    flat = {**judgement.coverage[kind], **judgement.costs.get(kind, {})}
    told = {**judgement.metrics[kind], **judgement.ratings.get(kind, {}), **judgement.lists.get(kind, {})}
    for name, interval in told.items():
        flat |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    primary = judgement.primary_metric
    for name, part in judgement.slices.items():
        if part["users"]:
            flat[f"{name}/{primary}"] = part["metrics"][kind][primary].value
    return flat


def describe_lead(judgement: "Judgement") -> str:
    """Which kind is better, by how much, and whether that is more than noise."""
    from ml.report import verdict

    return verdict(judgement)

"""A judgement as MLflow and the operator read it: flat names, and the lead in words."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml.judgement import Judgement


def flat_metrics(judgement: "Judgement", kind: str) -> dict[str, float]:
    """`ndcg_at_10`, `ndcg_at_10_low`, `ndcg_at_10_high`, ... : each metric with the ends of its 95% interval."""
    flat = dict(judgement.coverage[kind])
    for name, interval in {**judgement.metrics[kind], **judgement.ratings.get(kind, {})}.items():
        flat |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return flat


def describe_lead(judgement: "Judgement") -> str:
    """How much better the better kind is, and whether that is more than noise."""
    lead = judgement.difference
    if lead is None:
        return f"{judgement.better} stands alone"
    verdict = "beyond noise" if judgement.distinguishable else "within noise"
    return (
        f"{judgement.better} over {judgement.runner_up}: {lead.value:+.4f} "
        f"[{lead.low:+.4f}, {lead.high:+.4f}], {verdict}"
    )

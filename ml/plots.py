"""Pictures of a judgement, for reports; drawn without a display and without pyplot's global state."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml.judgement import Judgement

SHOWN = ("ndcg_at_10", "recall_at_10", "recall_at_20", "precision_at_10", "map_at_10", "mrr_at_10")


def metric_bars(judgement: "Judgement", path: Path) -> None:
    """A group of bars per metric, a bar per kind, whiskers at the 95% interval; a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    kinds = sorted(judgement.metrics)
    width = 0.8 / len(kinds)
    for position, kind in enumerate(kinds):
        shown = [judgement.metrics[kind][name] for name in SHOWN]
        values = [interval.value for interval in shown]
        # The mean can lie a rounding error outside its own interval when all users agree.
        below = [max(0.0, interval.value - interval.low) for interval in shown]
        above = [max(0.0, interval.high - interval.value) for interval in shown]
        places = [group + (position - (len(kinds) - 1) / 2) * width for group in range(len(SHOWN))]
        axes.bar(places, values, width * 0.92, yerr=[below, above], capsize=3, label=kind)
    axes.set_xticks(range(len(SHOWN)), [name.replace("_at_", "@") for name in SHOWN])
    axes.set_title(
        f"{judgement.users:,} test users, {judgement.catalogue:,} videos, 95% intervals", fontsize=10
    )
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120, metadata={"Software": None})

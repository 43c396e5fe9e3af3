"""Pictures of a judgement, for reports; drawn without a display and without pyplot's global state."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.comparison import PERMUTATIONS
from ml.recommender import KINDS
from ml.slices import THIN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ml.comparison import Pair
    from ml.judgement import Judgement
    from ml.metrics import Interval

SHOWN = ("ndcg_at_10", "recall_at_10", "recall_at_20", "precision_at_10", "map_at_10", "mrr_at_10")
TRADED = ("coverage_at_10", "novelty_at_10", "diversity_at_10")

# Okabe and Ito's palette, told apart with any colour vision; a kind has the same colour in every picture.
_COLOURS = dict(
    zip(KINDS, ("#0072B2", "#009E73", "#56B4E9", "#CC79A7", "#7F7F7F", "#E69F00", "#D55E00"), strict=True)
)
_GREY, _FAINT = "#555555", "#dddddd"
_SLICES_A_ROW = 4


def metric_bars(judgement: "Judgement", path: Path) -> None:
    """A panel per metric, a bar per kind with its 95% interval, the best by the primary metric on top; a PNG."""
    figure = _figure(11, 1.4 + 0.62 * len(judgement.metrics) + 1.2)
    kinds = ranked(judgement)
    panels = figure.subplots(2, 3, sharey=True)
    for axes, name in zip(panels.flat, SHOWN, strict=True):
        for place, kind in enumerate(kinds):
            found = judgement.metrics[kind][name]
            axes.barh(place, found.value, 0.7, color=colour(kind), alpha=0.85)
            axes.errorbar(found.value, place, xerr=_whiskers([found]), color="black", capsize=2.5, lw=1)
        axes.set_yticks(range(len(kinds)), kinds)
        axes.set_title(label(name), fontsize=10)
        axes.set_xlim(left=0)
        _plain(axes)
    panels[0, 0].invert_yaxis()
    figure.suptitle(
        f"{judgement.users:,} test users, {judgement.catalogue:,} videos to rank, 95% intervals", fontsize=11
    )
    _save(figure, path)


def difference_forest(judgement: "Judgement", path: Path) -> None:
    """The paired difference of each other kind to the best on the primary metric, with interval and p-value; a PNG."""
    best = ranked(judgement)[0]
    others = [kind for kind in ranked(judgement) if kind != best]
    figure = _figure(9.5, 1.5 + 0.42 * max(len(others), 1))
    axes = figure.add_subplot()
    axes.axvline(0, color="black", lw=0.8)
    for place, kind in enumerate(others):
        pair = judgement.pair(best, kind)
        sign = -1 if pair.better == best else 1
        found = pair.comparison.difference
        ends = sorted((sign * found.low, sign * found.high))
        axes.plot(ends, [place, place], color=colour(kind), lw=2.5, solid_capstyle="butt")
        axes.plot(sign * found.value, place, "o", color=colour(kind), ms=7)
        axes.annotate(
            f"{sign * found.value:+.4f}   {p_said(pair)}",
            (1.01, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9,
        )
    axes.set_yticks(range(len(others)), others)
    axes.set_ylim(max(len(others), 1) - 0.5, -0.5)
    axes.set_xlabel(f"{label(judgement.primary_metric)} minus that of {best}, per user (95% paired interval)")
    axes.set_title(f"How far behind {best}? p-values after Holm over all pairs", fontsize=11, loc="left")
    _plain(axes)
    _save(figure, path)


def slice_panels(judgement: "Judgement", path: Path) -> None:
    """A panel per slice: the primary metric of each kind with its interval; slices of few users are faint; a PNG."""
    parts = {name: part for name, part in judgement.slices.items() if part["users"]}
    empty = [name.replace("_", " ") for name, part in judgement.slices.items() if not part["users"]]
    rows = max(1, -(-len(parts) // _SLICES_A_ROW))
    kinds = ranked(judgement)
    figure = _figure(12, 0.6 + rows * (0.75 + 0.23 * len(kinds)))
    panels = figure.subplots(rows, _SLICES_A_ROW, sharey=True, squeeze=False)
    for axes in panels.flat[len(parts) :]:
        axes.set_visible(False)
    for axes, (name, part) in zip(panels.flat, parts.items(), strict=False):
        alpha = 0.35 if part["users"] < THIN else 1
        for place, kind in enumerate(kinds):
            found = part["metrics"][kind][judgement.primary_metric]
            whiskers = _whiskers([found])
            axes.errorbar(
                found.value, place, xerr=whiskers, fmt="o", ms=5, color=colour(kind), alpha=alpha, capsize=2
            )
        axes.set_title(f"{name.replace('_', ' ')} ({part['users']:,})", fontsize=9)
        axes.set_yticks(range(len(kinds)), kinds, fontsize=8)
        axes.tick_params(axis="x", labelsize=8)
        axes.set_xlim(left=0)
        axes.grid(axis="x", color=_FAINT, lw=0.6)
        _plain(axes)
    panels[0, 0].set_ylim(len(kinds) - 0.5, -0.5)
    nobody = f"; nobody in: {', '.join(empty)}" if empty else ""
    figure.suptitle(
        f"{label(judgement.primary_metric)} by slice (users); faint: under {THIN} users{nobody}", fontsize=10
    )
    _save(figure, path)


def trade_offs(judgement: "Judgement", path: Path) -> None:
    """The primary metric against coverage, novelty and diversity of the lists, a point per kind; a PNG."""
    shown = [name for name in TRADED if all(_beyond(judgement, kind, name) for kind in judgement.metrics)]
    figure = _figure(4.1 * len(shown), 3.9)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)
    for axes, name in zip(panels.flat, shown, strict=True):
        for kind in ranked(judgement):
            accuracy = judgement.metrics[kind][judgement.primary_metric]
            value, whiskers = _point(_beyond(judgement, kind, name))
            axes.errorbar(
                value,
                accuracy.value,
                xerr=whiskers,
                yerr=_whiskers([accuracy]),
                fmt="o",
                ms=6,
                color=colour(kind),
                label=kind,
            )
        axes.set_xlabel(label(name) + (" (bits)" if name.startswith("novelty") else ""))
        axes.grid(color=_FAINT, lw=0.6)
        axes.margins(x=0.12, y=0.1)
        _plain(axes)
    panels[0, 0].set_ylabel(label(judgement.primary_metric))
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize=9)
    _save(figure, path)


def ranked(judgement: "Judgement") -> list[str]:
    """All kinds, the baseline too, the highest primary metric first."""
    primary = judgement.primary_metric
    return sorted(judgement.metrics, key=lambda kind: (-judgement.metrics[kind][primary].value, kind))


def label(name: str) -> str:
    """`ndcg_at_10` as people write it."""
    metric, _, k = name.partition("_at_")
    words = metric.upper() if metric in ("ndcg", "map", "mrr") else metric.replace("_", " ").capitalize()
    return f"{words}@{k}" if k else words


def p_said(pair: "Pair") -> str:
    """The adjusted p-value; at most that much when no flip was as extreme as what was seen."""
    floor = pair.comparison.p_value <= 1 / (PERMUTATIONS + 1)
    return f"p {'≤' if floor else '='} {pair.p_adjusted:.4f}"


def colour(kind: str) -> str:
    return _COLOURS.get(kind, _GREY)


def _beyond(judgement: "Judgement", kind: str, name: str) -> "Interval | float | None":
    return judgement.lists[kind].get(name, judgement.coverage[kind].get(name))


def _point(found: Any) -> tuple[float, list[list[float]] | None]:
    return (found, None) if isinstance(found, float) else (found.value, _whiskers([found]))


def _whiskers(found: Sequence["Interval"]) -> list[list[float]]:
    """The mean can lie a rounding error outside its own interval when all users agree."""
    return [
        [max(0.0, interval.value - interval.low) for interval in found],
        [max(0.0, interval.high - interval.value) for interval in found],
    ]


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _plain(axes: "Axes") -> None:
    axes.locator_params(axis="x", nbins=5)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: "Figure", path: Path) -> None:
    figure.savefig(path, dpi=120, metadata={"Software": None})


PICTURES = {
    "judgement.png": metric_bars,
    "differences.png": difference_forest,
    "slices.png": slice_panels,
    "trade_offs.png": trade_offs,
}

"""A judgement on one page: the verdict, the figures with their intervals, the tests, the slices, the costs."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from ml.plots import PICTURES, label, p_said, ranked
from ml.slices import THIN

if TYPE_CHECKING:
    from ml.judgement import Judgement
    from ml.metrics import Interval

REPORT_FILE = "report.html"

_METRICS = ("ndcg_at_10", "ndcg_at_20", "precision_at_10", "recall_at_10", "recall_at_20", "map_at_10")
_METRICS_2 = ("mrr_at_10", "hit_rate_at_10", "precision_at_20", "map_at_20", "mrr_at_20", "hit_rate_at_20")
_LISTS = ("diversity_at_10", "novelty_at_10", "popularity_at_10", "popularity_lift_at_10")
_EXPOSURE = ("coverage_at_10", "coverage_at_20", "gini_at_10")

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1240px; margin: 2em auto; padding: 0 1em; color: #222 }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em } img { max-width: 100% }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; margin: 1em 0 }
th, td { padding: .25em .6em; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th:first-child, td:first-child { text-align: left } .wide { overflow-x: auto }
small, .note { color: #666 } .verdict { font-size: 1.1em; background: #f3f6f9; padding: .8em 1em }
"""


def write_report(judgement: "Judgement", folder: Path) -> Path:
    """The pictures and `report.html`, which holds them itself: it reads the same in MLflow, Dagster or a mail."""
    for name, draw in PICTURES.items():
        draw(judgement, folder / name)
    path = folder / REPORT_FILE
    path.write_text(_page(judgement, folder), "utf-8")
    return path


def verdict(judgement: "Judgement") -> str:
    """Which kind is better and how sure that is, in words."""
    best, lead = judgement.better, judgement.difference
    value = judgement.metrics[best][judgement.primary_metric]
    first = f"{best} has the highest {label(judgement.primary_metric)}: {_said(value)}."
    if lead is None or judgement.runner_up is None:
        return first
    pair = judgement.pair(best, judgement.runner_up)
    sure = "more than noise" if judgement.distinguishable else "within noise"
    return (
        f"{first} It leads {judgement.runner_up} by {lead.value:.4f} [{lead.low:.4f}, {lead.high:.4f}], "
        f"{p_said(pair)} after Holm: {sure}. "
        f"A lead of {pair.comparison.detectable:.4f} would be found four times out of five."
    )


def _page(judgement: "Judgement", folder: Path) -> str:
    kinds = ranked(judgement)
    cut = datetime.fromtimestamp(judgement.cut_ms / 1000, UTC)
    exposure = [[f"{judgement.coverage[kind][name]:.3f}" for name in _EXPOSURE] for kind in kinds]
    parts = [
        "<h1>Models compared</h1>",
        f"<p class=verdict>{escape(verdict(judgement))}</p>",
        f"<p>Cut at {cut:%Y-%m-%d %H:%M} UTC for everybody; {judgement.test_rows:,} rows after it, "
        f"{judgement.users:,} users with something to find ({judgement.new_users:,} of them new), all "
        f"{judgement.catalogue:,} videos ranked but those a user had met. Users a model does not know are judged by "
        f"the list they are served ({escape(judgement.strangers_ranked_by)}; the hybrid's own).</p>",
        "<h2>Accuracy</h2>",
        _picture(folder / "judgement.png", "bars of each metric with 95% intervals"),
        _metrics_table(judgement, kinds, _METRICS),
        _metrics_table(judgement, kinds, _METRICS_2),
        _ceilings(judgement),
        _ratings(judgement),
        "<h2>Is the difference real?</h2>",
        _picture(folder / "differences.png", "paired differences to the best kind"),
        _pairs_table(judgement),
        f"<p class=note>{escape(judgement.tested)}</p>",
        "<h2>Slices</h2>",
        _picture(folder / "slices.png", "primary metric by slice"),
        _slices_table(judgement),
        "<p class=note>A slice of videos leaves rankings as they are and asks only for its own videos: compare models "
        f"within a slice, not slices. Under {THIN} users an interval is too narrow to trust. Intervals of slices are "
        "not corrected for their number.</p>",
        "<h2>Lists</h2>",
        _picture(folder / "trade_offs.png", "accuracy against coverage, novelty and diversity"),
        _table(
            ["kind", *map(label, (*_LISTS, *_EXPOSURE))],
            [
                [kind, *(_said(judgement.lists[kind].get(name), 3) for name in _LISTS), *shown]
                for kind, shown in zip(kinds, exposure, strict=True)
            ],
        ),
        "<p class=note>Diversity: 1 - mean similarity of a list's pairs by category, creator, tags. Novelty: bits, "
        "-log2 of the share of users who watched a video. Popularity: mean percentile by watchers; its lift is over "
        "what the user watched before. Gini: 0 = every video shown alike, 1 = one has all places.</p>",
        "<h2>Costs</h2>",
        _table(
            ["kind", "p50 ms", "p95 ms", "MB on disk"],
            [
                [kind, f"{of['p50_ms']:.2f}", f"{of['p95_ms']:.2f}", f"{of['bytes'] / 1e6:.1f}"]
                for kind, of in sorted(judgement.costs.items())
            ],
        ),
        "<p class=note>Top 100 of the whole catalogue for one user at a time, on the machine that judged.</p>",
        f"<p><small>training set {judgement.training_set_sha256[:12]}, seed {judgement.seed}</small></p>",
    ]
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>Models compared</title><style>{_STYLE}</style>"
    return head + "\n".join(parts) + "</html>\n"


def _metrics_table(judgement: "Judgement", kinds: Sequence[str], names: Sequence[str]) -> str:
    rows = [[kind, *(_said(judgement.metrics[kind][name]) for name in names)] for kind in kinds]
    return _table(["kind", *map(label, names)], rows)


def _ceilings(judgement: "Judgement") -> str:
    said = ", ".join(f"{label(name)} {value:.3f}" for name, value in judgement.ceilings.items())
    return f"<p class=note>The most that any ranking could reach on this test: {escape(said)}.</p>"


def _ratings(judgement: "Judgement") -> str:
    said = [
        f"Ratings of {kind}: RMSE {_said(of['rmse'], 3)}, of always saying the mean {_said(of['rmse_of_mean'], 3)}."
        for kind, of in judgement.ratings.items()
    ]
    return f"<p>{escape(' '.join(said))}</p>" if said else ""


def _pairs_table(judgement: "Judgement") -> str:
    rows = []
    for pair in judgement.pairs:
        found = pair.comparison
        relative = f"{found.relative.value:+.1%}" if found.relative else "-"
        rows.append(
            [
                f"{pair.better} over {pair.worse}",
                _said(found.difference),
                relative,
                f"{found.p_value:.4f}",
                p_said(pair).removeprefix("p ").removeprefix("= "),
                f"{found.wins:,} / {found.losses:,} / {found.ties:,}",
                f"{found.detectable:.4f}",
            ]
        )
    heads = ["pair", "difference", "relative", "p", "p (Holm)", "users won / lost / tied", "detectable"]
    return _table(heads, rows) if rows else "<p>One model alone: nothing to compare.</p>"


def _slices_table(judgement: "Judgement") -> str:
    best = judgement.better
    rows = []
    for name, part in judgement.slices.items():
        metrics = part["metrics"]
        value = _said(metrics[best][judgement.primary_metric]) if metrics else "nobody"
        rows.append(
            [
                f"{name.replace('_', ' ')}: {part['about']}",
                f"{part['users']:,}",
                value,
                _said(part.get("over_popularity", {}).get(best)),
                f"{part['detectable'][best]:.4f}" if best in part.get("detectable", {}) else "-",
            ]
        )
    primary = label(judgement.primary_metric)
    return _table(["slice", "users", f"{primary} of {best}", "over popularity", "detectable"], rows)


def _said(found: "Interval | None", digits: int = 4) -> str:
    if found is None:
        return "-"
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _table(heads: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=wide><table><tr>{head}</tr>\n{body}</table></div>"


def _picture(path: Path, about: str) -> str:
    data = b64encode(path.read_bytes()).decode("ascii")
    return f'<img alt="{escape(about)}" src="data:image/png;base64,{data}">'

"""How cost grows with the day's events, as a small SVG: the same figures give the same bytes."""

from pathlib import Path

from orchestration.bench.data.growth import Size

_SERIES = {
    "all sessions": "o-C0",
    "daily tables": "s-C1",
    "5-minute increment": "^-C2",
    "late events all over": "v-C3",
}


def write_plot(sizes: list[Size], path: Path) -> None:
    """Two panels over the events of a day, both axes logarithmic: seconds of each job, and ClickHouse's peak memory."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    millions = [size.events / 1e6 for size in sizes]
    with mpl.rc_context({"svg.hashsalt": "data-scale", "svg.fonttype": "none", "font.size": 9}):
        figure, (seconds, memory) = plt.subplots(1, 2, figsize=(8, 3.5), layout="constrained")
        for (label, style), values in zip(_SERIES.items(), _seconds_of(sizes), strict=True):
            seconds.plot(millions, values, style, markersize=4, label=label)
        memory.plot(millions, [s.sessions_peak_gb for s in sizes], _SERIES["all sessions"], markersize=4)
        memory.plot(millions, [s.daily_tables_peak_gb for s in sizes], _SERIES["daily tables"], markersize=4)
        memory.plot(
            millions, [s.increment.peak_gb for s in sizes], _SERIES["5-minute increment"], markersize=4
        )
        memory.set_ylim(bottom=0)
        seconds.set(xscale="log", yscale="log", ylabel="seconds")
        memory.set(xscale="log", ylabel="peak memory of ClickHouse, GB")
        for axes in (seconds, memory):
            axes.set_xlabel("events of the day, millions")
            axes.set_xticks(millions, [f"{m:g}" for m in millions])
            axes.xaxis.minorticks_off()
            axes.grid(alpha=0.3)
        seconds.yaxis.set_major_formatter("{x:g}")
        figure.legend(loc="outside lower center", ncols=len(_SERIES), frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)


def _seconds_of(sizes: list[Size]) -> list[list[float]]:
    """In the order of `_SERIES`."""
    return [
        [size.sessions_s for size in sizes],
        [size.daily_tables_s for size in sizes],
        [size.increment.model_s for size in sizes],
        [size.late.model_s for size in sizes],
    ]

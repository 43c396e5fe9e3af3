"""How cost grows with the day's events, as a small SVG: the same figures give the same bytes."""

from pathlib import Path

from orchestration.bench.data.growth import Size


def write_plot(sizes: list[Size], path: Path) -> None:
    """Two panels over the events of a day, both axes logarithmic: seconds of each job, and ClickHouse's peak memory."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    millions = [size.events / 1e6 for size in sizes]
    with mpl.rc_context({"svg.hashsalt": "data-scale", "svg.fonttype": "none", "font.size": 9}):
        figure, (seconds, memory) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
        for label, marker, values in (
            ("all sessions", "o", [size.sessions_s for size in sizes]),
            ("daily tables", "s", [size.daily_tables_s for size in sizes]),
            ("5-minute increment", "^", [size.increment.model_s for size in sizes]),
            ("late events all over", "v", [size.late.model_s for size in sizes]),
        ):
            seconds.plot(millions, values, marker=marker, markersize=4, label=label)
        memory.plot(
            millions,
            [size.sessions_peak_gb for size in sizes],
            marker="o",
            markersize=4,
            label="all sessions",
        )
        memory.plot(
            millions,
            [size.increment.peak_gb for size in sizes],
            marker="^",
            markersize=4,
            label="5-minute increment",
        )
        memory.set_ylim(bottom=0)
        seconds.set(xscale="log", yscale="log", ylabel="seconds")
        memory.set(xscale="log", ylabel="peak memory of ClickHouse, GB")
        for axes in (seconds, memory):
            axes.set_xlabel("events of the day, millions")
            axes.set_xticks(millions, [f"{m:g}" for m in millions])
            axes.minorticks_off()
            axes.grid(alpha=0.3)
            axes.legend(frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)

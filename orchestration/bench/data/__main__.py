"""`make bench-data`: figures of the warehouse at 100M events, held against their targets.

Prints tables, writes `build/bench/data.json`, `docs/data-scale.svg` and `docs/data-scale.md`; exit
status 1 if a figure misses its target at full size. A smaller run writes its page into `build/bench`, and is held to no
target.
"""

import shutil
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from orchestration.bench.bench_stack import BUILD, bench_settings, write_result
from orchestration.bench.data import increments
from orchestration.bench.data.daily_step import measure_daily_step
from orchestration.bench.data.generate import insert_catalogue
from orchestration.bench.data.growth import measure_size
from orchestration.bench.data.plan import FULL, MEMORY_BYTES, QUICK, Plan, plan_of
from orchestration.bench.data.plot import write_plot
from orchestration.bench.data.report import Figures, page, tables, this_machine
from orchestration.bench.data.stores import Stores, running_stores
from orchestration.bench.data.training import measure_training_set
from stack.settings import PROJECT_ROOT, Settings

console = Console()


def main(
    events: Annotated[int, typer.Option(help="The largest size, in events of one day.", min=10_000)] = FULL,
    quick: Annotated[
        bool, typer.Option("--quick", help="1M events: does the benchmark itself work?")
    ] = False,
) -> None:
    plan = plan_of(QUICK if quick else events)
    settings = bench_settings("data").model_copy(update={"clickhouse_max_memory": MEMORY_BYTES})
    figures = measure(settings, plan)
    documentation = PROJECT_ROOT / "docs" if plan.events == FULL else BUILD
    console.print(*tables(figures))
    path = write_result("data", figures.as_json())
    write_documentation(figures, documentation)
    console.print(f"written to {path} and {documentation / 'data-scale.md'}", soft_wrap=True)
    misses = figures.misses() if plan.events == FULL else []
    for miss in misses:
        console.print(f"[red]{miss}[/red]")
    raise typer.Exit(1 if misses else 0)


def write_documentation(figures: Figures, folder: Path) -> None:
    """`data-scale.md` and the plot it shows."""
    write_plot(figures.sizes, folder / "data-scale.svg")
    (folder / "data-scale.md").write_text(page(figures))


def measure(settings: Settings, plan: Plan) -> Figures:
    """Everything, in the home of `settings`, which is gone afterwards whatever happens."""
    settings.home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.home).free
    if free < plan.disk_bytes:
        shutil.rmtree(settings.home, ignore_errors=True)
        raise SystemExit(
            f"{plan.events:,} events need {plan.disk_bytes / 1e9:.0f} GB; {free / 1e9:.0f} GB are free"
        )
    began = time.perf_counter()
    try:
        with running_stores(settings) as stores:
            return _measure(stores, plan, began)
    finally:
        shutil.rmtree(settings.home, ignore_errors=True)


def _measure(stores: Stores, plan: Plan, began: float) -> Figures:
    def say(what: str) -> None:
        console.print(f"{time.perf_counter() - began:7.0f} s  {what}", highlight=False)

    say(f"the catalogue: {plan.users:,} users, {plan.videos:,} videos")
    insert_catalogue(stores, plan.users, plan.videos)
    sizes = []
    for size in plan.sizes:
        say(f"{size:,} events: made, sessions in full, two increments")
        sizes.append(measure_size(stores, plan, size))
        if size == plan.sizes[0]:
            say("a full rebuild, to compare row for row")
            increments.check_against_full_rebuild(stores)
    say("30 days, and the daily step")
    step = measure_daily_step(stores, plan)
    say("the training set")
    training = measure_training_set(stores)
    return Figures(this_machine(), sizes, step, training, round(time.perf_counter() - began, 1))


if __name__ == "__main__":
    typer.run(main)

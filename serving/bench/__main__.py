"""`make bench-serving`: the endpoint's figures under load, held against their targets.

Prints a table, writes `build/bench/serving.json` and `docs/serving.md`; exit status 1 if a figure misses its target at
full size. A quick run asks only whether the benchmark itself works, and writes its page into `build/bench`.
"""

import importlib
import os
import time
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from serving.bench.figures import Result, misses, show, write
from serving.bench.page import write_page
from serving.bench.servers import BUILD
from stack.settings import PROJECT_ROOT, reach_loopback_directly

console = Console()


class Part(StrEnum):
    """What can be measured alone, in the order of a whole run; each a module with `measure(quick)`."""

    FEED = "feed"
    MILLION = "million"
    SWAP = "swap"
    CHAOS = "chaos"
    SOAK = "soak"
    QUALITY = "quality"


def main(
    only: Annotated[list[Part] | None, typer.Option(help="These parts; all if left out.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small: does the benchmark work?")] = False,
) -> None:
    reach_loopback_directly()
    began = time.perf_counter()
    results: list[Result] = []
    for part in only or list(Part):
        before = os.getloadavg()[0]
        console.print(
            f"{time.perf_counter() - began:6.0f} s  {part}, load average {before:.2f}", highlight=False
        )
        measured = importlib.import_module(f"serving.bench.{part}").measure(quick)
        results += measured
        path = BUILD / ("serving-quick.json" if quick else "serving.json")
        write(path, measured, load_average_before=round(before, 2), at=time.strftime("%H:%M:%S"))
    show(console, results)
    document = (BUILD if quick else PROJECT_ROOT / "docs") / "serving.md"
    write_page(path, document)
    console.print(f"written to {path} and {document}", soft_wrap=True)
    raise typer.Exit(1 if misses(results) and not quick else 0)


if __name__ == "__main__":
    typer.run(main)

"""`make bench-models`: every figure of the models against its target, peers in the same run."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

DATA = "KuaiRand-Pure"
OUT = Path("build/bench/models.json")

# What each part measures; the ones that need real data are left out, and said to be, where there is none.
PARTS = {
    "svd": ("svd_vs_surprise", "SVD against Surprise"),
    "kuairand": ("kuairand_late", "the offline benchmark KuaiRand-late, all kinds"),
    "throughput": ("two_tower_throughput", "the two-tower's training loop against a plain torch loop"),
    "gate": ("gate", "how often the gate promotes what is no better, and what is"),
}
NEEDS_DATA = {"kuairand"}

Row = tuple[str, str, str, bool]
"""(what, target, seen, met)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0 if every target is met, else 1."""
    options = _options(arguments)
    data = _data(options.data)
    figures: dict[str, Any] = {"machine": f"{os.cpu_count()} cores, {platform.machine()}", "seconds": {}}
    told: list[Row] = []
    for part in options.only or PARTS:
        module, what = PARTS[part]
        if part in NEEDS_DATA and data is None:
            print(f"{part}: left out, REELGRAPH_TEST_DATA names no folder with {DATA}", flush=True)
            continue
        print(f"{part}: {what} ...", flush=True)
        started = time.perf_counter()
        bench = import_module(f"ml.bench.{module}")
        measure: Callable[..., dict[str, Any]] = bench.measure
        figures[part] = measure(data) if part in ("svd", "kuairand") else measure()
        figures["seconds"][part] = round(time.perf_counter() - started, 1)
        told += (rows := bench.rows(figures[part]))
        _show(rows)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(OUT.read_text()) if options.only and OUT.exists() else {}
    seconds = {**before.get("seconds", {}), **figures["seconds"]}
    OUT.write_text(json.dumps({**before, **figures, "seconds": seconds}, indent=2, sort_keys=True) + "\n")
    missed = [what for what, _, _, met in told if not met]
    print(f"\n{len(told) - len(missed)} of {len(told)} targets met, figures in {OUT}")
    for what in missed:
        print(f"missed: {what}")
    return 1 if missed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ml.bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="one part; may be given again")
    parser.add_argument("--data", type=Path, help=f"the folder that holds {DATA} (or REELGRAPH_TEST_DATA)")
    return parser.parse_args(arguments)


def _data(given: Path | None) -> Path | None:
    """The folder that holds KuaiRand-Pure; that folder itself may be given too."""
    folder = given or (Path(named) if (named := os.environ.get("REELGRAPH_TEST_DATA")) else None)
    if folder is None:
        return None
    folder = folder.resolve()
    for holder in (folder, folder.parent):
        if (holder / DATA / "data").is_dir() and folder in (holder, holder / DATA):
            return holder
    if given:
        raise SystemExit(f"--data: {given} holds no {DATA}")
    return None


def _show(rows: Sequence[Row]) -> None:
    titles = ("", "target", "seen")
    widths = [max(len(str(row[column])) for row in [*rows, titles]) for column in range(3)]
    print(f"  {'':{widths[0]}}  {'target':{widths[1]}}  {'seen':{widths[2]}}")
    for what, target, seen, met in rows:
        print(
            f"  {what:{widths[0]}}  {target:{widths[1]}}  {seen:{widths[2]}}  {'ok' if met else 'MISSED'}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())

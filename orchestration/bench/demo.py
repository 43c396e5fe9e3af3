"""`make bench-demo`: time and memory of the demo on an empty home, again unchanged, and of the idle stack."""

import re
import time
from pathlib import Path
from typing import Annotated

import typer

from orchestration.bench.bench_stack import MemoryMeter, bench_settings, cleaned_up, reelgraph, write_result
from stack.settings import Settings
from stack.status import stack_status

IDLE_S = 60


def main(
    data: Annotated[Path | None, typer.Option(help="A public data set; the simulator if left out.")] = None,
) -> None:
    settings = bench_settings("demo")
    arguments = ["demo", *(["--data", str(data)] if data else [])]
    with cleaned_up(settings):
        with MemoryMeter(settings) as meter:
            first_s, pipeline_s, output = _demo(settings, arguments)
        second_s, second_pipeline, _ = _demo(settings, arguments)
        time.sleep(IDLE_S)
        idle = stack_status(settings)
    result = {
        "data": str(data.name) if data else "simulator",
        "first_run_s": round(first_s, 1),
        "pipeline_s": pipeline_s,
        "second_run_s": round(second_s, 1),
        "second_run_did_nothing": second_pipeline is None,
        "peak_memory_gb": round(meter.peak_bytes / 1e9, 2),
        "idle_memory_gb": round(idle.memory_bytes / 1e9, 2),
        "idle_memory_mb_by_service": {s.name: round(s.memory_bytes / 1e6) for s in idle.services},
        "steps_s": {name: float(s) for name, s in re.findall(r"^  (\S+) +([\d.]+) s$", output, re.MULTILINE)},
    }
    for name, value in result.items():
        typer.echo(f"{name:<28} {value}")
    typer.echo(f"written to {write_result('demo', result)}")


def _demo(settings: Settings, arguments: list[str]) -> tuple[float, float | None, str]:
    """Seconds of the whole command, of the pipeline (None if nothing ran), and the output."""
    began = time.monotonic()
    done = reelgraph(settings, *arguments)
    seconds = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"{done.stdout}\n{done.stderr}")
    found = re.search(r"^pipeline (\d+) s", done.stdout, re.MULTILINE)
    return seconds, float(found[1]) if found else None, done.stdout


if __name__ == "__main__":
    typer.run(main)

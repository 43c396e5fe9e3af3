"""Figures beside their targets: on the console, as JSON, and whether they were met."""

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import psutil
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """`seen` must be at most (`<=`), at least (`>=`) or exactly (`==`) `target`; without a target it only informs."""

    name: str
    seen: float
    unit: str = ""
    sign: Literal["<=", ">=", "==", "<"] = "<="
    target: float | None = None

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return {
            "<=": self.seen <= self.target,
            "<": self.seen < self.target,
            ">=": self.seen >= self.target,
            "==": self.seen == self.target,
        }[self.sign]

    @property
    def wanted(self) -> str:
        return "" if self.target is None else f"{self.sign} {_short(self.target)} {self.unit}".strip()

    @property
    def got(self) -> str:
        return f"{_short(self.seen)} {self.unit}".strip() if isfinite(self.seen) else "for ever"


@dataclass
class Result:
    """What one part measured: figures against targets, and everything else it saw. JSON has no infinity: null."""

    part: str
    figures: list[Figure] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def add(self, *figures: Figure) -> None:
        self.figures += figures

    def as_json(self) -> dict[str, Any]:
        figures = [
            {**asdict(figure), "seen": figure.seen if isfinite(figure.seen) else None, "met": figure.met}
            for figure in self.figures
        ]
        return {"part": self.part, "figures": figures, "details": self.details}


def show(console: Console, results: Iterable[Result]) -> None:
    table = Table("", "Figure", "Target", "Seen", "")
    for result in results:
        for place, figure in enumerate(result.figures):
            verdict = {None: "", True: "ok", False: "[red]MISSED[/red]"}[figure.met]
            table.add_row(result.part if not place else "", figure.name, figure.wanted, figure.got, verdict)
        table.add_section()
    console.print(table)


def misses(results: Iterable[Result]) -> list[Figure]:
    return [figure for result in results for figure in result.figures if figure.met is False]


def write(path: Path, results: Sequence[Result], **about: Any) -> None:
    """Parts that were not measured now keep what an earlier run wrote of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text())["parts"] if path.is_file() else {}
    parts = known | {result.part: {**result.as_json(), **about} for result in results}
    path.write_text(json.dumps({"machine": this_machine(), "parts": parts}, indent=2) + "\n")


def this_machine() -> str:
    memory_gb = psutil.virtual_memory().total / 1e9
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {memory_gb:.0f} GB of memory, {platform.system()} {platform.machine()}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"

"""The figures as tables for the console, as a page of the documentation, and held against their targets."""

import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template
from typing import Any

import psutil
from rich.table import Table

from orchestration.bench.data.daily_step import DailyStep
from orchestration.bench.data.growth import Size
from orchestration.bench.data.plan import MEMORY_BYTES, TARGETS, users_of
from orchestration.bench.data.stores import cores
from orchestration.bench.data.training import Training

_PAGE = Path(__file__).with_name("page.md")
_LABELS = {
    "sessions_s": "All sessions of the largest day, seconds",
    "sessions_peak_gb": "- peak memory of ClickHouse, GB",
    "increment_s": "The 5-minute increment on top, seconds",
    "daily_step_s": "The daily step over 30 days, seconds",
    "bytes_per_event": "Bytes per stored event, compressed",
    "training_s": "The training set, seconds",
    "training_peak_gb": "- peak memory of ClickHouse and the writer, GB",
}
_GROWTH = [
    "Events", "Sessions", "Bytes/event", "All sessions, s", "Peak, GB", "Increment, s", "Late events, s",
    "Daily tables, s",
]  # fmt: skip


@dataclass(frozen=True)
class Figures:
    """All that was measured, and where."""

    machine: str
    sizes: list[Size]
    daily_step: DailyStep
    training: Training
    total_s: float

    def headline(self) -> dict[str, float]:
        """The figures that have a target, by its name."""
        largest = self.sizes[-1]
        return {
            "sessions_s": largest.sessions_s,
            "sessions_peak_gb": largest.sessions_peak_gb,
            "increment_s": largest.increment.model_s,
            "daily_step_s": self.daily_step.seconds,
            "bytes_per_event": largest.bytes_per_event,
            "training_s": self.training.seconds,
            "training_peak_gb": self.training.peak_gb,
        }

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "headline": self.headline(), "targets": TARGETS}

    def misses(self) -> list[str]:
        """What is above its target; empty if nothing is. The targets are those of the full size."""
        return [
            f"{name}: {value:g}, the target is {TARGETS[name]:g}"
            for name, value in self.headline().items()
            if value > TARGETS[name]
        ]


def this_machine() -> str:
    memory_gb = psutil.virtual_memory().total / 1e9
    return f"{cores()} cores, {memory_gb:.0f} GB of memory, {platform.system()} {platform.machine()}"


def tables(figures: Figures) -> list[Table]:
    """For the console."""
    held = Table("Figure", "Measured", "Target", title="Against the targets")
    for row in _headline_rows(figures):
        held.add_row(*row)
    growth = Table(*_GROWTH, title="How cost grows")
    for row in _growth_rows(figures):
        growth.add_row(*row)
    models = Table("Model", "Seconds", title="The daily step")
    for row in _model_rows(figures):
        models.add_row(*row)
    return [held, growth, models]


def page(figures: Figures) -> str:
    """The text of `docs/data-scale.md`. Raises `KeyError` if the template asks for what is not measured."""
    largest, step, training = figures.sizes[-1], figures.daily_step, figures.training
    return Template(_PAGE.read_text()).substitute(
        machine=figures.machine,
        limit_gb=f"{MEMORY_BYTES / 1e9:g}",
        total_minutes=f"{figures.total_s / 60:.0f}",
        headline=_markdown(["Figure", "Measured", "Target"], _headline_rows(figures)),
        growth=_markdown(_GROWTH, _growth_rows(figures)),
        models=_markdown(["Model", "Seconds"], _model_rows(figures)),
        events=f"{largest.events:,}",
        users=f"{users_of(largest.events):,}",
        sessions_command_s=f"{largest.sessions_command_s:g}",
        bytes_per_session=f"{largest.bytes_per_session:g}",
        increment_events=f"{largest.increment.events:,}",
        increment_sessions=f"{largest.increment.sessions:,}",
        increment_command_s=f"{largest.increment.command_s:g}",
        late_sessions=f"{largest.late.sessions:,}",
        days=step.days,
        day_sessions=f"{step.sessions:,}",
        step_command_s=f"{step.command_s:g}",
        step_peak_gb=f"{step.peak_gb:g}",
        interactions=f"{training.interactions:,}",
        tables_s=f"{training.tables_s:g}",
        write_s=f"{training.write_s:g}",
        folder_gb=f"{training.folder_gb:g}",
    )


def _headline_rows(figures: Figures) -> list[list[str]]:
    return [[_LABELS[name], f"{v:g}", f"<= {TARGETS[name]:g}"] for name, v in figures.headline().items()]


def _growth_rows(figures: Figures) -> list[list[str]]:
    return [
        [
            f"{size.events / 1e6:g}M",
            f"{size.sessions / 1e6:.2f}M",
            f"{size.bytes_per_event:g}",
            f"{size.sessions_s:g}",
            f"{size.sessions_peak_gb:g}",
            f"{size.increment.model_s:g}",
            f"{size.late.model_s:g}",
            f"{size.daily_tables_s:g}",
        ]
        for size in figures.sizes
    ]


def _model_rows(figures: Figures) -> list[list[str]]:
    return [[f"`{name}`", f"{seconds:g}"] for name, seconds in figures.daily_step.models_s.items()]


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))

"""The figures as a page of the documentation, `docs/serving.md`."""

import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from serving.bench.figures import Figure

_PAGE = Path(__file__).with_name("page.md")
_TITLES = {
    "feed": "100,000 videos, 100,000 users",
    "million": "1,000,000 videos, 100,000 users",
    "swap": "Hot swaps under 100 requests a second",
    "chaos": "Each dependency killed under load",
    "soak": "A million requests",
    "quality": "What the steps after the model cost and buy",
}


def page(measured: Mapping[str, Any]) -> str:
    """The text, from what `figures.write` wrote. Parts that were never measured are left out."""
    parts = {name: measured["parts"][name] for name in _TITLES if name in measured["parts"]}
    tables = [f"### {_TITLES[name]}\n\n{_table(part)}" for name, part in parts.items()]
    return Template(_PAGE.read_text()).substitute(
        machine=measured["machine"], busy=_busy(parts), figures="\n\n".join(tables)
    )


def write_page(measured: Path, target: Path) -> None:
    target.write_text(page(json.loads(measured.read_text())))


def _busy(parts: Mapping[str, Any]) -> str:
    loads = {name: part["load_average_before"] for name, part in parts.items()}
    said = ", ".join(f"{name} {load:g}" for name, load in loads.items())
    return f"Load average of the minute before each part (a quiet machine has well below 1): {said}."


def _table(part: Mapping[str, Any]) -> str:
    rows = [["Figure", "Target", "Seen", ""], ["---"] * 4]
    for entry in part["figures"]:
        seen = float("inf") if entry["seen"] is None else entry["seen"]
        figure = Figure(entry["name"], seen, entry["unit"], entry["sign"], entry["target"])
        verdict = {None: "", True: "ok", False: "**missed**"}[figure.met]
        rows.append([figure.name, figure.wanted, figure.got, verdict])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)

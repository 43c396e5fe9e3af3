"""How results are shown to the operator in the Dagster UI: tables and small pictures."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg


def picture(path: Path) -> dg.MarkdownMetadataValue:
    """A PNG shown inline; it travels inside the metadata, so it outlives the file."""
    data = base64.b64encode(path.read_bytes()).decode()
    return dg.MetadataValue.md(f"![{path.stem}](data:image/png;base64,{data})")


def markdown_table(rows: Sequence[Mapping[str, object]]) -> dg.MarkdownMetadataValue:
    """Rows as a table; columns in the order of the first row."""
    if not rows:
        return dg.MetadataValue.md("(no rows)")
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join(lines))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return str(value).replace("|", "\\|")


def latest_metadata(instance: dg.DagsterInstance, asset: str) -> dict[str, dg.MetadataValue] | None:
    """What the last materialization of an asset said; None before the first."""
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    materialization = event.asset_materialization if event else None
    return dict(materialization.metadata) if materialization else None

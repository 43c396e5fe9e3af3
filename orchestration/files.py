"""Keeping folders of reports from growing without end."""

from pathlib import Path


def keep_newest(folder: Path, count: int) -> list[Path]:
    """Delete all but the `count` newest files of a folder; returns what was deleted."""
    files = sorted(
        (p for p in folder.iterdir() if p.is_file()), key=lambda p: p.stat().st_mtime, reverse=True
    )
    for path in files[count:]:
        path.unlink(missing_ok=True)
    return files[count:]

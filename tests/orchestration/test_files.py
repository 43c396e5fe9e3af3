"""Folders of reports keep their newest files."""

import os
from pathlib import Path

from orchestration.files import keep_newest


def test_only_the_newest_files_stay(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "older", "oldest")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    assert [p.name for p in keep_newest(tmp_path, 2)] == ["oldest"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "older"]
    assert keep_newest(tmp_path, 2) == []

import threading
import time
from pathlib import Path

import pytest

from stack.atomic_folder import canonical_json, replace_folder


def content(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if not path.name.endswith(".lock")}


def test_the_new_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "data"
    with replace_folder(target) as folder:
        (folder / "a").write_text("1")
        (folder / "b").write_text("1")
    with replace_folder(target) as folder:
        (folder / "a").write_text("2")
        assert content(target) == {"a": "1", "b": "1"}  # readers see the old one till the end
    assert content(target) == {"a": "2"}
    assert names(target.parent) == {"data"}


def test_an_error_leaves_the_old_folder_or_none(tmp_path: Path) -> None:
    target = tmp_path / "data"

    def fail() -> None:
        with replace_folder(target) as folder:
            (folder / "a").write_text("half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail()
    assert names(tmp_path) == set()
    with replace_folder(target) as folder:
        (folder / "a").write_text("whole")
    with pytest.raises(RuntimeError, match="disk full"):
        fail()
    assert names(tmp_path) == {"data"}
    assert content(target) == {"a": "whole"}


def test_a_writer_killed_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    old, new = tmp_path / ".data.old", tmp_path / ".data.new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "a").write_text(folder.name)
    target = tmp_path / "data"
    with replace_folder(target) as folder:
        assert content(target) == {"a": ".data.old"}
        assert content(folder) == {}
        (folder / "a").write_text("next")
    assert content(target) == {"a": "next"}
    assert names(tmp_path) == {"data"}


def test_writers_of_one_folder_take_turns(tmp_path: Path) -> None:
    target = tmp_path / "data"
    inside = 0
    most = 0

    def write(name: str) -> None:
        nonlocal inside, most
        with replace_folder(target) as folder:
            inside += 1
            most = max(most, inside)
            for part in range(3):
                (folder / str(part)).write_text(name)
                time.sleep(0.01)
            inside -= 1

    threads = [threading.Thread(target=write, args=(str(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert len(set(content(target).values())) == 1
    assert names(tmp_path) == {"data"}


def test_one_value_has_one_text() -> None:
    assert (
        canonical_json({"b": 1, "a": "é"})
        == canonical_json({"a": "é", "b": 1})
        == b'{\n  "a": "\xc3\xa9",\n  "b": 1\n}\n'
    )
    with pytest.raises(ValueError):
        canonical_json(float("nan"))

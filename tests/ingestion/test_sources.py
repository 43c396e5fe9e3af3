"""Which source a home uses: the one chosen, else the settings', else the simulator."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ingestion.errors import SourceError
from ingestion.kuairand import KuaiRand
from ingestion.simulator import Simulator
from ingestion.sources import choose_source, open_source, source_from
from stack.settings import Settings

NewSettings = Callable[..., Settings]


def folder_of(source: object) -> Path:
    assert isinstance(source, KuaiRand)
    return source.path


def test_without_any_choice_it_is_the_simulator(new_settings: NewSettings) -> None:
    assert isinstance(source_from(new_settings()), Simulator)


def test_the_settings_can_name_a_folder(new_settings: NewSettings, tmp_path: Path) -> None:
    assert folder_of(source_from(new_settings(data=tmp_path / "set"))) == tmp_path / "set"


def test_a_choice_is_remembered_until_the_next(new_settings: NewSettings, tmp_path: Path) -> None:
    settings = new_settings()
    assert folder_of(choose_source(settings, tmp_path / "chosen")) == tmp_path / "chosen"
    assert folder_of(source_from(settings)) == tmp_path / "chosen"
    assert isinstance(choose_source(settings, None), Simulator)
    assert isinstance(source_from(settings), Simulator)
    assert [path.name for path in settings.home.iterdir()] == ["source.json"]


def test_the_choice_goes_before_the_settings(new_settings: NewSettings, tmp_path: Path) -> None:
    settings = new_settings(data=tmp_path / "set")
    assert folder_of(open_source(settings, tmp_path / "given")) == tmp_path / "given"
    choose_source(settings, tmp_path / "given")
    assert folder_of(source_from(settings)) == tmp_path / "given"


def test_a_relative_folder_is_remembered_as_it_was_meant(
    new_settings: NewSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = new_settings()
    monkeypatch.chdir(tmp_path)
    choose_source(settings, Path("set"))
    monkeypatch.chdir("/")
    assert folder_of(source_from(settings)) == tmp_path / "set"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"text"'])
def test_a_broken_marker_is_named(new_settings: NewSettings, text: str) -> None:
    settings = new_settings()
    settings.home.mkdir()
    (settings.home / "source.json").write_text(text)
    with pytest.raises(SourceError, match=r"source\.json: must be like"):
        source_from(settings)

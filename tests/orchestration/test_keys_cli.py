"""`reelgraph keys`: a key is shown once and alone, listed without its text, and revoked by its name."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from orchestration.cli import app
from serving.security.key_ring import KeyRing


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REELGRAPH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def keys(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments])


def test_the_key_that_is_printed_is_good(home: Path) -> None:
    made = keys("create", "--name", "web", "--role", "client", "--role", "trainer", "--expires-days", "30")
    assert made.exit_code == 0
    assert made.stdout.count("\n") == 1  # a script takes it as it is
    assert "web may act as client, trainer until 20" in made.stderr
    ring = KeyRing(home / "api_keys.json")
    ring.refresh()
    principal = ring.find(made.stdout.strip())
    assert principal is not None
    assert (principal.name, principal.roles) == ("web", {"client", "trainer"})


def test_a_list_shows_every_key_and_no_secret(home: Path) -> None:
    assert "no keys: reelgraph keys create" in keys("list").stdout
    texts = [keys("create", "--name", name, "--role", "client").stdout.strip() for name in ("web", "batch")]
    assert keys("revoke", "web").exit_code == 0
    shown = keys("list").stdout
    assert [line.split()[0] for line in shown.splitlines()[1:]] == ["batch", "web"]
    assert "in force" in shown
    assert "revoked" in shown
    assert not [text for text in texts if text.split("_")[2] in shown]


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (("revoke", "nobody"), "no key named nobody is in force", 1),
        (("create", "--name", "a b", "--role", "client"), "'a b' is no name of a key", 2),
        (("create", "--name", "web", "--role", "king"), "king", 2),
        (("create", "--name", "web"), "role", 2),
    ],
)
def test_what_cannot_be_is_said(home: Path, arguments: tuple[str, ...], words: str, code: int) -> None:
    done = keys(*arguments)
    assert done.exit_code == code
    assert words in done.stderr


def test_two_keys_of_one_name_would_not_be_told_apart(home: Path) -> None:
    keys("create", "--name", "web", "--role", "client")
    again = keys("create", "--name", "web", "--role", "client")
    assert (again.exit_code, again.stdout) == (1, "")
    assert "there is a key named web" in again.stderr


def test_a_broken_file_is_not_written_over(home: Path) -> None:
    home.mkdir()
    (home / "api_keys.json").write_text("{")
    for arguments in (("list",), ("revoke", "web"), ("create", "--name", "web", "--role", "client")):
        done = keys(*arguments)
        assert done.exit_code == 1
        assert "api_keys.json is no file of keys" in done.stderr
    assert (home / "api_keys.json").read_text() == "{"

"""A stack started with other settings or code than there are now is told from one that is up to date."""

import time
from collections.abc import Callable
from pathlib import Path

from stack.fingerprint import code_hash, fingerprint, settings_hash
from stack.settings import PROJECT_ROOT, Settings


def tree(root: Path) -> Path:
    for name in ("stack/a.py", "dbt_project/models/b.sql", "ml/c.yml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("one")
    return root


def test_code_is_what_our_packages_contain_whenever_it_was_written(tmp_path: Path) -> None:
    before = code_hash(tree(tmp_path))
    tree(tmp_path)  # written again
    for irrelevant in (
        "tests/t.py",
        "stack/notes.md",
        "dbt_project/target/made.sql",
        "stack/__pycache__/a.py",
    ):
        (tmp_path / irrelevant).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / irrelevant).write_text("new")
    assert code_hash(tmp_path) == before
    seen = {before}
    for changed in ("stack/a.py", "dbt_project/models/b.sql", "ml/c.yml", "serving/new.py"):
        (tmp_path / changed).parent.mkdir(exist_ok=True)
        (tmp_path / changed).write_text("two")
        seen.add(code_hash(tmp_path))
    (tmp_path / "serving/new.py").rename(tmp_path / "serving/renamed.py")
    seen.add(code_hash(tmp_path))
    assert len(seen) == 6


def test_settings_count_but_not_their_passwords(new_settings: Callable[..., Settings]) -> None:
    settings = new_settings(REDIS_URL="redis://:one@cache:6379/0")
    before = settings_hash(settings)
    assert (
        settings_hash(settings.model_copy(update={"redis_url_override": "redis://:two@cache:6379/0"}))
        == before
    )
    assert settings_hash(settings.model_copy(update={"test_data": Path("/elsewhere")})) == before
    assert (
        settings_hash(settings.model_copy(update={"redis_url_override": "redis://:one@other:6379/0"}))
        != before
    )
    assert settings_hash(settings.model_copy(update={"seed": 1})) != before


def test_it_costs_less_than_a_tenth_of_a_second(settings: Settings) -> None:
    fingerprint(settings, PROJECT_ROOT)  # the files are in memory now
    started = time.perf_counter()
    found = fingerprint(settings, PROJECT_ROOT)
    assert time.perf_counter() - started < 0.1
    assert found == fingerprint(settings)
    assert all(len(each) == 16 for each in found.values())

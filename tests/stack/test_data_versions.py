import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from stack import data_versions
from stack.data_versions import (
    DataVersionBusyError,
    DataVersionError,
    DataVersionMissingError,
    PushError,
    checkout,
    prepare_repository,
    provenance_of,
    remote_url,
    repository_root,
    track,
)
from stack.settings import PROJECT_ROOT, Settings

NewSettings = Callable[..., Settings]


@pytest.fixture
def home(new_settings: NewSettings) -> Settings:
    settings = new_settings("home with a space")
    fill(settings.training_set_dir, "one")
    return settings


def fill(directory: Path, text: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "interactions.parquet").write_text(text * 100)
    (directory / "meta.json").write_text(f'{{"text": "{text}"}}')


def content(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_who_made_a_version_is_kept_beside_its_hash_not_in_it(home: Settings) -> None:
    assert provenance_of(home.training_set_dir) == {}
    first = track(home, home.training_set_dir, provenance={"git_commit": "abc", "made_at": "2026-01-01"})
    assert provenance_of(home.training_set_dir) == {"git_commit": "abc", "made_at": "2026-01-01"}
    again = track(home, home.training_set_dir, provenance={"git_commit": "def"})
    assert again.hash == first.hash
    assert provenance_of(home.training_set_dir) == {"git_commit": "def"}
    assert track(home, home.training_set_dir).hash == first.hash


def test_a_version_is_the_hash_of_names_and_contents(home: Settings, new_settings: NewSettings) -> None:
    version = track(home, home.training_set_dir)
    listing = [
        {"md5": hashlib.md5(path.read_bytes()).hexdigest(), "relpath": path.name}
        for path in sorted(home.training_set_dir.iterdir())
    ]
    assert version.hash == hashlib.md5(json.dumps(listing, sort_keys=True).encode()).hexdigest() + ".dir"
    assert (version.path, version.size, version.files, version.pushed) == (
        home.training_set_dir,
        315,
        2,
        True,
    )
    elsewhere = new_settings("other")
    fill(elsewhere.training_set_dir, "one")
    assert track(elsewhere, elsewhere.training_set_dir).hash == version.hash


def test_the_remote_holds_the_version_under_its_hash(home: Settings) -> None:
    version = track(home, home.training_set_dir)
    listing = home.objects_dir / "dvc" / "files" / "md5" / version.hash[:2] / version.hash[2:]
    assert [entry["relpath"] for entry in yaml.safe_load(listing.read_text())] == [
        "interactions.parquet",
        "meta.json",
    ]


def test_unchanged_data_keep_their_hash_and_changed_data_get_another(home: Settings) -> None:
    first = track(home, home.training_set_dir)
    assert track(home, home.training_set_dir) == first
    shutil.rmtree(home.training_set_dir)
    fill(home.training_set_dir, "one")  # rewritten, same bytes
    assert track(home, home.training_set_dir) == first
    fill(home.training_set_dir, "two")
    assert track(home, home.training_set_dir).hash != first.hash


def test_any_version_comes_back_by_its_hash(home: Settings, tmp_path: Path) -> None:
    before = content(home.training_set_dir)
    old = track(home, home.training_set_dir)
    fill(home.training_set_dir, "two")
    (home.training_set_dir / "extra").write_text("not in the old one")
    new = track(home, home.training_set_dir)
    for _ in range(2):
        assert checkout(home, old.hash, home.training_set_dir) == home.training_set_dir
        assert content(home.training_set_dir) == before
    assert track(home, home.training_set_dir) == old
    # without the cache it comes from the remote, and into a folder outside of the home, too
    shutil.rmtree(home.home / "dvc_cache")
    checkout(home, new.hash, tmp_path / "elsewhere")
    assert content(tmp_path / "elsewhere") == {**before, "extra": "not in the old one"} | {
        "interactions.parquet": "two" * 100,
        "meta.json": '{"text": "two"}',
    }
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".checkout")] == []


def test_a_version_that_is_nowhere_is_an_error_and_touches_nothing(home: Settings) -> None:
    track(home, home.training_set_dir)
    before = content(home.training_set_dir)
    unknown = "0" * 32 + ".dir"
    with pytest.raises(DataVersionMissingError, match=f"{unknown} is not in .*dvc_cache or .*objects/dvc"):
        checkout(home, unknown, home.training_set_dir)
    for malformed in ("", "../../etc", "0" * 32, "0" * 31 + "g.dir"):
        with pytest.raises(DataVersionMissingError, match="is not the hash of a version"):
            checkout(home, malformed, home.training_set_dir)
    assert content(home.training_set_dir) == before


def test_a_folder_that_is_not_there_or_not_in_the_home_is_refused(home: Settings, tmp_path: Path) -> None:
    with pytest.raises(DataVersionError, match="is not a folder"):
        track(home, home.home / "nothing")
    fill(tmp_path / "outside", "one")
    with pytest.raises(DataVersionError, match="is not in"):
        track(home, tmp_path / "outside")


def test_files_that_dvc_was_told_to_ignore_are_not_lost_silently(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_versions, "_HOME_IGNORE", "*.parquet\n")
    with pytest.raises(DataVersionError, match=r"has 2 files, DVC sees 1: check \.dvcignore"):
        track(home, home.training_set_dir)


def test_a_lost_remote_is_filled_again(home: Settings) -> None:
    version = track(home, home.training_set_dir)
    shutil.rmtree(home.objects_dir)
    assert track(home, home.training_set_dir) == version
    shutil.rmtree(home.home / "dvc_cache")
    shutil.rmtree(home.training_set_dir)
    checkout(home, version.hash, home.training_set_dir)
    assert content(home.training_set_dir)["interactions.parquet"] == "one" * 100


def test_a_remote_that_cannot_be_written_is_named(home: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PushError, match=r"[0-9a-f]{32}\.dir did not reach .*/file/dvc: "):
        track(home, home.training_set_dir, f"{tmp_path}/file/dvc")
    kept = track(home, home.training_set_dir, f"{tmp_path}/file/dvc", push=False)
    assert not kept.pushed
    assert track(home, home.training_set_dir).pushed


def test_a_remote_whose_plugin_is_missing_is_named(home: Settings) -> None:
    with pytest.raises(PushError, match=r"did not reach s3://bucket/dvc: .*dvc-s3"):
        track(home, home.training_set_dir, "s3://bucket/dvc")


def test_the_remote_is_in_the_home_unless_named(home: Settings) -> None:
    assert remote_url(home) == f"{home.home}/objects/dvc"


HOLD = textwrap.dedent(
    """
    import sys, time, zc.lockfile
    lock = zc.lockfile.LockFile(sys.argv[1])
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
    """
)


def hold_lock(settings: Settings, seconds: float) -> subprocess.Popen[str]:
    lock = settings.home / ".dvc" / "tmp" / "lock"
    command = [sys.executable, "-c", HOLD, str(lock), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_held_by_another_process_is_waited_for_and_named(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dvc.lock.DEFAULT_TIMEOUT", 0.3)  # DVC's own patience; ours is what is tested
    version = track(home, home.training_set_dir)
    with hold_lock(home, 60) as holder:
        with pytest.raises(DataVersionBusyError, match="is held by another process for over 0 s"):
            track(home, home.training_set_dir, wait_s=0)
        holder.kill()
    with hold_lock(home, 1) as holder:
        started = time.monotonic()
        assert track(home, home.training_set_dir) == version
        assert 0.5 < time.monotonic() - started < 20


def test_what_a_killed_process_left_half_written_is_no_obstacle(home: Settings) -> None:
    version = track(home, home.training_set_dir)
    (home.home / ".dvc" / "tmp" / "rwlock").write_text('{"write": {"')
    (home.home / "training_set.dvc").write_text("outs:\n- md5: [")
    assert track(home, home.training_set_dir) == version
    (home.home / "training_set.dvc").write_text("")
    assert track(home, home.training_set_dir) == version


def test_what_a_person_configured_stays(home: Settings) -> None:
    track(home, home.training_set_dir)
    local = home.home / ".dvc" / "config.local"
    local.write_text("['remote \"mine\"']\n    url = /elsewhere\n")
    prepare_repository(home)
    text = local.read_text()
    assert "url = /elsewhere" in text
    assert f"url = {home.objects_dir / 'dvc'}" in text
    written = local.stat().st_mtime_ns
    prepare_repository(home)
    assert local.stat().st_mtime_ns == written


def test_only_the_default_home_is_versioned_from_the_project_root(home: Settings) -> None:
    default = home.model_copy(update={"home": PROJECT_ROOT / ".reelgraph"})
    assert repository_root(default) == PROJECT_ROOT
    inside = home.model_copy(update={"home": PROJECT_ROOT / "build" / "state"})
    assert repository_root(inside) == PROJECT_ROOT / "build" / "state"
    assert repository_root(home) == home.home


def test_the_committed_configuration_tracks_the_default_home(
    home: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the project root, with its own `.dvc/config` and `.dvcignore`, in a copy of the parts DVC looks at."""
    project = tmp_path / "project"
    shutil.copytree(
        PROJECT_ROOT / ".dvc", project / ".dvc", ignore=shutil.ignore_patterns("tmp", "config.local")
    )
    for name in (".dvcignore", "dvc.yaml"):
        if (PROJECT_ROOT / name).exists():
            shutil.copy(PROJECT_ROOT / name, project / name)
    shutil.copytree(PROJECT_ROOT / "ml", project / "ml")
    monkeypatch.setattr(data_versions, "PROJECT_ROOT", project)
    default = home.model_copy(update={"home": project / ".reelgraph"})
    fill(default.training_set_dir, "one")
    unreadable = default.home / "postgres" / "broken.dvc"
    unreadable.parent.mkdir()
    unreadable.write_text("not: [a pointer")
    assert track(default, default.training_set_dir).hash == track(home, home.training_set_dir).hash
    assert (default.home / "training_set.dvc").exists()
    assert not (default.home / ".dvc").exists()
    assert (project / ".dvc" / "config").read_text() == (PROJECT_ROOT / ".dvc" / "config").read_text()


def test_dvc_makes_no_use_of_git_and_sends_nothing_home(home: Settings) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DVC_NO_ANALYTICS"}
    prepare_repository(home)
    for option in ("core.no_scm", "core.analytics", "core.autostage", "core.check_update"):
        command = [sys.executable, "-m", "dvc", "config", option]
        shown = subprocess.run(
            command, cwd=home.home, env=environment, capture_output=True, text=True, check=True
        )
        assert shown.stdout.strip() == ("true" if option == "core.no_scm" else "false")

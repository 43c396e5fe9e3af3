"""Versions of data folders, kept by DVC: a content hash, a copy in a remote, and the way back to any of them.

The decision. What we track is state, in the ignored home of the product, so DVC runs without git (`no_scm`): the
pointer to a version is its hash, recorded on the Dagster materialization, the MLflow run and the bundle, not in a
commit that a pipeline would have to make in somebody's checkout. The project root carries a committed `.dvc/config`
and `.dvcignore`. With the default home (`.reelgraph` in the root) the root is the DVC repository and `dvc repro`,
typed there, finds the training set; a home elsewhere becomes a DVC repository of its own, with the root's `dvc.yaml`
rewritten to it. The cache is in the home; the remote is the object store's `dvc` folder.

DVC's Python API rather than its command: an unchanged folder takes 0.2 s instead of 3, and the API sends nothing
home (analytics and the update check belong to the command line).
"""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from stack.atomic_folder import replace_folder
from stack.settings import PROJECT_ROOT, Settings

if TYPE_CHECKING:
    from dvc.repo import Repo

REMOTE = "objects"
LOCK_WAIT_S = 120.0
_HASH = re.compile(r"[0-9a-f]{32}\.dir")
# In a home of its own DVC looks at these and nothing else (see the root's .dvcignore for why).
_VISIBLE = (
    *("dvc.yaml", "dvc.lock", "training_set.dvc", "training_set", "dvc_models"),
    *("parameters.dvc", "parameters"),
)
_HOME_IGNORE = "/*\n" + "".join(f"!/{name}\n" for name in _VISIBLE)

T = TypeVar("T")


class DataVersionError(Exception):
    """DVC could not do it; the message says what and why."""


class DataVersionBusyError(DataVersionError):
    """Another process holds DVC's lock and did not let go in time."""


class DataVersionMissingError(DataVersionError):
    """No such version in the cache or the remote."""


class PushError(DataVersionError):
    """The version is in the local cache but did not reach the remote."""


@dataclass(frozen=True)
class DataVersion:
    """One version of a folder. `hash` is `<md5>.dir`, of the names and contents of its files."""

    hash: str
    path: Path
    size: int  # bytes
    files: int
    pushed: bool  # it is in the remote, sent now or before


def repository_root(settings: Settings) -> Path:
    """The folder DVC works from: the project root for the default home, else the home itself."""
    home = settings.home.absolute()
    return home.parent if home == PROJECT_ROOT / ".reelgraph" else home


def remote_url(settings: Settings) -> str:
    """The `dvc` folder of the local object store."""
    return str(settings.objects_dir.absolute() / "dvc")


def track(
    settings: Settings,
    directory: Path,
    remote: str | None = None,
    *,
    push: bool = True,
    provenance: Mapping[str, str] | None = None,
    wait_s: float = LOCK_WAIT_S,
) -> DataVersion:
    """Record what is in `directory` as a version and send it to the remote (its URL; the object store's by default).

    `directory` lies in the home. Unchanged content gives the same hash and sends nothing. `provenance` says who made it
    (commit, run, time): it goes into DVC's pointer, beside the hash and not into it.
    Raises `DataVersionError`, `DataVersionBusyError`, `PushError`.
    """
    from dvc.exceptions import DvcException

    directory = directory.absolute()
    if not directory.is_dir():
        raise DataVersionError(f"{directory} is not a folder: nothing to track")
    if not directory.is_relative_to(settings.home.absolute()):
        raise DataVersionError(f"{directory} is not in {settings.home}, where DVC keeps track")
    root = prepare_repository(settings, remote)
    with _open(root) as repo:
        try:
            stages = _waiting(repo, lambda: _add(repo, directory), wait_s)
        except DvcException as error:
            raise DataVersionError(f"cannot track {directory}: {_cause(error)}") from error
        out = stages[0].outs[0]
        files = sum(1 for path in directory.rglob("*") if path.is_file())
        if out.meta.nfiles != files:
            # A pattern in .dvcignore that hides files makes DVC record less than is there, without a word.
            raise DataVersionError(
                f"{directory} has {files} files, DVC sees {out.meta.nfiles}: check .dvcignore"
            )
        if provenance:
            _annotate(_pointer(directory), provenance)
        if push:
            try:
                _waiting(repo, lambda: repo.push(targets=[str(directory)], remote=REMOTE), wait_s)
            except (DvcException, ImportError, OSError) as error:
                url = remote or remote_url(settings)
                raise PushError(f"{out.hash_info.value} did not reach {url}: {_cause(error)}") from error
        return DataVersion(out.hash_info.value, directory, out.meta.size or 0, files, push)


def provenance_of(directory: Path) -> dict[str, str]:
    """What `track` was told of who made the version in `directory`; empty if nothing."""
    pointer = _pointer(directory.absolute())
    return dict(yaml.safe_load(pointer.read_text()).get("meta") or {}) if _is_pointer(pointer) else {}


def checkout(settings: Settings, version: str, directory: Path, *, wait_s: float = LOCK_WAIT_S) -> Path:
    """Put the version with this hash into `directory`, whole, from the cache or the remote; returns `directory`.

    What was there before is replaced. Raises `DataVersionMissingError`, `DataVersionBusyError`.
    """
    from dvc.exceptions import DvcException

    if not _HASH.fullmatch(version):
        raise DataVersionMissingError(f"{version!r} is not the hash of a version (<32 hex digits>.dir)")
    directory = directory.absolute()
    directory.parent.mkdir(parents=True, exist_ok=True)
    # A scratch repository beside it, on the same cache: the pointers of the real one stay as they are.
    with tempfile.TemporaryDirectory(prefix=".checkout-", dir=directory.parent) as name:
        scratch = Path(name)
        _write_repository(scratch, settings, None, state=scratch / "state")
        pointer = {"outs": [{"md5": version, "hash": "md5", "path": "data"}]}
        (scratch / "data.dvc").write_text(yaml.safe_dump(pointer))
        with _open(scratch) as repo:
            try:
                _waiting(repo, lambda: repo.pull(targets=[str(scratch / "data.dvc")], remote=REMOTE), wait_s)
            except (DvcException, OSError) as error:
                place = f"{settings.home / 'dvc_cache'} or {remote_url(settings)}"
                raise DataVersionMissingError(f"{version} is not in {place}: {_cause(error)}") from error
        with replace_folder(directory) as fresh:
            for child in (scratch / "data").iterdir():
                shutil.move(child, fresh / child.name)
    return directory


def prepare_repository(settings: Settings, remote: str | None = None) -> Path:
    """Make sure that DVC can work for this home; returns the repository's root. Writes only what differs."""
    root = repository_root(settings)
    home = settings.home.absolute()
    _write_repository(root, settings, remote, state=home / "dvc_state")
    if root == home:
        _write(root / ".dvcignore", _HOME_IGNORE)
        pipeline = PROJECT_ROOT / "dvc.yaml"
        if pipeline.is_file():
            _write(root / "dvc.yaml", _moved_pipeline(pipeline.read_text(), settings))
    return root


def _write_repository(root: Path, settings: Settings, remote: str | None, *, state: Path) -> None:
    from dvc.config import Config

    folder = root / ".dvc"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config").exists():
        _write(folder / "config", (PROJECT_ROOT / ".dvc" / "config").read_text())
    wanted = {
        "core": {"remote": REMOTE, "site_cache_dir": str(state)},
        "cache": {"dir": str(settings.home.absolute() / "dvc_cache")},
        "remote": {REMOTE: {"url": remote or remote_url(settings)}},
    }
    config = Config(str(folder), validate=False)
    if not _contains(config.load_one("local"), wanted):
        # What a person added there (credentials of the remote, say) stays.
        with config.edit("local", validate=False) as local:
            _merge(local, wanted)


def _moved_pipeline(text: str, settings: Settings) -> str:
    """The root's `dvc.yaml` for a repository in the home: `home` is here, the code is where the project is.

    The other variables that bear a setting's name get its value.
    """
    pipeline = yaml.safe_load(text)
    for entry in pipeline.get("vars", []):
        if isinstance(entry, dict):
            entry.update(
                {name: getattr(settings, name) for name in entry if name in type(settings).model_fields}
            )
            if "home" in entry:
                entry["home"] = "."
    for stage in pipeline.get("stages", {}).values():
        step = stage.get("do", stage)
        step["deps"] = [
            dependency if dependency.startswith("${home}") else str(PROJECT_ROOT / dependency)
            for dependency in step.get("deps", [])
        ]
    return "# Written from the project's dvc.yaml; edit that one.\n" + yaml.safe_dump(
        pipeline, sort_keys=False
    )


@contextmanager
def _open(root: Path) -> Iterator["Repo"]:
    from dvc.repo import Repo

    repo = Repo(str(root))
    try:
        yield repo
    finally:
        repo.close()


def _add(repo: "Repo", directory: Path) -> list[Any]:
    """`dvc add`; a pointer cut short by a killed process is written anew, since the folder says it all."""
    pointer = _pointer(directory)
    if pointer.exists() and not _is_pointer(pointer):
        pointer.unlink()
    return repo.add([str(directory)])


def _pointer(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.dvc")


def _annotate(pointer: Path, provenance: Mapping[str, str]) -> None:
    """The pointer's `meta`, which DVC keeps for its users."""
    content = yaml.safe_load(pointer.read_text())
    content["meta"] = dict(provenance)
    _write(pointer, yaml.safe_dump(content, sort_keys=False))


def _is_pointer(path: Path) -> bool:
    try:
        content = yaml.safe_load(path.read_text())
    except (FileNotFoundError, yaml.YAMLError, UnicodeDecodeError):
        return False
    return isinstance(content, dict) and bool(content.get("outs"))


def _waiting(repo: "Repo", action: Callable[[], T], wait_s: float) -> T:
    """Run `action`, again while another process holds DVC's lock (DVC itself gives up after 3 s)."""
    from dvc.lock import LockError
    from dvc.rwlock import RWLOCK_FILE, RWLockFileCorruptedError

    deadline = time.monotonic() + wait_s
    while True:
        try:
            return action()
        except RWLockFileCorruptedError:
            # Half-written by a process that was killed. It holds only who reads and writes now.
            with suppress(FileNotFoundError):
                (Path(str(repo.tmp_dir)) / RWLOCK_FILE).unlink()
        except LockError as error:
            if time.monotonic() >= deadline:
                raise DataVersionBusyError(
                    f"DVC in {repo.root_dir} is held by another process for over {wait_s:.0f} s: {error}"
                ) from error
            time.sleep(0.2)


def _cause(error: BaseException) -> str:
    """The messages down the chain, since DVC's outermost says little."""
    messages: list[str] = []
    current: BaseException | None = error
    while current is not None:
        if (text := str(current).strip()) and text not in messages:
            messages.append(text)
        current = current.__cause__
    return ": ".join(messages)


def _contains(config: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(
        _contains(config.get(key) or {}, value) if isinstance(value, dict) else config.get(key) == value
        for key, value in wanted.items()
    )


def _merge(config: dict[str, Any], wanted: dict[str, Any]) -> None:
    for key, value in wanted.items():
        if isinstance(value, dict):
            _merge(config.setdefault(key, {}), value)
        else:
            config[key] = value


def _write(path: Path, text: str) -> None:
    """Replace the file if its text differs, atomically."""
    if path.exists() and path.read_text() == text:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.replace(path)

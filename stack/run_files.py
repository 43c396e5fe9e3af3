"""The small files through which `up`, `down`, `status` and the supervisor meet, in `<home>/run`."""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from stack.settings import PROJECT_ROOT, Settings

MARKER = ".reelgraph-home"
# What we write into a home, also before `up` claims it: a folder with nothing else in it is ours to claim.
_OUR_NAMES = {
    *(
        "bentoml",
        "bundles",
        "clickhouse",
        "dagster",
        "dbt",
        "dvc_cache",
        "dvc_models",
        "dvc_state",
        "logs",
        "models",
    ),
    *("objects", "postgres", "redis", "reports", "run", "scratch", "source.json", "training_set"),
    *(".dvc", ".dvcignore", "dvc.lock", "dvc.yaml", "training_set.dvc"),
}
# Who only looks whether the lock is held holds it for a moment.
_LOOKERS_S = 1.0


class HomeNotOursError(Exception):
    """The home is a folder with other things in it; `reset` would delete them."""


class AlreadyRunningError(Exception):
    """Another supervisor serves this home."""


def run_dir(settings: Settings) -> Path:
    return settings.home / "run"


def claim_home(settings: Settings) -> None:
    """Make the home and mark it as ours, so that `reset` may delete it.

    Raises `HomeNotOursError` for a folder that holds something else, OSError where it can't be written. What our
    other commands may have written there before is nothing else: loading Dagster's definitions writes `dbt/`.
    """
    home = settings.home
    home.mkdir(parents=True, exist_ok=True)
    marker = home / MARKER
    if marker.exists():
        return
    ours_by_name = home == PROJECT_ROOT / ".reelgraph"
    foreign = sorted(path.name for path in home.iterdir() if not _is_our_name(path.name))
    if foreign and not ours_by_name:
        raise HomeNotOursError(
            f"REELGRAPH_HOME: {home} has other files in it ({foreign[0]}); name an empty or new folder"
        )
    marker.write_text("State of a reelgraph stack; `reelgraph reset` deletes this folder.\n")


def _is_our_name(name: str) -> bool:
    # Beside a folder that is replaced whole, `replace_folder` has `.<its name>.lock` and the like.
    return name in _OUR_NAMES or (name.startswith(".") and name.rpartition(".")[0][1:] in _OUR_NAMES)


def write_json(path: Path, value: Any) -> None:
    """Replace the file: a reader sees the old or the new one, never half."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value))
    temporary.replace(path)


def wanted_services(settings: Settings) -> list[str]:
    """Names the supervisor is asked to run; empty before the first `up`."""
    path = run_dir(settings) / "wanted.json"
    return list(json.loads(path.read_text())) if path.exists() else []


def want_services(settings: Settings, names: Sequence[str]) -> None:
    write_json(run_dir(settings) / "wanted.json", list(names))


def write_state(settings: Settings, state: dict[str, Any]) -> None:
    write_json(run_dir(settings) / "state.json", state)


def read_state(settings: Settings) -> dict[str, Any] | None:
    """What the running supervisor last said; None if none runs (or it has not spoken yet)."""
    pid = supervisor_pid(settings)
    path = run_dir(settings) / "state.json"
    if pid is None or not path.exists():
        return None
    state: dict[str, Any] = json.loads(path.read_text())
    return state if state["supervisor_pid"] == pid else None


def hold_supervisor_lock(settings: Settings) -> IO[str]:
    """Be the one supervisor of this home as long as the file is open; raises `AlreadyRunningError`."""
    file = (run_dir(settings) / "supervisor.lock").open("a+")
    deadline = time.monotonic() + _LOOKERS_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                file.close()
                raise AlreadyRunningError(f"a supervisor already serves {settings.home}") from error
            time.sleep(0.02)
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()
    return file


def supervisor_pid(settings: Settings) -> int | None:
    """Pid of the supervisor that holds the lock, None if nobody does; the kernel drops a dead one's lock."""
    path = run_dir(settings) / "supervisor.lock"
    if not path.exists():
        return None
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = file.read().strip()
            return int(text) if text else None
    return None


@contextmanager
def only_one_at_a_time(settings: Settings) -> Iterator[None]:
    """`up`, `down` and `reset` of one home take turns."""
    run_dir(settings).mkdir(parents=True, exist_ok=True)
    with (run_dir(settings) / "command.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

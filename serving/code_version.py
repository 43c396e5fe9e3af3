"""Which code a bundle was made with, and which files the endpoint consists of."""

import hashlib
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from serving.own_imports import needed_files
from stack.settings import PROJECT_ROOT

SERVICE_MODULE = "serving.service"


class CodeVersion(BaseModel):
    """`sha256` is over the endpoint's files; `git_commit` is None outside a repository."""

    model_config = ConfigDict(frozen=True)

    package: str
    git_commit: str | None
    sha256: str


@lru_cache(maxsize=1)
def source_files() -> list[Path]:
    """The code the endpoint needs, relative to the project root: its service and all of ours that it imports."""
    return needed_files(SERVICE_MODULE, PROJECT_ROOT)


def code_version() -> CodeVersion:
    digest = hashlib.sha256()
    for path in source_files():
        digest.update(f"{path}\0".encode())
        digest.update(hashlib.sha256((PROJECT_ROOT / path).read_bytes()).digest())
    try:
        package = version("reelgraph")
    except PackageNotFoundError:  # inside a Bento the code lies there without being installed
        package = "unknown"
    return CodeVersion(package=package, git_commit=_git_commit(), sha256=digest.hexdigest())


def _git_commit() -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(PROJECT_ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10
        )
    except OSError:  # no git here
        return None
    return done.stdout.strip() if done.returncode == 0 else None

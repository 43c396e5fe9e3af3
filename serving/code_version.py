"""Which code a bundle was made with, and which files the endpoint consists of."""

import hashlib
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from serving.packaging import carried
from stack.settings import PROJECT_ROOT


class CodeVersion(BaseModel):
    """`sha256` is over the endpoint's files; `git_commit` is None outside a repository."""

    model_config = ConfigDict(frozen=True)

    package: str
    git_commit: str | None
    sha256: str


def source_files() -> list[Path]:
    """The code the endpoint needs, relative to the project root: serving/, and the parts of ml/ and stack/ it uses."""
    serving = [
        p for p in (PROJECT_ROOT / "serving").rglob("*") if p.is_file() and "__pycache__" not in p.parts
    ]
    others = [PROJECT_ROOT / "ml" / f"{name}.py" for name in ("__init__", *carried(PROJECT_ROOT / "ml"))]
    others += [
        PROJECT_ROOT / "stack" / f"{name}.py" for name in ("__init__", "settings", "clients", "erased_users")
    ]
    return sorted(path.relative_to(PROJECT_ROOT) for path in serving + others)


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

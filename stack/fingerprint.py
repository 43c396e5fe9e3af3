"""Which code and settings a stack was started with: short hashes, to tell when those of now are others."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from stack.run_files import read_state
from stack.setting_values import without_credentials
from stack.settings import PROJECT_ROOT, Settings

PACKAGES = ("stack", "ingestion", "data_quality", "ml", "serving", "orchestration", "dbt_project")
_SUFFIXES = {".py", ".sql", ".yml", ".yaml"}
# dbt writes these into its project.
_MADE = {"target", "logs", "dbt_packages", "__pycache__"}


def fingerprint(settings: Settings, root: Path = PROJECT_ROOT) -> dict[str, str]:
    """`settings` and `code`, each 16 hex digits."""
    return {"settings": settings_hash(settings), "code": code_hash(root)}


def settings_hash(settings: Settings) -> str:
    """Of every setting a service may see; without user and password, which a hash of so few would give away."""
    lines = []
    for name in sorted(type(settings).model_fields):
        if name == "test_data":
            continue
        value = str(getattr(settings, name))
        lines.append(f"{name}={without_credentials(value) if '://' in value else value}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def code_hash(root: Path) -> str:
    """Of names and contents, not of times: a checkout and back is no change. About 30 ms."""
    digest = hashlib.sha256()
    for path in sorted(_sources(root)):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root)}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _sources(root: Path) -> Iterator[Path]:
    yield from root.glob("*.yaml")
    for package in PACKAGES:
        for folder, folders, names in os.walk(root / package):
            folders[:] = [name for name in folders if name not in _MADE]
            yield from (Path(folder, name) for name in names if Path(name).suffix in _SUFFIXES)


def outdated(settings: Settings) -> str:
    """One line if the running stack was started with other settings or code than there are now, else ''."""
    state = read_state(settings)
    if state is None:
        return ""
    then, now = state.get("fingerprint", {}), fingerprint(settings)
    found = [what for what in ("settings", "code") if then.get(what) != now[what]]
    what = " and ".join(found)
    return (
        f"running with other {what} than now: `reelgraph down && reelgraph up` applies them" if found else ""
    )

"""Code versions that follow the code: an asset is out of date when the package that computes it has changed."""

import hashlib
from functools import lru_cache

from stack.settings import PROJECT_ROOT


@lru_cache
def code_version(*packages: str) -> str:
    """A short hash of every source file of the named top-level packages or single files (paths from the root)."""
    digest = hashlib.sha256()
    for name in packages:
        root = PROJECT_ROOT / name
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            digest.update(path.relative_to(PROJECT_ROOT).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]

"""Which files of ours a module needs to run: what it imports, at its top or later, and so on, and the data beside."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

# `orchestration` is not among them: nothing below it may import it.
PACKAGES = ("serving", "ingestion", "data_quality", "ml", "stack")


def needed_files(entry: str, root: Path) -> list[Path]:
    """The files, relative to `root`, of module `entry` and of all that it imports of `PACKAGES` there.

    Modules imported for type checkers alone are left out. Of a package that is needed, files that are no Python (SQL,
    pages) come too."""
    found: set[Path] = set()
    waiting = [entry]
    while waiting:
        module = waiting.pop()
        path = _file_of(module, root)
        if path is None or path in found:  # None: a name in a module, not a module
            continue
        found.add(path)
        package, _, _ = module.rpartition(".")
        waiting += [package] if package else []
        waiting += imports(root / path)
    data = {file for path in found if path.name == "__init__.py" for file in _data_beside(root / path.parent)}
    return sorted(found | {file.relative_to(root) for file in data})


def imports(source: Path) -> list[str]:
    """What a file imports of `PACKAGES`: modules, and names in them, which may be modules too."""
    names = []
    for node in _statements([ast.parse(source.read_text("utf-8"))]):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif node.module and not node.level:  # relative imports are refused by our linter
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.partition(".")[0] in PACKAGES]


def _statements(nodes: Iterable[ast.AST]) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from _statements(node.orelse)
        else:
            yield from _statements(ast.iter_child_nodes(node))


def _file_of(module: str, root: Path) -> Path | None:
    path = Path(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if (root / candidate).is_file():
            return candidate
    return None


def _data_beside(package: Path) -> Iterator[Path]:
    """Files that are no Python in a package's folder, and in folders below it that hold no Python."""
    for path in package.iterdir():
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            yield path
        elif path.is_dir() and path.name != "__pycache__" and not any(path.rglob("*.py")):
            yield from (file for file in path.rglob("*") if file.is_file())

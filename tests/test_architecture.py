"""The arrows between packages point down, and each heavy library is imported where it belongs."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "stack": set(),
    "ml": set(),
    "data_quality": {"stack"},
    "ingestion": {"stack", "data_quality"},
    "serving": {"stack", "ml", "data_quality", "ingestion"},
    "orchestration": {"stack", "ml", "data_quality", "ingestion", "serving"},
}
ONLY_IN = {
    "dagster": ["orchestration/"],
    "dagster_dbt": ["orchestration/"],
    "evidently": ["data_quality/drift.py"],
    "great_expectations": ["data_quality/"],
    "mlflow": ["serving/"],
    "bentoml": ["serving/"],
    "torch": ["ml/"],
    "chdb": ["stack/clickhouse/", "stack/bench/"],
}


def imports(path: Path) -> Iterator[str]:
    """Top-level names imported anywhere in the file, lazily too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


def sources() -> list[Path]:
    return sorted(p for package in MAY_IMPORT for p in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / package).rglob("*.py")
        for name in imports(path)
        if name in MAY_IMPORT and name not in allowed
    }
    assert wrong == set()


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    wrong = {
        str(path.relative_to(ROOT))
        for path in sources()
        if library in imports(path)
        and not any(str(path.relative_to(ROOT)).startswith(place) for place in ONLY_IN[library])
    }
    assert wrong == set()


def test_the_environment_is_read_in_the_settings_only() -> None:
    """Processes' own environments are passed on, never consulted for a value."""
    readers = {
        str(path.relative_to(ROOT))
        for path in sources()
        if "os.getenv" in path.read_text() or "os.environ[" in path.read_text()
    }
    torchrun = "ml/distributed.py"  # torch's launcher says rank and world size there, and nowhere else
    assert readers <= {"stack/settings.py", "orchestration/dbt.py", torchrun}


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    long = {str(p.relative_to(ROOT)): n for p in sources() if (n := len(p.read_text().splitlines())) > 400}
    assert long == {}

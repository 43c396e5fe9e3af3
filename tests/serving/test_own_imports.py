"""A Bento holds what the endpoint needs and nothing it does without: it starts where reelgraph is not installed."""

import ast
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import httpx
import pytest

from serving import bento, bundle
from serving.code_version import SERVICE_MODULE, source_files
from serving.own_imports import PACKAGES, needed_files
from stack.settings import PROJECT_ROOT, Settings, child_environment

from .conftest import answers, stop, tiny_pack, wait_for

# What carried modules import inside functions that the endpoint never calls: packing, logging a model, migrating.
_NOT_OF_THE_ENDPOINT = {"alembic", "mlflow", "pandas", "pyarrow", "scipy"}

# As in a place where neither reelgraph nor those are installed: Python runs this first in every process of the Bento.
_HIDES_THE_PROJECT = """
import sys
class NotInstalled:
    def find_spec(name, path=None, target=None):
        if name in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path[:] = [NotInstalled, *(finder for finder in sys.meta_path if "editable" not in repr(finder))]
sys.path[:] = [place for place in sys.path if place != {root!r}]
"""


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_what_is_imported_at_the_top_or_later_comes_with_its_packages_and_their_data(tmp_path):
    root = _write(
        tmp_path,
        {
            "serving/__init__.py": "",
            "serving/service.py": "from serving import helper\nimport numpy\nfrom stack.settings import name",
            "serving/helper.py": "def later():\n    from ml.deep.module import thing",
            "serving/unused.py": "",
            "serving/static/page/index.html": "<p>",
            "ml/__init__.py": "",
            "ml/deep/__init__.py": "",
            "ml/deep/module.py": "thing = 1",
            "ml/deep/query.sql": "SELECT 1",
            "ml/bench/run.py": "",
            "ml/bench/data.csv": "1",
            "stack/__init__.py": "",
            "stack/settings.py": "import stack.values as values",
            "stack/values.py": "",
            "orchestration/__init__.py": "",
        },
    )
    assert [str(path) for path in needed_files("serving.service", root)] == [
        "ml/__init__.py",
        "ml/deep/__init__.py",
        "ml/deep/module.py",
        "ml/deep/query.sql",
        "serving/__init__.py",
        "serving/helper.py",
        "serving/service.py",
        "serving/static/page/index.html",
        "stack/__init__.py",
        "stack/settings.py",
        "stack/values.py",
    ]


def test_what_only_a_type_checker_imports_stays(tmp_path):
    text = "if TYPE_CHECKING:\n    import ml.a\nelse:\n    import ml.b\ntry:\n    import ml.c\nfinally:\n    pass"
    root = _write(tmp_path, {f"ml/{name}.py": "" for name in "abc"} | {"serving/service.py": text})
    assert [str(p) for p in needed_files("serving.service", root)] == [
        "ml/b.py",
        "ml/c.py",
        "serving/service.py",
    ]


def test_the_endpoint_carries_no_bench_no_training_and_no_orchestration():
    names = {str(path) for path in source_files()}
    assert {"serving/service.py", "stack/setting_values.py", "serving/static/docs.html"} <= names
    assert not [n for n in names if "bench" in n or n.startswith(("orchestration", "tests"))]
    assert not {"ml/fit.py", "ml/dataset.py", "serving/registry/registry.py", "stack/supervisor.py"} & names


def test_every_package_the_endpoint_imports_is_among_its_requirements():
    required = {name.lower() for name in bento.ENDPOINT_REQUIREMENTS}
    of_module = packages_distributions()
    missing = {}
    for path in source_files():
        if path.suffix != ".py":
            continue
        for node in ast.walk(ast.parse((PROJECT_ROOT / path).read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in {name.partition(".")[0] for name in names}:
                if name in {*sys.stdlib_module_names, *PACKAGES, *_NOT_OF_THE_ENDPOINT, "__future__"}:
                    continue
                if not {d.lower().replace("_", "-") for d in of_module[name]} & required:
                    missing[name] = str(path)
    assert missing == {}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_bento_answers_where_reelgraph_is_not_installed(tmp_path, home: Settings):
    record = tiny_pack(tmp_path / "packed")
    context = tmp_path / "a bento"
    context.mkdir()
    bento._lay_out(context, tmp_path / "packed", record)
    hides = _HIDES_THE_PROJECT.format(
        root=str(PROJECT_ROOT), absent=sorted({*_NOT_OF_THE_ENDPOINT, "torch", "dagster", "sklearn"})
    )
    hidden = _write(tmp_path / "hidden", {"sitecustomize.py": hides})
    env = {**child_environment(home), "PYTHONPATH": str(hidden)}

    def ran(code: str, cwd: Path) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, "-c", code], env=env, cwd=cwd, capture_output=True, text=True)

    assert "No module named 'serving'" in ran("import serving.service", tmp_path).stderr
    assert "No module named 'scipy'" in ran("import scipy.sparse", tmp_path).stderr
    said = ran(
        "import sys; import serving.code_version as c; import serving.service; print(c.code_version().sha256);"
        f"print({{m.__file__ for n, m in sys.modules.items() if n.partition('.')[0] in {PACKAGES}}})",
        context,
    )
    assert said.returncode == 0, said.stderr
    sha256, places = said.stdout.splitlines()
    assert sha256 == record.code.sha256
    assert all(place.startswith(str(context)) for place in ast.literal_eval(places))

    log = tmp_path / "endpoint.log"
    address = ("--host", "127.0.0.1", "--port", str(home.endpoint_port), "--working-dir", str(context))
    with log.open("wb") as output:
        command = [sys.executable, "-m", "bentoml", "serve", bento.SERVICE, *address]
        process = subprocess.Popen(
            command, cwd=context, env=env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_for(lambda: answers(f"{home.endpoint_url}/health/ready"), log.read_text())
        feed = httpx.get(
            f"{home.endpoint_url}/api/v1/recommendations/feed",
            params={"user_id": "ann", "limit": 3},
            timeout=20,
        )
        page = httpx.get(f"{home.endpoint_url}/openapi.json", timeout=20)
    finally:
        stop(process)
    assert [item["video_id"] for item in feed.json()["items"]] != []
    assert feed.json()["bundle"] == record.bundle_id
    assert page.status_code == 200
    assert "Traceback" not in log.read_text()
    assert bundle.verify(context / bento.BUNDLE_FOLDER).bundle_id == record.bundle_id
    assert bento.SERVICE.partition(":")[0] == SERVICE_MODULE

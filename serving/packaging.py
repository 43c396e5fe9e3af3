"""A saved model as an MLflow model folder: code, arrays, signature, example, pinned requirements."""

import ast
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

REQUIREMENTS = ("mlflow", "numpy", "pandas", "scipy")
# What reads a saved model and asks it; a test loads a logged model with nothing else of ours at hand.
ENTRY = "saved"


def requirements(packages: tuple[str, ...] = REQUIREMENTS) -> list[str]:
    """`name==version` of each, as installed here (without a local part such as `+cpu`)."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in packages]


def carried(package: Path) -> list[str]:
    """The modules of `ml` that a saved model needs: `ENTRY` and what it imports, at its top or later, and so on."""
    found, waiting = set(), [ENTRY]
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        for node in ast.walk(ast.parse((package / f"{module}.py").read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"ml.{a.name}" for a in node.names] if node.module == "ml" else [node.module]
                waiting += [name.removeprefix("ml.") for name in names if name.startswith("ml.")]
    return sorted(found)


def save_pyfunc(target: Path, model_dir: Path, *, run_id: str | None, model_id: str | None) -> Path:
    """Write the MLflow model folder `target` around the folder `model_dir` that `Recommender.save` wrote.

    It carries the few modules of `ml` it needs, so that it loads where reelgraph is not installed, and nothing pickled.
    """
    import pandas as pd
    from mlflow.models import Model, ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import ColSpec, DataType, Schema

    import ml.saved

    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "user_id"), ColSpec(DataType.long, "k", required=False)]),
        outputs=Schema(
            [
                ColSpec(DataType.string, "user_id"),
                ColSpec(DataType.long, "rank"),
                ColSpec(DataType.string, "video_id"),
                ColSpec(DataType.double, "score"),
            ]
        ),
    )
    known = ml.saved.load(model_dir).user_ids
    example = pd.DataFrame({"user_id": [str(known[0]) if len(known) else "nobody"], "k": [10]})
    with tempfile.TemporaryDirectory(prefix="reelgraph-code-") as scratch:
        package = Path(scratch) / "ml"
        package.mkdir()
        (package / "__init__.py").write_text(
            '"""What a logged recommender needs of reelgraph\'s ml package."""\n'
        )
        ours = Path(ml.saved.__file__).parent
        for module in carried(ours):
            shutil.copy(ours / f"{module}.py", package)
        # MLflow names an artifact's folder after where it came from.
        factors = shutil.copytree(model_dir, Path(scratch) / "factors")
        save_model(
            target,
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={"factors": str(factors)},
            code_paths=[str(package)],
            signature=signature,
            input_example=example,
            pip_requirements=requirements(),
            mlflow_model=Model(run_id=run_id, model_id=model_id, model_uuid=model_id),
        )
    for cache in target.rglob("__pycache__"):
        shutil.rmtree(cache)
    return target

"""Where a registered version comes from, as tags: data, code, transformations, run, recipe, environment."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import distributions

# What a person wants to see at a glance; the whole list is an artifact of the training's run.
SHOWN_PACKAGES = (
    "numpy",
    "scipy",
    "numba",
    "scikit-learn",
    "implicit",
    "torch",
    "mlflow",
    "dagster",
    "dbt-core",
)

SHA256_TAG = "training_set_sha256"
COLUMNS_TAG = "training_columns"
COLUMN_NAMES_TAG = "training_column_names"
NEWEST_TAG = "trained_up_to_ms"
RECIPE_TAG = "recipe"
COMMIT_TAG = "git_commit"
DBT_TAG = "dbt_invocation_id"


@lru_cache
def environment() -> Mapping[str, str]:
    """`{package: version}` of all that is installed, sorted, and `python`."""
    found = {dist.metadata["Name"].lower(): dist.version for dist in distributions() if dist.metadata["Name"]}
    return {"python": platform.python_version(), **dict(sorted(found.items()))}


@dataclass(frozen=True)
class Lineage:
    """`training_set_sha256` and `training_columns` are hashes of the set's bytes and of its columns,
    `training_column_names` a JSON list of the latter (`ml.gate_schema.column_names`), `recipe` is JSON
    (`ml.gate_recipe.Recipe`), `trained_up_to_ms` the start of its newest row; None where it is not known."""

    training_set_sha256: str | None = None
    training_columns: str | None = None
    training_column_names: str | None = None
    trained_up_to_ms: int | None = None
    recipe: str | None = None
    git_commit: str | None = None
    code_sha256: str | None = None
    dbt_invocation_id: str | None = None

    def tags(self) -> dict[str, str]:
        """What is known, with the environment of this process."""
        installed = environment()
        packages = [f"{name}=={installed[name]}" for name in SHOWN_PACKAGES if name in installed]
        return {
            **{name: str(value) for name, value in vars(self).items() if value is not None},
            "python": installed["python"],
            "packages": " ".join(packages),
            "environment_sha256": hashlib.sha256(json.dumps(dict(installed)).encode()).hexdigest(),
        }

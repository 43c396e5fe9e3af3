"""The dbt project as Dagster sees it: where it is, how its nodes are named, what it is called with."""

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtCliResource, DbtProject

from stack.dbt_environment import dbt_environment
from stack.settings import PROJECT_ROOT, Settings

PROJECT_DIR = PROJECT_ROOT / "dbt_project"


class ReelgraphTranslator(DagsterDbtTranslator):
    """A dbt source is the asset that fills it; every model is a noun of the graph, in the group `features`."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        return dg.AssetKey(dbt_resource_props["name"])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        return "features" if dbt_resource_props["resource_type"] == "model" else None

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        return ["team:data"]


@lru_cache(maxsize=1)
def dbt_project(settings: Settings) -> DbtProject:
    """The project with an up-to-date manifest. Its target folder lies in the home, so stacks don't share one."""
    # dagster-dbt finds the target folder, and dbt its profile's values, in the environment of this process.
    os.environ.update(dbt_environment(settings))
    target = Path(os.environ["DBT_TARGET_PATH"])
    project = DbtProject(project_dir=PROJECT_DIR, profiles_dir=PROJECT_DIR, target_path=target)
    if not project.manifest_path.exists() or project.manifest_path.stat().st_mtime < _newest_source():
        project.preparer.prepare(project)
    return project


def dbt_resource(settings: Settings) -> DbtCliResource:
    return DbtCliResource(project_dir=dbt_project(settings))


def _newest_source() -> float:
    files = (p for p in PROJECT_DIR.rglob("*") if p.suffix in {".sql", ".yml", ".yaml", ".csv"})
    return max(p.stat().st_mtime for p in files if "target" not in p.parts)

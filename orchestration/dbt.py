"""The dbt project as Dagster sees it: where it is, how its nodes are named, what it is called with."""

import json
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtCliResource, DbtProject
from dagster_dbt.asset_utils import get_asset_check_key_for_test

from orchestration.resources import Stores
from stack.dbt_environment import dbt_environment
from stack.settings import PROJECT_ROOT, Settings

PROJECT_DIR = PROJECT_ROOT / "dbt_project"
TRAINING_TAG = "training"
"""Of models that only a training set needs: they are built for one, not every hour."""
WHOLE_TABLE_TAG = "whole_table"
"""Of tests that read a table as large as the events: minutes at the planned volume, so they run daily."""
# A view is counted by computing it. This one costs a scan of a column of one byte; those on the events, a pass over
# all events.
COUNTED_VIEWS = frozenset({"watch_sessions"})
RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)


class ReelgraphTranslator(DagsterDbtTranslator):
    """A dbt source is the asset that fills it; every model is a noun of the graph, in the group of its stage."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        return dg.AssetKey(dbt_resource_props["name"])

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        if dbt_resource_props["resource_type"] != "model":
            return None
        return "training" if TRAINING_TAG in dbt_resource_props["tags"] else "features"

    def get_owners(self, dbt_resource_props: Mapping[str, Any]) -> list[str]:
        return ["team:data"]

    def get_asset_check_spec(
        self,
        asset_spec: dg.AssetSpec,
        manifest: Mapping[str, Any],
        unique_id: str,
        project: DbtProject | None,
    ) -> dg.AssetCheckSpec | None:
        """A check with the words of its test: the YAML's description, or the comment that a test in SQL begins with."""
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        return spec and spec._replace(description=words_of(manifest["nodes"][unique_id]))


def words_of(test: Mapping[str, Any]) -> str | None:
    """What a dbt test says of itself; None where its name says it all."""
    comment = takewhile(lambda line: line.startswith("--"), test["raw_code"].splitlines())
    return test["description"] or " ".join(line.removeprefix("--").strip() for line in comment) or None


@lru_cache(maxsize=1)
def dbt_project(settings: Settings) -> DbtProject:
    """The project with an up-to-date manifest. Its target folder lies in the home, so stacks don't share one."""
    # dagster-dbt finds the target folder, and dbt its profile's values, in the environment of this process.
    os.environ.update(dbt_environment(settings))
    # Who materializes one model runs its tests, not those that also concern models built some other time.
    os.environ["DBT_INDIRECT_SELECTION"] = "buildable"
    target = Path(os.environ["DBT_TARGET_PATH"])
    project = DbtProject(project_dir=PROJECT_DIR, profiles_dir=PROJECT_DIR, target_path=target)
    if not project.manifest_path.exists() or project.manifest_path.stat().st_mtime < _newest_source():
        project.preparer.prepare(project)
    return project


@lru_cache(maxsize=1)
def dbt_manifest(settings: Settings) -> dict[str, Any]:
    """The project's manifest, in which dagster-dbt (0.29) can evaluate selectors that say `buildable`: for that dbt
    asks a node for `depends_on_nodes`, a property of dbt's own class that the JSON does not spell out."""
    manifest: dict[str, Any] = json.loads(dbt_project(settings).manifest_path.read_bytes())
    for node in manifest["nodes"].values():
        node["depends_on_nodes"] = node["depends_on"].get("nodes", [])
    return manifest


def dbt_resource(settings: Settings) -> DbtCliResource:
    return DbtCliResource(project_dir=dbt_project(settings))


def variables(settings: Settings, more: Mapping[str, object] | None = None) -> list[str]:
    """The arguments that hand the settings to dbt, and `more`."""
    return ["--vars", json.dumps({"feature_window_days": settings.feature_window_days, **(more or {})})]


def build(
    context: dg.AssetExecutionContext,
    dbt: DbtCliResource,
    stores: Stores,
    more_variables: Mapping[str, object] | None = None,
) -> Iterator[object]:
    """`dbt build` of what the run selected of an op's models and tests; what was built says how many rows it has."""
    # Unit tests judge the SQL, not the data: they belong to `make test`.
    arguments = ["build", "--exclude-resource-type", "unit_test", *variables(stores.settings, more_variables)]
    uncounted = views(stores.settings) - COUNTED_VIEWS
    for event in dbt.cli(arguments, context=context).stream():
        yield with_row_count(event, stores, uncounted)


def with_row_count(event: object, stores: Stores, uncounted: frozenset[str] = frozenset()) -> object:
    """The same event; a materialized model not in `uncounted` also says how many rows it has."""
    if not isinstance(event, dg.Output):
        return event
    model = event.output_name.split("__")[-1]
    if model in uncounted:
        return event
    return dg.Output(
        event.value,
        output_name=event.output_name,
        metadata={**event.metadata, "dagster/row_count": stores.row_count(model)},
        data_version=event.data_version,
    )


def whole_table_checks(settings: Settings) -> list[dg.AssetCheckKey]:
    """The checks tagged `whole_table`, except those of models for training, which are tested when they are built."""
    manifest, translator = dbt_manifest(settings), ReelgraphTranslator()
    tagged = [name for name, node in manifest["nodes"].items() if WHOLE_TABLE_TAG in node["tags"]]
    keys = [get_asset_check_key_for_test(manifest, translator, name, project=None) for name in tagged]
    nodes = manifest["nodes"].values()
    training = {n["name"] for n in nodes if n["resource_type"] == "model" and TRAINING_TAG in n["tags"]}
    return [key for key in keys if key and key.asset_key.path[-1] not in training]


def views(settings: Settings) -> frozenset[str]:
    """The names of the models that are views."""
    nodes = [node for node in dbt_manifest(settings)["nodes"].values() if node["resource_type"] == "model"]
    return frozenset(node["name"] for node in nodes if node["config"]["materialized"] == "view")


def _newest_source() -> float:
    files = (p for p in PROJECT_DIR.rglob("*") if p.suffix in {".sql", ".yml", ".yaml", ".csv"})
    return max(p.stat().st_mtime for p in files if "target" not in p.parts)

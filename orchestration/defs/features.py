"""Features: dbt turns events into sessions, features and interactions; every dbt test is an asset check."""

import json
from collections.abc import Iterator

import dagster as dg
from dagster_dbt import DbtCliResource, dbt_assets

from orchestration.dbt import ReelgraphTranslator, dbt_project
from orchestration.pools import WAREHOUSE
from orchestration.resources import Stores
from stack.settings import load_settings


@dg.definitions
def features() -> dg.Definitions:
    project = dbt_project(load_settings())

    @dbt_assets(
        manifest=project.manifest_path,
        name="warehouse_models",
        dagster_dbt_translator=ReelgraphTranslator(),
        pool=WAREHOUSE,
        retry_policy=dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL),
    )
    def warehouse_models(
        context: dg.AssetExecutionContext, dbt: DbtCliResource, stores: Stores
    ) -> Iterator[object]:
        variables = json.dumps({"feature_window_days": stores.settings.feature_window_days})
        # Unit tests judge the SQL, not the data: they belong to `make test`.
        arguments = ["build", "--exclude-resource-type", "unit_test", "--vars", variables]
        for event in dbt.cli(arguments, context=context).stream():
            yield with_row_count(event, stores)

    return dg.Definitions(assets=[warehouse_models])


def with_row_count(event: object, stores: Stores) -> object:
    """The same event; a materialized model also says how many rows it has."""
    if not isinstance(event, dg.Output):
        return event
    rows = stores.row_count(event.output_name.split("__")[-1])
    return dg.Output(
        event.value,
        output_name=event.output_name,
        metadata={**event.metadata, "dagster/row_count": rows},
        data_version=event.data_version,
    )

"""Features: dbt turns events into sessions and sessions into features; every dbt test is an asset check.

Two ops, each a selector of dbt_project/selectors.yml: what the 5-minute job needs, and what is made of it. A check
that blocks between them keeps bad sessions out of the features, and a retry of one does not repeat the other.
"""

from collections.abc import Iterator

import dagster as dg
from dagster_dbt import DbtCliResource, dbt_assets

from orchestration.dbt import RETRY, ReelgraphTranslator, build, dbt_manifest
from orchestration.pools import WAREHOUSE
from orchestration.resources import Stores
from stack.settings import load_settings


@dg.definitions
def features() -> dg.Definitions:
    manifest = dbt_manifest(load_settings())
    return dg.Definitions(
        assets=[
            dbt_assets(
                manifest=manifest,
                selector=selector,
                name=selector,
                dagster_dbt_translator=ReelgraphTranslator(),
                pool=WAREHOUSE,
                retry_policy=RETRY,
            )(build_models)
            for selector in ("session_models", "feature_models")
        ]
    )


def build_models(context: dg.AssetExecutionContext, dbt: DbtCliResource, stores: Stores) -> Iterator[object]:
    yield from build(context, dbt, stores)

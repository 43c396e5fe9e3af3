"""Features: dbt turns events into sessions and sessions into features; every dbt test is an asset check.

Two ops, each a selector of dbt_project/selectors.yml: what the 5-minute job needs, and what is made of it. A check
that blocks between them keeps bad sessions out of the features, and a retry of one does not repeat the other.
"""

from collections.abc import Iterator

import dagster as dg
from dagster_dbt import DbtCliResource, dbt_assets

from ingestion.journal import data_clock
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
            )(function)
            for selector, function in (
                ("session_models", build_session_models),
                ("feature_models", build_feature_models),
            )
        ]
    )


def build_session_models(
    context: dg.AssetExecutionContext, dbt: DbtCliResource, stores: Stores
) -> Iterator[object]:
    yield from build(context, dbt, stores)


def build_feature_models(
    context: dg.AssetExecutionContext, dbt: DbtCliResource, stores: Stores
) -> Iterator[object]:
    # One clock for all of them: events that arrive meanwhile, across midnight say, must not part their windows.
    with stores.clickhouse() as client:
        now = data_clock(client)
    yield from build(context, dbt, stores, {"as_of": f"{now:%Y-%m-%d %H:%M:%S}.{now.microsecond // 1000:03}"})

"""Serving: the promoted models become a bundle, and the running endpoint takes it up without a restart."""

import dagster as dg

from data_quality.training_set import fetch_catalogue, watched_pairs
from orchestration.bundling import build_bundle, wait_until_served
from orchestration.code_versions import code_version
from orchestration.metadata import markdown_table
from orchestration.records import ServingBundle
from orchestration.resources import Stores


@dg.asset(
    group_name="serving",
    kinds={"bentoml"},
    owners=["team:serving"],
    deps=["watch_sessions", "stg_videos", "promotion_decision"],
    code_version=code_version("serving", "orchestration/bundling.py"),
    retry_policy=dg.RetryPolicy(max_retries=2, delay=5),
)
def serving_bundle(context: dg.AssetExecutionContext, stores: Stores) -> dg.Output[ServingBundle]:
    """A Bento with the models the aliases point to *now*, id maps, the seen filter, and the record of its making.

    The aliases decide, not the last training run: a promotion or rollback by hand is served by building again."""
    with stores.clickhouse() as client:
        catalogue, watched = fetch_catalogue(client), watched_pairs(client)
    bundle = build_bundle(stores.settings, catalogue, watched, dagster_run_id=context.run_id)
    return dg.Output(
        ServingBundle(
            tag=bundle.tag,
            bundle_id=bundle.record.bundle_id,
            champion_version=bundle.champion_version,
            champion_kind=bundle.record.champion,
        ),
        metadata={
            "bento": bundle.tag,
            "bundle": bundle.record.bundle_id,
            "champion": f"{bundle.record.champion}, version {bundle.champion_version}",
            "models": markdown_table(bundle.table()),
            "videos": catalogue.num_rows,
            "watched pairs": watched.num_rows,
            "size (MB)": round(bundle.bytes / 1e6, 1),
        },
    )


@dg.asset_check(asset=serving_bundle, description="The running endpoint answers from this bundle.")
def endpoint_serves_bundle(stores: Stores, serving_bundle: ServingBundle) -> dg.AssetCheckResult:
    served, seconds = wait_until_served(stores.settings, serving_bundle.bundle_id, timeout_s=30)
    return dg.AssetCheckResult(
        passed=served == serving_bundle.bundle_id,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "endpoint": stores.settings.endpoint_url,
            "answers from": served or "nothing (is the endpoint running?)",
            "seconds until taken up": round(seconds, 1),
        },
    )

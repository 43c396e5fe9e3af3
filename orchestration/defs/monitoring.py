"""Monitoring: has what people do moved away from what the models were trained on?"""

import dagster as dg
from dagster import MetadataValue

from orchestration.code_versions import code_version
from orchestration.files import keep_newest
from orchestration.metadata import latest_metadata, markdown_table
from orchestration.resources import Stores

KEPT_REPORTS = 100  # of about 4 MB


@dg.asset(
    group_name="monitoring",
    kinds={"evidently"},
    owners=["team:ml"],
    deps=["watch_sessions", "stg_videos"],
    code_version=code_version("data_quality/drift.py"),
)
def drift_report(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult:
    """Evidently: watch sessions of the last days against the weeks before. The HTML is kept per run."""
    from data_quality.behaviour import fetch_behaviour
    from data_quality.drift import drift_report as compare
    from data_quality.training_set import data_clock, iso_ms

    out = stores.settings.home / "reports" / f"drift-{context.run_id}.html"
    out.parent.mkdir(parents=True, exist_ok=True)
    with stores.clickhouse() as client:
        as_of = data_clock(client)
        behaviour = fetch_behaviour(client, as_of=as_of)
    result = compare(behaviour.reference, behaviour.current, out)
    keep_newest(out.parent, KEPT_REPORTS)
    return dg.MaterializeResult(
        metadata={
            "drifted": result.drifted,
            "share of drifted columns": round(result.share, 3),
            "as of": iso_ms(as_of),
            "columns": markdown_table([vars(column) for column in result.columns]),
            "report": MetadataValue.path(str(result.html)),
            "reference": f"{behaviour.reference_window}, {result.reference_rows} sessions",
            "current": f"{behaviour.current_window}, {result.current_rows} sessions",
        }
    )


@dg.asset_check(asset=drift_report, description="What people do looks like what the models were trained on.")
def behaviour_has_not_drifted(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    metadata = latest_metadata(context.instance, "drift_report")
    if metadata is None:
        raise dg.Failure("drift_report has not been materialized yet")
    return dg.AssetCheckResult(
        passed=not metadata["drifted"].value,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"share of drifted columns": metadata["share of drifted columns"].value},
    )

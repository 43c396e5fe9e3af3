"""Monitoring: has what people do moved away from what the models were trained on?"""

from datetime import datetime
from typing import TYPE_CHECKING

import dagster as dg
from dagster import MetadataValue

from orchestration.code_versions import code_version
from orchestration.files import keep_newest
from orchestration.metadata import latest_metadata, markdown_table
from orchestration.resources import Stores

if TYPE_CHECKING:
    from data_quality.training_set import Window

KEPT_REPORTS = 100  # of about 4 MB


@dg.asset(
    group_name="monitoring",
    kinds={"evidently"},
    owners=["team:ml"],
    deps=["watch_sessions", "stg_videos"],
    code_version=code_version(
        "data_quality/drift.py", "data_quality/behaviour.py", "data_quality/windows.py"
    ),
)
def drift_report(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult:
    """Evidently: what people do since the served models were trained (or in the last week) against what those models
    learned from. The newest 100 reports are kept."""
    from data_quality.behaviour import TooLittleDataError, fetch_behaviour
    from data_quality.drift import drift_report as compare
    from data_quality.training_set import data_clock, iso_ms

    out = stores.settings.home / "reports" / f"drift-{context.run_id}.html"
    out.parent.mkdir(parents=True, exist_ok=True)
    trained = trained_window(latest_metadata(context.instance, "registered_models"))
    with stores.clickhouse() as client:
        as_of = data_clock(client)
        try:
            behaviour = fetch_behaviour(client, as_of=as_of, reference=trained)
            result = compare(behaviour.reference, behaviour.current, out)
        except TooLittleDataError as error:
            context.log.warning(str(error))
            return dg.MaterializeResult(
                metadata={"drifted": False, "as of": iso_ms(as_of), "not compared": str(error)}
            )
    keep_newest(out.parent, KEPT_REPORTS)
    return dg.MaterializeResult(
        metadata={
            "drifted": result.drifted,
            "share of drifted columns": round(result.share, 3),
            "as of": iso_ms(as_of),
            "columns": markdown_table([vars(column) for column in result.columns]),
            "report": MetadataValue.path(str(result.html)),
            "reference": f"{behaviour.reference_window}, {result.reference_rows} sessions",
            "current": f"{behaviour.current_window}, {result.current_rows} sessions, {behaviour.current_is}",
        }
    )


def trained_window(registered: dict[str, dg.MetadataValue] | None) -> "Window | None":
    """What the registered models learned from, as the last registration said; None before the first."""
    from data_quality.training_set import Window

    if registered is None:
        return None
    start, as_of = (datetime.fromisoformat(str(registered[name].value)) for name in ("window start", "as of"))
    return Window(as_of, (as_of - start).days)


@dg.asset_check(asset=drift_report, description="What people do looks like what the models were trained on.")
def behaviour_has_not_drifted(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    metadata = latest_metadata(context.instance, "drift_report")
    if metadata is None:
        raise dg.Failure("drift_report has not been materialized yet")
    shown = ("share of drifted columns", "not compared", "reference", "current")
    return dg.AssetCheckResult(
        passed=not metadata["drifted"].value and "not compared" not in metadata,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={name: metadata[name] for name in shown if name in metadata},
    )

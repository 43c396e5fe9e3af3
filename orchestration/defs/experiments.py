"""Experiments: what each variant changes, for as long as its sample can be believed."""

from typing import TYPE_CHECKING

import dagster as dg
from dagster import MetadataValue

from orchestration.code_versions import code_version
from orchestration.metadata import latest_metadata, markdown_table
from orchestration.resources import Stores

if TYPE_CHECKING:
    from orchestration.experiments import Judged


@dg.asset(
    group_name="monitoring",
    kinds={"clickhouse", "python"},
    owners=["team:ml"],
    deps=["watch_sessions", "playback_events"],
    code_version=code_version(
        "orchestration/experiments.py",
        "orchestration/experiment_users.py",
        "ml/experiment_analysis.py",
        "ml/experiment_effects.py",
        "ml/experiment_intervals.py",
        "ml/experiment_balance.py",
    ),
)
def experiment_report(stores: Stores) -> dg.MaterializeResult:
    """CTR, watch time and completion of every experiment's variants against its control, with intervals that hold at
    every look: who stops an experiment because of what they say is wrong in at most 5% of those that change nothing."""
    from ingestion.journal import data_clock
    from orchestration.experiments import report_on
    from serving.experiments.declaration import read_declaration
    from serving.experiments.errors import ExperimentsFileError

    try:
        declaration = read_declaration(stores.settings.experiments_file)
    except ExperimentsFileError as error:
        return dg.MaterializeResult(metadata={"problem": str(error), "unsound": MetadataValue.json([])})
    with stores.clickhouse() as client:
        as_of = data_clock(client)
        report = report_on(client, declaration, as_of)
    if report.problem:
        return dg.MaterializeResult(
            metadata={"not compared": report.problem, "unsound": MetadataValue.json([])}
        )
    samples = [row for judged in report.experiments for row in judged.sample()]
    return dg.MaterializeResult(
        metadata={
            "as of": as_of.isoformat(timespec="milliseconds"),
            "unsound": MetadataValue.json(report.unsound),
            "samples": markdown_table(samples),
            **{f"experiment {judged.id}": _shown(judged) for judged in report.experiments},
        }
    )


@dg.asset_check(
    asset=experiment_report,
    description="Each variant has the share of users that was declared (sequential test, p >= 0.001); no other is met.",
)
def experiments_have_sound_samples(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    metadata = latest_metadata(context.instance, "experiment_report")
    if metadata is None:
        raise dg.Failure("experiment_report has not been materialized yet")
    unsound = metadata["unsound"].value
    shown = ("unsound", "problem", "not compared", "samples")
    return dg.AssetCheckResult(
        passed=not unsound and "problem" not in metadata,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={name: metadata[name] for name in shown if name in metadata},
    )


def _shown(judged: "Judged") -> dg.MarkdownMetadataValue:
    """The verdict above its table, and what else a reader must know."""
    lines = [f"**{judged.verdict}**", "", f"Since {judged.since:%Y-%m-%d %H:%M} UTC."]
    if judged.switched:
        lines.append(f"{judged.switched} users met a second variant and count for their first.")
    if table := judged.rows():
        lines += ["", str(markdown_table(table).value)]
    return MetadataValue.md("\n".join(lines))

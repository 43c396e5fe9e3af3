"""Data quality of the warehouse's tables: Great Expectations suites that block, and anomalies that show.

A suite stands between its table and what is built from it: an error of `playback_events` stops the hourly features and
all that follows (not the 5-minute sessions, which are only ever read through what it stops), one of `watch_sessions` or
the features keeps training from learning from them. Warnings pass, and are seen.
"""

from collections.abc import Iterator

import dagster as dg
from dagster import MetadataValue

from data_quality.anomalies import Anomaly
from data_quality.report import ValidationReport
from orchestration.metadata import markdown_table
from orchestration.resources import Stores

TABLES = ("playback_events", "watch_sessions", "user_features", "video_features")


def checks_of(*tables: str) -> dg.AssetSelection:
    """Both checks of these tables, for a job that builds on them without making them: it checks them first."""
    names = [(table, f"{table}_{rule}") for table in tables for rule in ("are_valid", "has_no_anomaly")]
    return dg.AssetSelection.checks(*(dg.AssetCheckKey(dg.AssetKey(table), name) for table, name in names))


# Figures of each of the last 60 days: of the tables that grow, once a day is often enough to read them.
GROWING = ("playback_events", "watch_sessions")
ANOMALIES_BY_DAY = dg.AssetSelection.checks(
    *(dg.AssetCheckKey(dg.AssetKey(table), f"{table}_has_no_anomaly") for table in GROWING)
)
# Events arrive without a run of their own, so that the asset's own checks would only ever judge the import.
SOURCE_CHECKS = checks_of("playback_events")
FEATURE_CHECKS = checks_of("watch_sessions", "user_features", "video_features")


class Size(dg.Config):
    """Beyond `whole_rows` rows, a table that grows is judged by its last day. If that is as large, or the table does
    not grow: errors on all of it, warnings on a sample of about `sampled_rows`."""

    whole_rows: int = 50_000_000
    sampled_rows: int = 5_000_000


def suite_check(table: str) -> dg.AssetChecksDefinition:
    """`<table>_are_valid`: blocking, fails on an error; with only warnings it passes, with severity WARN."""

    @dg.asset_check(
        asset=dg.AssetKey(table),
        name=f"{table}_are_valid",
        blocking=True,
        description=f"Great Expectations on {table}, inside ClickHouse. An error blocks what is built from it.",
    )
    def check(config: Size, stores: Stores) -> dg.AssetCheckResult:
        from data_quality.suites import SUITES
        from data_quality.table_checks import validate_table

        settings = stores.settings
        report = validate_table(
            settings,
            SUITES[table],
            docs=settings.home / "data_docs",
            whole_rows=config.whole_rows,
            sampled_rows=config.sampled_rows,
        )
        return validity(report)

    return check


def anomaly_check(table: str) -> dg.AssetChecksDefinition:
    """`<table>_has_no_anomaly`: shows, blocks nothing."""

    @dg.asset_check(
        asset=dg.AssetKey(table),
        name=f"{table}_has_no_anomaly",
        description=f"Volume, freshness, missing values and ranges of {table} against its own recent past.",
    )
    def check(stores: Stores) -> dg.AssetCheckResult:
        from data_quality.watch import WATCHED, anomalies_of

        with stores.clickhouse() as client:
            anomalies, profile = anomalies_of(client, WATCHED[table])
        return dg.AssetCheckResult(
            passed=not anomalies,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "anomalies": len(anomalies),
                "days profiled": len(profile.days),
                "newest": str(profile.newest),
                "found": markdown_table([shown(anomaly) for anomaly in anomalies]),
            },
        )

    return check


def validity(report: ValidationReport) -> dg.AssetCheckResult:
    """How Dagster shows a report: an error fails the check as ERROR; warnings alone pass it, marked WARN."""
    only_warnings = report.success and bool(report.warnings)
    metadata: dict[str, dg.MetadataValue | str | int] = {
        "expectations": report.evaluated,
        "errors": len(report.errors),
        "warnings": len(report.warnings),
        "checked on": report.checked_on,
        "result": MetadataValue.md(report.to_markdown()),
    }
    if report.data_docs is not None:
        metadata["data docs"] = MetadataValue.path(str(report.data_docs))
    return dg.AssetCheckResult(
        passed=report.success,
        severity=dg.AssetCheckSeverity.WARN if only_warnings else dg.AssetCheckSeverity.ERROR,
        description="; ".join(f"{f.expectation}: {f.observed}" for f in report.failures) or None,
        metadata=metadata,
    )


def shown(anomaly: Anomaly) -> dict[str, object]:
    return {
        "figure": anomaly.metric,
        "when": anomaly.when or "now",
        "observed": anomaly.observed,
        "usual": anomaly.expected,
        "robust deviations": round(anomaly.score, 1),
        "compared with": f"{anomaly.past} points",
    }


@dg.definitions
def data_quality() -> dg.Definitions:
    return dg.Definitions(asset_checks=list(_checks()))


def _checks() -> Iterator[dg.AssetChecksDefinition]:
    for table in TABLES:
        yield suite_check(table)
        yield anomaly_check(table)

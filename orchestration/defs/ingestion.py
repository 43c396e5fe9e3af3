"""Ingestion: people and videos into Postgres, playback events into ClickHouse, each load proved by the ledger."""

import dagster as dg

from ingestion.load import LoadReport, load_events, load_users, load_videos
from ingestion.sources import source_from
from orchestration.code_versions import code_version
from orchestration.metadata import latest_metadata
from orchestration.pools import WAREHOUSE
from orchestration.resources import Stores

OWNERS = ["team:data"]
# The stores may be restarting; a load is idempotent, so trying again is safe.
RETRY = dg.RetryPolicy(max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL)
VERSION = code_version("ingestion", "data_quality/contracts.py")
# By user, in the order of the table: the ids of one user at a time. All 100 million of a day at once take over 4 GB.
EVENTS_IN_THE_TABLE = """
    SELECT sum(events) FROM (SELECT uniqExact(event_id) AS events FROM playback_events GROUP BY user_id)
    SETTINGS optimize_aggregation_in_order = 1
"""
# Tracked events that are being stored, or that a killed endpoint stored and its next start counts.
SEGMENTS_UNDER_WAY = "SELECT sum(stored) FROM shipped_segments FINAL WHERE state = 1"


def _result(report: LoadReport, table_rows: int) -> dg.MaterializeResult:
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.fingerprint),
        metadata={
            "dagster/row_count": table_rows,
            "source": report.source,
            "fingerprint": report.fingerprint,
            "skipped (already loaded)": report.skipped,
            "sent": report.sent,
            "stored": report.stored,
            "duplicate": report.duplicate,
            "quarantined": report.quarantined,
            "seconds": round(report.seconds, 2),
        },
    )


@dg.asset(
    group_name="ingestion",
    kinds={"postgres"},
    owners=OWNERS,
    code_version=VERSION,
    retry_policy=RETRY,
    pool=WAREHOUSE,
)
def users(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult:
    """People and their profiles (R1.3), upserted into Postgres: unchanged rows stay untouched."""
    report = load_users(stores.settings, source_from(stores.settings), progress=context.log.info)
    return _result(report, report.table_rows)


@dg.asset(
    group_name="ingestion",
    kinds={"postgres"},
    owners=OWNERS,
    code_version=VERSION,
    retry_policy=RETRY,
    pool=WAREHOUSE,
)
def videos(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult:
    """Videos and their metadata (R1.3), upserted into Postgres."""
    report = load_videos(stores.settings, source_from(stores.settings), progress=context.log.info)
    return _result(report, report.table_rows)


@dg.asset(
    group_name="ingestion",
    kinds={"clickhouse"},
    owners=OWNERS,
    code_version=VERSION,
    retry_policy=RETRY,
    deps=[users, videos],
    pool=WAREHOUSE,
)
def playback_events(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult:
    """Raw playback events (R1.1). An event counts once however often it is sent; the ledger row of the load says
    sent = stored + duplicate + quarantined."""
    source = source_from(stores.settings)
    _refuse_another_source(context.instance, source.name, source.fingerprint())
    report = load_events(stores.settings, source, progress=context.log.info)
    return _result(report, report.table_rows)


def _refuse_another_source(instance: dg.DagsterInstance, name: str, fingerprint: str) -> None:
    """Events of one source among the people and videos of another would join to nothing, and say so nowhere."""
    for asset in ("users", "videos"):
        loaded = latest_metadata(instance, asset)
        if loaded is None or loaded["fingerprint"].value != fingerprint:
            raise dg.Failure(
                f"{asset} were not loaded from {name} ({fingerprint[:12]}): materialize {asset} first",
                allow_retries=False,
            )


@dg.asset_check(
    asset=playback_events,
    description="Every event sent is stored, a duplicate or quarantined, and what is stored is in the table.",
)
def ledger_balances(stores: Stores) -> dg.AssetCheckResult:
    query = """
        SELECT count(), sum(sent), sum(stored), sum(duplicate), sum(quarantined),
               countIf(sent != stored + duplicate + quarantined), countIf(finished_at <= started_at)
        FROM ingestion_ledger FINAL
    """
    with stores.clickhouse() as client:
        loads, sent, stored, duplicate, quarantined, unbalanced, unfinished = client.query(query).result_rows[
            0
        ]
        [[events]] = client.query(EVENTS_IN_THE_TABLE).result_rows
        # The endpoint goes on meanwhile, so the count lies between what was in the ledger before and what is after.
        [[underway]] = client.query(SEGMENTS_UNDER_WAY).result_rows
        stored_by_now = client.query(query).result_rows[0][2]
    return dg.AssetCheckResult(
        passed=loads > 0
        and unbalanced == 0
        and unfinished == 0
        and stored <= events <= stored_by_now + underway,
        metadata={
            "loads": loads,
            "sent": sent,
            "stored": stored,
            "duplicate": duplicate,
            "quarantined": quarantined,
            "events in the table": events,
            "of segments under way": underway,
            "loads that don't balance": unbalanced,
            "loads that did not end": unfinished,
        },
    )

"""Ingestion: people and videos into Postgres, playback events into ClickHouse, each load proved by the ledger."""

import dagster as dg
from ingestion.load import LoadReport, load_events, load_users, load_videos
from ingestion.sources import source_from

from orchestration.code_versions import code_version
from orchestration.resources import Stores

OWNERS = ["team:data"]
# The stores may be restarting; a load is idempotent, so trying again is safe.
RETRY = dg.RetryPolicy(max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL)
VERSION = code_version("ingestion", "data_quality/contracts.py")


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


@dg.asset(group_name="ingestion", kinds={"postgres"}, owners=OWNERS, code_version=VERSION, retry_policy=RETRY)
def users(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult:
    """People and their profiles (R1.3), upserted into Postgres: unchanged rows stay untouched."""
    report = load_users(stores.settings, source_from(stores.settings), progress=context.log.info)
    return _result(report, report.table_rows)


@dg.asset(group_name="ingestion", kinds={"postgres"}, owners=OWNERS, code_version=VERSION, retry_policy=RETRY)
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
    pool="warehouse",
)
def playback_events(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult:
    """Raw playback events (R1.1). An event counts once however often it is sent; the ledger row of the load says
    sent = stored + duplicate + quarantined."""
    report = load_events(stores.settings, source_from(stores.settings), progress=context.log.info)
    return _result(report, report.table_rows)


@dg.asset_check(asset=playback_events, description="Every event sent is stored, a duplicate or quarantined.")
def ledger_balances(stores: Stores) -> dg.AssetCheckResult:
    query = """
        SELECT count(), sum(sent), sum(stored), sum(duplicate), sum(quarantined),
               countIf(sent != stored + duplicate + quarantined)
        FROM ingestion_ledger
    """
    with stores.clickhouse() as client:
        loads, sent, stored, duplicate, quarantined, unbalanced = client.query(query).result_rows[0]
    return dg.AssetCheckResult(
        passed=unbalanced == 0 and loads > 0,
        metadata={
            "loads": loads,
            "sent": sent,
            "stored": stored,
            "duplicate": duplicate,
            "quarantined": quarantined,
            "loads that don't balance": unbalanced,
        },
    )

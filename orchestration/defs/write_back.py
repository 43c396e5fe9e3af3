"""What leaves the warehouse for the stores that applications read: columns of Postgres, the online copy in Redis."""

import dagster as dg

from ingestion.errors import IngestionError
from ingestion.online_features import TTL_S, publish_user_features
from ingestion.write_back import COUNTERS, ENGAGEMENT, WriteBack, write_back
from orchestration.code_versions import code_version
from orchestration.pools import WAREHOUSE
from orchestration.resources import Stores

OWNERS = ["team:data"]
RETRY = dg.RetryPolicy(max_retries=3, delay=5, backoff=dg.Backoff.EXPONENTIAL)


def written(context: dg.AssetExecutionContext, stores: Stores, what: WriteBack) -> dg.MaterializeResult:
    report = write_back(stores.settings, what, progress=context.log.info)
    return dg.MaterializeResult(
        metadata={
            "rows in the warehouse": report.rows,
            "rows rewritten": report.changed,
            "of them reset, as the warehouse knows nothing of them": report.reset,
            f"not in {what.table}": report.unknown,
            "batches": report.batches,
            "seconds": round(report.seconds, 2),
        }
    )


@dg.asset(
    group_name="features",
    kinds={"postgres"},
    owners=OWNERS,
    deps=["user_engagement", "users"],
    code_version=code_version("ingestion/write_back.py"),
    retry_policy=RETRY,
    pool=WAREHOUSE,
)
def user_scores(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult:
    """`users.engagement_score` (R1.3) as the warehouse has it; rows that say so already are left alone."""
    return written(context, stores, ENGAGEMENT)


@dg.asset(
    group_name="features",
    kinds={"postgres"},
    owners=OWNERS,
    deps=["trending_videos", "videos"],
    code_version=code_version("ingestion/write_back.py"),
    retry_policy=RETRY,
    pool=WAREHOUSE,
)
def video_counters(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult:
    """`videos.is_trending`, `view_count` and `like_count`: our own plays and likes; unchanged rows are left alone."""
    return written(context, stores, COUNTERS)


@dg.asset(
    group_name="features",
    kinds={"redis"},
    owners=OWNERS,
    deps=["user_features"],
    code_version=code_version("ingestion/online_features.py"),
    retry_policy=dg.RetryPolicy(max_retries=1, delay=5),
)
def online_features(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult:
    """`user_features:{id}` in Redis, for an hour (R3). Nothing is built from it: without Redis, only this fails."""
    try:
        report = publish_user_features(stores.settings, progress=context.log.debug)
    except IngestionError as error:
        raise dg.Failure(f"the online copy was not written: {error}") from error
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": report.users,
            "users without the list of what they watched": report.without_list,
            "size (MB)": round(report.bytes / 1e6, 2),
            "time to live (s)": TTL_S,
            "seconds": round(report.seconds, 2),
        }
    )

"""Backfill: any range of days rebuilt from the events, as partitions in the Dagster UI.

An asset of its own, not partitions of the dbt models: those are rebuilt by arrival every 5 minutes without naming a
day, and a run of a partitioned asset must name one.
"""

import dagster as dg
from dagster_dbt import DbtCliResource

from ingestion.rebuild import NoSessionsYetError, ask_for_days
from orchestration.dbt import RETRY, variables
from orchestration.pools import WAREHOUSE
from orchestration.resources import Stores
from stack.settings import load_settings

BACKFILL = dg.AssetSelection.assets("rebuilt_days")
"""For other jobs to leave out: it is run day by day."""


@dg.definitions
def backfill() -> dg.Definitions:
    return dg.Definitions(assets=[rebuilt_days_from(load_settings().first_day.isoformat())])


def rebuilt_days_from(first_day: str) -> dg.AssetsDefinition:
    """The asset; its partitions begin with `first_day` (ISO) and end with today (UTC)."""

    # A run a day, as Dagster does without a backfill policy: a day is what fits in memory at the planned volume, a
    # range that was stopped goes on with the days it did not reach, and between two the 5-minute job gets its turn.
    @dg.asset(
        group_name="features",
        kinds={"dbt", "clickhouse"},
        owners=["team:data"],
        deps=["watch_sessions", "int_daily_user_activity", "int_daily_video_activity"],
        partitions_def=dg.DailyPartitionsDefinition(start_date=first_day, end_offset=1),
        code_version="1",
        pool=WAREHOUSE,
        retry_policy=RETRY,
    )
    def rebuilt_days(
        context: dg.AssetExecutionContext, dbt: DbtCliResource, stores: Stores
    ) -> dg.MaterializeResult:
        """The sessions and daily sums of a day of UTC, built again from its events, after a repair of events or
        rows; late events need none. Running it again, also after a run was killed, gives the same rows."""
        window = context.partition_time_window
        with stores.clickhouse() as client:
            try:
                asked = ask_for_days(client, window.start, window.end)
            except NoSessionsYetError as error:
                raise dg.Failure(str(error), allow_retries=False) from error
        context.log.info(f"{asked.sessions} sessions of {asked.events} events to rebuild")
        dbt.cli(["run", "--selector", "rebuild", *variables(stores.settings)]).wait()
        return dg.MaterializeResult(
            metadata={
                "days": (window.end - window.start).days,
                "events": asked.events,
                "sessions": asked.sessions,
                "sessions without events, removed": asked.vanished,
            }
        )

    return rebuilt_days

"""Backfill: any range of days rebuilt from the events, as partitions in the Dagster UI.

An asset of its own, not partitions of the dbt models: those are rebuilt by arrival every 5 minutes without naming a
day, and a run of a partitioned asset must name one.
"""

import dagster as dg
from dagster_dbt import DbtCliResource

from ingestion.rebuild import Asked, NoSessionsYetError, ask_for_days, portions
from orchestration.dbt import RETRY, variables
from orchestration.pools import WAREHOUSE
from orchestration.resources import Stores
from stack.settings import load_settings

DAYS_PER_RUN = 7
BACKFILL = dg.AssetSelection.assets("rebuilt_days")
"""For other jobs to leave out: it is run day by day."""


@dg.definitions
def backfill() -> dg.Definitions:
    return dg.Definitions(assets=[rebuilt_days_from(load_settings().first_day.isoformat())])


def rebuilt_days_from(first_day: str) -> dg.AssetsDefinition:
    """The asset; its partitions begin with `first_day` (ISO) and end with today (UTC)."""

    # A run a week: starting a run costs more than building a small day, and after each the 5-minute job gets its turn
    # at the warehouse; a range that was stopped goes on with the weeks that it did not reach.
    @dg.asset(
        group_name="features",
        kinds={"dbt", "clickhouse"},
        owners=["team:data"],
        deps=["watch_sessions", "int_daily_user_activity", "int_daily_video_activity"],
        partitions_def=dg.DailyPartitionsDefinition(start_date=first_day, end_offset=1),
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=DAYS_PER_RUN),
        code_version="1",
        pool=WAREHOUSE,
        retry_policy=RETRY,
    )
    def rebuilt_days(
        context: dg.AssetExecutionContext, dbt: DbtCliResource, stores: Stores
    ) -> dg.MaterializeResult:
        """The sessions and daily sums of days of UTC, built again from its events, after a repair of events or
        rows; late events need none. Running it again, also after a run was killed, gives the same rows."""
        window = context.partition_time_window
        asked = Asked(0, 0, 0)
        with stores.clickhouse() as client:
            turns = portions(client, window.start, window.end)
        for start, end in turns:
            with stores.clickhouse() as client:
                try:
                    turn = ask_for_days(client, start, end)
                except NoSessionsYetError as error:
                    raise dg.Failure(str(error), allow_retries=False) from error
            context.log.info(
                f"{start:%Y-%m-%d}, {(end - start).days} days: {turn.sessions} sessions to rebuild"
            )
            dbt.cli(["run", "--selector", "rebuild", *variables(stores.settings)]).wait()
            asked += turn
        return dg.MaterializeResult(
            metadata={
                "days": (window.end - window.start).days,
                "events": asked.events,
                "sessions": asked.sessions,
                "sessions without events, removed": asked.vanished,
                "builds": len(turns),
            }
        )

    return rebuilt_days

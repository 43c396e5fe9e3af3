"""The code server: `dagster api grpc`, after giving up the runs that an earlier one took with it.

Runs are its children and die with it, but Dagster's default launcher can't ask whether a run is alive: a run
whose process was killed would stay STARTED and hold the queue for ever.
"""

import sys

import dagster as dg
from dagster._cli.api import grpc_command

_ALIVE = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def give_up_lost_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark every run that claims to be alive as failed; returns their ids. Only while no code server runs."""
    lost = instance.get_runs(dg.RunsFilter(statuses=_ALIVE))
    for run in lost:
        instance.report_run_failed(run, "The process of this run ended with its code server; run it again.")
    return [run.run_id for run in lost]


def main() -> None:
    with dg.DagsterInstance.get() as instance:
        for run_id in give_up_lost_runs(instance):
            print(f"gave up run {run_id}: its process ended with an earlier code server", flush=True)
    grpc_command(sys.argv[1:], standalone_mode=True)


if __name__ == "__main__":
    main()

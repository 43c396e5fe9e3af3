"""The code location: loads everything under `defs/`, nothing else."""

import dagster as dg

import orchestration.defs


@dg.definitions
def definitions() -> dg.Definitions:
    return dg.load_defs(orchestration.defs)

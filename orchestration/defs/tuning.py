"""Tuning: better hyper-parameters, looked for on demand and within minutes. No other job includes it."""

import dagster as dg
from pydantic import Field

from orchestration.code_versions import code_version
from orchestration.pools import MODELS
from orchestration.records import TrainingSet
from orchestration.resources import Stores
from orchestration.tuning import TunedParameters, tune_parameters


class TuningConfig(dg.Config):
    """What a person may say when starting the job by hand."""

    minutes: float | None = Field(
        default=None, gt=0, description="how long to look; REELGRAPH_TUNING_MINUTES if unset"
    )
    kinds: list[str] = Field(
        default=[],
        description="if empty, all with something to tune; SVD, whose parameters the contract sets, only if named",
    )


@dg.asset(
    group_name="training",
    kinds={"optuna"},
    owners=["team:ml"],
    code_version=code_version("ml", "orchestration/tuning.py"),
    pool=MODELS,
)
def tuned_parameters(
    context: dg.AssetExecutionContext, config: TuningConfig, stores: Stores, training_set: TrainingSet
) -> dg.Output[TunedParameters]:
    """Hyper-parameters that beat the present ones beyond noise, on rows of the training period alone; the next training
    uses them. A run that was killed goes on where it was.

    One file, tracked by DVC; every trial is a nested run in MLflow's experiment `tuning`."""
    settings = stores.settings
    return tune_parameters(
        context,
        settings,
        training_set,
        minutes=config.minutes or settings.tuning_minutes,
        kinds=config.kinds,
    )


TUNING = dg.AssetSelection.assets(tuned_parameters)

tuning_job = dg.define_asset_job(
    "tuning_job",
    selection=TUNING,
    description="Looks for better hyper-parameters on the training set there is (REELGRAPH_TUNING_MINUTES).",
)

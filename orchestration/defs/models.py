"""The models: each fitted twice, before the time cut (to be judged) and on all rows (to be served)."""

import dagster as dg

from orchestration.code_versions import code_version
from orchestration.pools import MODELS
from orchestration.records import TrainedModel, TrainingSet
from orchestration.resources import Stores
from orchestration.training import train_model

OWNERS = ["team:ml"]
VERSION = code_version("ml", "orchestration/training.py")


@dg.asset(group_name="training", kinds={"python"}, owners=OWNERS, code_version=VERSION, pool=MODELS)
def svd_model(
    context: dg.AssetExecutionContext, stores: Stores, training_set: TrainingSet
) -> dg.Output[TrainedModel]:
    """Biased matrix factorisation of ratings, 5 * min(watch_time_ratio, 1) (contract R5)."""
    return train_model(context, stores.settings, "svd", training_set)


@dg.asset(group_name="training", kinds={"pytorch"}, owners=OWNERS, code_version=VERSION, pool=MODELS)
def two_tower_model(
    context: dg.AssetExecutionContext, stores: Stores, training_set: TrainingSet
) -> dg.Output[TrainedModel]:
    """Two towers trained by sampled softmax on weighted positives: 64-d, normalised dot product (contract R5)."""
    return train_model(context, stores.settings, "two-tower", training_set)


@dg.asset(group_name="training", kinds={"python"}, owners=OWNERS, code_version=VERSION, pool=MODELS)
def popularity_model(
    context: dg.AssetExecutionContext, stores: Stores, training_set: TrainingSet
) -> dg.Output[TrainedModel]:
    """What is watched most of late: the baseline in the judgement, and the feed of people we don't know yet."""
    return train_model(context, stores.settings, "popularity", training_set)

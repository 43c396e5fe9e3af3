"""The models, each fitted three times: to choose with (at an inner cut), to be judged (at the cut), to be served."""

import dagster as dg

from orchestration.code_versions import code_version
from orchestration.pools import MODELS
from orchestration.records import TrainedModel, TrainingSet
from orchestration.resources import Stores
from orchestration.training import train_model

OWNERS = ["team:ml"]
VERSION = code_version("ml", "orchestration/training.py")


@dg.asset(group_name="training", kinds={"numba"}, owners=OWNERS, code_version=VERSION, pool=MODELS)
def svd_model(
    context: dg.AssetExecutionContext, stores: Stores, training_set: TrainingSet
) -> dg.Output[TrainedModel]:
    """Biased matrix factorisation of ratings, 5 * min(watch_time_ratio, 1) (contract R5)."""
    return train_model(context, stores.settings, "svd", training_set)


@dg.asset(group_name="training", kinds={"python"}, owners=OWNERS, code_version=VERSION, pool=MODELS)
def als_model(
    context: dg.AssetExecutionContext, stores: Stores, training_set: TrainingSet
) -> dg.Output[TrainedModel]:
    """Implicit-feedback matrix factorisation by alternating least squares: 64-d (contract R5)."""
    return train_model(context, stores.settings, "als", training_set)


@dg.asset(group_name="training", kinds={"scipy"}, owners=OWNERS, code_version=VERSION, pool=MODELS)
def item_item_model(
    context: dg.AssetExecutionContext, stores: Stores, training_set: TrainingSet
) -> dg.Output[TrainedModel]:
    """EASE: which videos are watched by the same people, in closed form; the simple model that is hard to beat."""
    return train_model(context, stores.settings, "item-item", training_set)


@dg.asset(group_name="training", kinds={"scikitlearn"}, owners=OWNERS, code_version=VERSION, pool=MODELS)
def content_model(
    context: dg.AssetExecutionContext, stores: Stores, training_set: TrainingSet
) -> dg.Output[TrainedModel]:
    """Text and metadata of the videos a user watched: the one that can rank a video nobody has seen."""
    return train_model(context, stores.settings, "content", training_set)


@dg.asset(group_name="training", kinds={"python"}, owners=OWNERS, code_version=VERSION, pool=MODELS)
def popularity_model(
    context: dg.AssetExecutionContext, stores: Stores, training_set: TrainingSet
) -> dg.Output[TrainedModel]:
    """What is watched most of late: the baseline in the judgement, and the feed of people we don't know yet."""
    return train_model(context, stores.settings, "popularity", training_set)


@dg.asset(group_name="training", kinds={"pytorch"}, owners=OWNERS, code_version=VERSION, pool=MODELS)
def two_tower_model(
    context: dg.AssetExecutionContext, stores: Stores, training_set: TrainingSet
) -> dg.Output[TrainedModel]:
    """Two towers trained by sampled softmax on weighted positives: 64-d, normalised dot product (contract R5)."""
    return train_model(context, stores.settings, "two-tower", training_set)


@dg.asset(group_name="training", kinds={"python"}, owners=OWNERS, code_version=VERSION, pool=MODELS)
def hybrid_model(
    context: dg.AssetExecutionContext,
    stores: Stores,
    training_set: TrainingSet,
    als_model: TrainedModel,
    item_item_model: TrainedModel,
    content_model: TrainedModel,
    two_tower_model: TrainedModel,
) -> dg.Output[TrainedModel]:
    """The others blended, with recency; the weights are learned on the newest rows before the cut."""
    parts = (als_model, item_item_model, content_model, two_tower_model)
    return train_model(context, stores.settings, "hybrid", training_set, parts)

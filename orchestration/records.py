"""What one asset hands to the next: small typed records of where a result lies and how it was made.

The results themselves (parquet, model folders) stay on disk or in MLflow; a record is JSON a person can read.
"""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

# The kinds of model, in the order they are shown.
KINDS = ("svd", "als", "item-item", "content", "popularity", "two-tower", "hybrid")


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingSet(Record):
    """A training set on disk and its version in DVC."""

    path: Path
    dvc_hash: str
    meta: dict[str, Any]


class TrainedModel(Record):
    """One kind of model, fitted three times: on the rows known at an inner cut (to choose with), at the cut (to be
    judged), and on all rows (to be served)."""

    kind: str
    path: Path
    params: dict[str, Any]
    curves: dict[str, list[float]]
    seconds: float
    training_set_hash: str
    dagster_run_id: str


class Judgement(Record):
    """What every kind scored on the same held-out users, and the better of the personal kinds."""

    path: Path
    best_kind: str
    metrics: dict[str, dict[str, float]]
    training_set_hash: str


class RegisteredModels(Record):
    """The versions of the registered model `recommender` this run made, by kind."""

    versions: dict[str, int]


class ServingBundle(Record):
    """The bundle last published to the endpoint."""

    tag: str
    bundle_id: str
    champion_version: int
    champion_kind: str

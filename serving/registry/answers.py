"""What is said of the registered model's versions: the schemas, and how MLflow's JSON becomes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from serving.registry.lineage import COMMIT_TAG, DBT_TAG, NEWEST_TAG

ALGORITHM_TAG, DAGSTER_RUN_TAG, TRAINING_SET_TAG = "algorithm", "dagster_run_id", "training_set"
# MLflow's words for a version's state.
_STATUS = {"READY": "ready", "PENDING_REGISTRATION": "pending", "FAILED_REGISTRATION": "failed"}


class Lineage(BaseModel):
    """What a version comes from; null where it was not written down."""

    mlflow_run_id: str | None
    mlflow_run_url: str | None = Field(description="the run's page in MLflow, as a browser opens it")
    dagster_run_id: str | None
    training_set: str | None = Field(
        description="DVC hash", examples=["0123456789abcdef0123456789abcdef.dir"]
    )
    trained_up_to: datetime | None = Field(description="start of the newest training row, UTC")
    git_commit: str | None
    dbt_invocation_id: str | None


class ModelVersion(BaseModel):
    """One version of `recommender`. `metrics`: the last values of its MLflow run; null if they cannot be read now."""

    version: int = Field(examples=[4])
    algorithm: str | None = Field(
        description="null for a version that reelgraph did not register", examples=["svd"]
    )
    aliases: list[str] = Field(examples=[["champion", "two-tower"]])
    status: Literal["ready", "pending", "failed", "unknown"]
    in_service: bool = Field(description="whether the bundle in service holds this version")
    created_at: datetime
    description: str
    metrics: dict[str, float] | None = Field(examples=[{"ndcg_at_10": 0.25}])
    lineage: Lineage


class ModelsAnswer(BaseModel):
    """Newest first; `total` counts all that match."""

    request_id: str
    name: str = Field(examples=["recommender"])
    total: int
    limit: int
    offset: int
    degraded: bool = Field(description="MLflow is down: this is what it said last")
    degraded_because: list[str]
    models: list[ModelVersion]


class ModelAnswer(BaseModel):
    request_id: str
    name: str
    degraded: bool
    degraded_because: list[str]
    model: ModelVersion


@dataclass(frozen=True)
class Version:
    """A version as the registry has it."""

    number: int
    run_id: str | None
    status: str
    created_ms: int
    description: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]

    @property
    def algorithm(self) -> str | None:
        return self.tags.get(ALGORITHM_TAG)


@dataclass(frozen=True)
class Run:
    """What a version needs of its run."""

    experiment_id: str
    metrics: Mapping[str, float]
    finished: bool


def version_of(found: Mapping[str, Any], aliases: Mapping[int, Sequence[str]]) -> Version:
    """Of MLflow's `ModelVersion`. Raises `KeyError`, `TypeError`, `ValueError` for what is not that."""
    number = int(found["version"])
    return Version(
        number=number,
        run_id=found.get("run_id") or None,
        status=str(found.get("status", "")),
        created_ms=int(found["creation_timestamp"]),
        description=str(found.get("description") or ""),
        tags={str(tag["key"]): str(tag.get("value", "")) for tag in found.get("tags") or ()},
        aliases=tuple(sorted(aliases.get(number, ()))),
    )


def run_of(found: Mapping[str, Any]) -> Run:
    """Of MLflow's `Run`; metrics that JSON cannot carry (NaN) are left out. Raises as `version_of`."""
    metrics = {
        str(item["key"]): item.get("value", 0.0) for item in found.get("data", {}).get("metrics") or ()
    }
    numbers = {key: float(value) for key, value in metrics.items() if _finite(value)}
    info = found["info"]
    return Run(str(info["experiment_id"]), numbers, finished=info.get("status") in ("FINISHED", "FAILED"))


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and abs(float(value)) < float("inf")


def described(version: Version, run: Run | None, ui_url: str, in_service: bool) -> ModelVersion:
    tags = version.tags
    newest = tags.get(NEWEST_TAG, "")
    url = f"{ui_url}/#/experiments/{run.experiment_id}/runs/{version.run_id}" if run else None
    return ModelVersion(
        version=version.number,
        algorithm=version.algorithm,
        aliases=list(version.aliases),
        status=_STATUS.get(version.status, "unknown"),  # type: ignore[arg-type]
        in_service=in_service,
        created_at=_utc(version.created_ms),
        description=version.description,
        metrics=dict(run.metrics) if run else None,
        lineage=Lineage(
            mlflow_run_id=version.run_id,
            mlflow_run_url=url,
            dagster_run_id=tags.get(DAGSTER_RUN_TAG),
            training_set=tags.get(TRAINING_SET_TAG),
            trained_up_to=_utc(int(newest)) if newest.isdecimal() else None,
            git_commit=tags.get(COMMIT_TAG),
            dbt_invocation_id=tags.get(DBT_TAG),
        ),
    )


def _utc(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)

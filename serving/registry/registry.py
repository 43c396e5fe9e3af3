"""The MLflow registry: one registered model, `recommender`, whose versions are told apart by the tag `algorithm`.

Every call takes the tracking URI from the settings and passes it on explicitly: nothing global is set.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.registry.access import (
    RegistryError,
    RegistryUnavailableError,
    VersionNotFoundError,
    client_of,
    missing_is,
)
from serving.trainings import run as training_run
from serving.trainings.run import TAG_LIMIT, VERSION_TAG_LIMIT, cut
from stack.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from serving.registry.lineage import Lineage

__all__ = [
    "RegisteredVersion",
    "RegistryError",
    "RegistryUnavailableError",
    "VersionNotFoundError",
    "by_alias",
    "download",
    "metrics_of",
    "model_url",
    "register",
    "run_url",
    "set_alias",
    "version_of",
    "versions",
]

MODEL_NAME = "recommender"
ALGORITHM_TAG = "algorithm"
DAGSTER_RUN_TAG = "dagster_run_id"
TRAINING_SET_TAG = "training_set"
CHAMPION, CHALLENGER = "champion", "challenger"

DESCRIPTION = (
    "Short-video recommenders. The tag `algorithm` says which: svd, als, item-item, content, popularity, two-tower, "
    "hybrid. Aliases: `champion` serves the feeds, `challenger` is the best of the last training and on trial, the "
    "name of each kind is on its newest version. Moving `champion` here promotes or rolls back: the serving bundle "
    "follows within a minute, and the move is written down on the version."
)


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of `recommender`. `source` is the URI of its files, `kind` its algorithm."""

    kind: str
    version: int
    run_id: str
    source: str
    tags: Mapping[str, str] = field(default_factory=dict)


def register(
    settings: Settings,
    *,
    kind: str,
    model_dir: Path,
    experiment: str,
    run_name: str,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    tags: Mapping[str, str] | None = None,
    curves: Mapping[str, Sequence[float]] | None = None,
    artifacts: Mapping[str, Path] | None = None,
    dagster_run_id: str | None = None,
    training_set: Mapping[str, Any] | None = None,
    description: str | None = None,
    lineage: "Lineage | None" = None,
    parent_run_id: str | None = None,
) -> RegisteredVersion:
    """Log a run with its model and register the model as a new version of `recommender`.

    `model_dir` is what `Recommender.save` wrote. `curves` are per-epoch series, first epoch = step 1. `artifacts` are
    files or folders, kept in the run under their key. `training_set` says what was trained on: `version` (the DVC
    hash) and anything else worth showing (`rows`, `window_days`, ...). `lineage` becomes tags of the version and the
    run, `parent_run_id` is the run it is shown under (`registry_training.log_training`). The same `kind` registered
    again from the same Dagster run returns the version that is there. Raises `RegistryUnavailableError`,
    `RegistryError`.
    """
    training_set = dict(training_set or {})
    labels = {ALGORITHM_TAG: kind, **(tags or {})}
    if dagster_run_id:
        labels[DAGSTER_RUN_TAG] = dagster_run_id
    if training_set.get("version"):
        labels[TRAINING_SET_TAG] = str(training_set["version"])
    origin = lineage.tags() if lineage else {}
    parent = {"mlflow.parentRunId": parent_run_id} if parent_run_id else {}
    with client_of(settings) as client:
        if dagster_run_id and (known := _registered_by(client, kind, dagster_run_id)):
            return known
        note = description or training_run.describe(kind, metrics, training_set)
        run_id = client.create_run(
            training_run.experiment_id(client, experiment),
            run_name=run_name,
            tags={
                **cut({**labels, **origin}, TAG_LIMIT),
                **parent,
                "mlflow.note.content": note,
                "mlflow.source.name": "reelgraph",
            },
        ).info.run_id
        try:
            training_run.log_training_set(client, run_id, training_set)
            training_run.log_params(client, run_id, params)
            training_run.log_curves(client, run_id, curves or {})
            for name, path in (artifacts or {}).items():
                training_run.log_artifact(client, run_id, name, path)
            model_id = training_run.log_model(client, run_id, kind, model_dir, params, metrics, labels)
            _ensure_registered_model(client)
            version = client.create_model_version(
                MODEL_NAME,
                source=f"models:/{model_id}",
                run_id=run_id,
                model_id=model_id,
                tags=cut({**labels, **origin}, VERSION_TAG_LIMIT),
                description=note,
            )
        except BaseException:
            client.set_terminated(run_id, status="FAILED")
            raise
        client.set_terminated(run_id)
        return version_of(version)


def set_alias(settings: Settings, alias: str, version: int) -> None:
    """Point `alias` at `version`; raises `VersionNotFoundError`."""
    with (
        client_of(settings) as client,
        missing_is(VersionNotFoundError, f"{MODEL_NAME} has no version {version}"),
    ):
        client.get_model_version(MODEL_NAME, str(version))
        client.set_registered_model_alias(MODEL_NAME, alias, str(version))


def by_alias(settings: Settings, alias: str) -> RegisteredVersion | None:
    """The version `alias` points at; None if there is no such alias (or no registered model yet)."""
    from mlflow.exceptions import MlflowException

    with client_of(settings) as client:
        try:
            found = client.get_model_version_by_alias(MODEL_NAME, alias)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        # This answer may leave the tags out; the version itself has them.
        return version_of(client.get_model_version(MODEL_NAME, found.version))


def versions(settings: Settings, kind: str | None = None) -> list[RegisteredVersion]:
    """All versions, newest first; only those of one algorithm if `kind` is given."""
    with client_of(settings) as client:
        query = f"name='{MODEL_NAME}'" + (f" and tags.{ALGORITHM_TAG}='{kind}'" if kind else "")
        found, token = [], None
        while True:
            page = client.search_model_versions(query, page_token=token)
            found += [version_of(item) for item in page]
            token = page.token
            if not token:
                return sorted(found, key=lambda item: -item.version)


def metrics_of(settings: Settings, version: RegisteredVersion) -> dict[str, float]:
    """The last value of every metric of the run that made `version`."""
    with client_of(settings) as client, missing_is(VersionNotFoundError, f"run {version.run_id} is gone"):
        return dict(client.get_run(version.run_id).data.metrics)


def download(settings: Settings, version: RegisteredVersion | int, to: Path) -> Path:
    """Copy the saved model of a version into `to` (made if missing) and return its path there."""
    from mlflow.artifacts import download_artifacts

    number = version.version if isinstance(version, RegisteredVersion) else version
    what = f"{MODEL_NAME} version {number}"
    with client_of(settings) as client, missing_is(VersionNotFoundError, f"{what} is not in the registry"):
        # Where the files lie, not `models:/...`: MLflow resolves that one against the global tracking URI.
        source = client.get_model_version_download_uri(MODEL_NAME, str(number))
        to.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to, prefix=".download-") as scratch:
            folder = Path(
                download_artifacts(
                    artifact_uri=f"{source}/artifacts/factors",
                    dst_path=scratch,
                    tracking_uri=settings.mlflow_tracking_uri,
                    registry_uri=settings.mlflow_tracking_uri,
                )
            )
            if not folder.is_dir():
                raise VersionNotFoundError(f"{what} holds no saved model (artifacts/factors)")
            target = to / f"v{number}"
            shutil.rmtree(target, ignore_errors=True)
            folder.rename(target)
    return target


def run_url(settings: Settings, run_id: str) -> str:
    """The run's page in the MLflow UI."""
    with client_of(settings) as client, missing_is(RegistryError, f"run {run_id} is gone"):
        experiment_id = client.get_run(run_id).info.experiment_id
    return f"{settings.mlflow_ui_url}/#/experiments/{experiment_id}/runs/{run_id}"


def model_url(settings: Settings, version: int | None = None) -> str:
    """The registered model's page in the MLflow UI, or one version's."""
    page = f"{settings.mlflow_ui_url}/#/models/{MODEL_NAME}"
    return page if version is None else f"{page}/versions/{version}"


# --- the parts of a registration ----------------------------------------------------------------------------


def version_of(found: "ModelVersion") -> RegisteredVersion:
    """As MLflow tells it; raises `RegistryError` for a version that is not ours."""
    tags = dict(found.tags or {})
    kind = tags.get(ALGORITHM_TAG)
    if kind is None:
        raise RegistryError(
            f"{MODEL_NAME} version {found.version} has no tag `{ALGORITHM_TAG}`: it was not registered by reelgraph"
        )
    return RegisteredVersion(kind, int(found.version), found.run_id or "", found.source or "", tags)


def _registered_by(client: "MlflowClient", kind: str, dagster_run_id: str) -> RegisteredVersion | None:
    # Filtered here as well: a quote in an id must not change the query.
    found = client.search_model_versions(f"name='{MODEL_NAME}' and tags.{ALGORITHM_TAG}='{kind}'")
    same = [item for item in found if (item.tags or {}).get(DAGSTER_RUN_TAG) == dagster_run_id]
    return version_of(same[0]) if same else None


def _ensure_registered_model(client: "MlflowClient") -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(MODEL_NAME, description=DESCRIPTION)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise

"""The MLflow registry: one registered model, `recommender`, whose versions are told apart by the tag `algorithm`.

Every call takes the tracking URI from the settings and passes it on explicitly: nothing global is set.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from stack.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

MODEL_NAME = "recommender"
ALGORITHM_TAG = "algorithm"
DAGSTER_RUN_TAG = "dagster_run_id"
TRAINING_SET_TAG = "training_set"
CHAMPION, CHALLENGER = "champion", "challenger"
LOGGED_NAME = "model"

_HEALTH_TIMEOUT_S = 5.0
_BATCH = 1000  # MLflow refuses more metrics in one call
_PARAM_LIMIT, _TAG_LIMIT = 6000, 5000

DESCRIPTION = (
    "Short-video recommenders. The tag `algorithm` says which: svd, two-tower. Aliases: `champion` serves the feeds, "
    "`challenger` is on trial, `svd` and `two-tower` are the best of each kind. Moving `champion` here promotes "
    "or rolls back: the serving bundle follows within a minute."
)


class RegistryError(Exception):
    """MLflow refused what was asked; the message says what and why."""


class RegistryUnavailableError(RegistryError):
    """The MLflow server does not answer."""


class VersionNotFoundError(RegistryError):
    """No such version of the registered model, or its files are gone."""


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
) -> RegisteredVersion:
    """Log a run with its model and register the model as a new version of `recommender`.

    `model_dir` is a FactorModel save folder. `curves` are per-epoch series, first epoch = step 1. `artifacts` are
    files or folders, kept in the run under their key. `training_set` says what was trained on: `version` (the DVC
    hash) and anything else worth showing (`rows`, `window_days`, ...). The same `kind` registered again from the same
    Dagster run returns the version that is there. Raises `RegistryUnavailableError`, `RegistryError`.
    """
    training_set = dict(training_set or {})
    labels = {ALGORITHM_TAG: kind, **(tags or {})}
    if dagster_run_id:
        labels[DAGSTER_RUN_TAG] = dagster_run_id
    if training_set.get("version"):
        labels[TRAINING_SET_TAG] = str(training_set["version"])
    with _client(settings) as client:
        if dagster_run_id and (known := _registered_by(client, kind, dagster_run_id)):
            return known
        note = description or _describe(kind, metrics, training_set)
        run_id = client.create_run(
            _experiment_id(client, experiment),
            run_name=run_name,
            tags={**_cut(labels, _TAG_LIMIT), "mlflow.note.content": note, "mlflow.source.name": "reelgraph"},
        ).info.run_id
        try:
            _log_training_set(client, run_id, training_set)
            _log_params(client, run_id, params)
            _log_curves(client, run_id, curves or {})
            for name, path in (artifacts or {}).items():
                _log_artifact(client, run_id, name, path)
            model_id = _log_model(client, run_id, kind, model_dir, params, metrics, labels)
            _ensure_registered_model(client)
            version = client.create_model_version(
                MODEL_NAME,
                source=f"models:/{model_id}",
                run_id=run_id,
                model_id=model_id,
                tags=_cut(labels, _TAG_LIMIT),
                description=note,
            )
        except BaseException:
            client.set_terminated(run_id, status="FAILED")
            raise
        client.set_terminated(run_id)
        return _version(version)


def set_alias(settings: Settings, alias: str, version: int) -> None:
    """Point `alias` at `version`; raises `VersionNotFoundError`."""
    with (
        _client(settings) as client,
        _missing_is(VersionNotFoundError, f"{MODEL_NAME} has no version {version}"),
    ):
        client.get_model_version(MODEL_NAME, str(version))
        client.set_registered_model_alias(MODEL_NAME, alias, str(version))


def by_alias(settings: Settings, alias: str) -> RegisteredVersion | None:
    """The version `alias` points at; None if there is no such alias (or no registered model yet)."""
    from mlflow.exceptions import MlflowException

    with _client(settings) as client:
        try:
            found = client.get_model_version_by_alias(MODEL_NAME, alias)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        # This answer may leave the tags out; the version itself has them.
        return _version(client.get_model_version(MODEL_NAME, found.version))


def versions(settings: Settings, kind: str | None = None) -> list[RegisteredVersion]:
    """All versions, newest first; only those of one algorithm if `kind` is given."""
    with _client(settings) as client:
        query = f"name='{MODEL_NAME}'" + (f" and tags.{ALGORITHM_TAG}='{kind}'" if kind else "")
        found, token = [], None
        while True:
            page = client.search_model_versions(query, page_token=token)
            found += [_version(item) for item in page]
            token = page.token
            if not token:
                return sorted(found, key=lambda item: -item.version)


def metrics_of(settings: Settings, version: RegisteredVersion) -> dict[str, float]:
    """The last value of every metric of the run that made `version`."""
    with _client(settings) as client, _missing_is(VersionNotFoundError, f"run {version.run_id} is gone"):
        return dict(client.get_run(version.run_id).data.metrics)


def download(settings: Settings, version: RegisteredVersion | int, to: Path) -> Path:
    """Copy the FactorModel folder of a version into `to` (made if missing) and return its path there."""
    from mlflow.artifacts import download_artifacts

    number = version.version if isinstance(version, RegisteredVersion) else version
    what = f"{MODEL_NAME} version {number}"
    with _client(settings) as client, _missing_is(VersionNotFoundError, f"{what} is not in the registry"):
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
                raise VersionNotFoundError(f"{what} holds no factor model (artifacts/factors)")
            target = to / f"v{number}"
            shutil.rmtree(target, ignore_errors=True)
            folder.rename(target)
    return target


def run_url(settings: Settings, run_id: str) -> str:
    """The run's page in the MLflow UI."""
    with _client(settings) as client, _missing_is(RegistryError, f"run {run_id} is gone"):
        experiment_id = client.get_run(run_id).info.experiment_id
    return f"{settings.mlflow_tracking_uri}/#/experiments/{experiment_id}/runs/{run_id}"


def model_url(settings: Settings, version: int | None = None) -> str:
    """The registered model's page in the MLflow UI, or one version's."""
    page = f"{settings.mlflow_tracking_uri}/#/models/{MODEL_NAME}"
    return page if version is None else f"{page}/versions/{version}"


# --- the parts of a registration ----------------------------------------------------------------------------


@contextmanager
def _client(settings: Settings) -> Iterator["MlflowClient"]:
    """A client on the settings' server. Asks first whether it is there: MLflow's own retries take minutes."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri = settings.mlflow_tracking_uri
    try:
        httpx.get(f"{uri}/health", timeout=_HEALTH_TIMEOUT_S)
    except httpx.HTTPError as error:
        raise RegistryUnavailableError(
            f"the MLflow server at {_shown(uri)} does not answer: {error}"
        ) from error
    try:
        yield MlflowClient(tracking_uri=uri, registry_uri=uri)
    except MlflowException as error:
        raise RegistryError(f"MLflow at {_shown(uri)}: {error}") from error


def _shown(uri: str) -> str:
    """A URI without its password."""
    url = httpx.URL(uri)
    return f"{url.scheme}://{url.host}" + (f":{url.port}" if url.port else "")


@contextmanager
def _missing_is(kind: type[RegistryError], message: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise kind(message) from error
        raise


def _version(found: "ModelVersion") -> RegisteredVersion:
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
    return _version(same[0]) if same else None


def _experiment_id(client: "MlflowClient", name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # made by another process meanwhile
            if found is None:
                raise
    return found.experiment_id


def _ensure_registered_model(client: "MlflowClient") -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(MODEL_NAME, description=DESCRIPTION)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _describe(kind: str, metrics: Mapping[str, float], training_set: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items())[:6])
    version, rows = training_set.get("version", "unknown"), training_set.get("rows", "?")
    return f"{kind}, trained on training set {version} ({rows} rows). {shown}".strip()


def _cut(values: Mapping[str, Any], limit: int) -> dict[str, str]:
    return {key: str(value)[:limit] for key, value in values.items()}


def _log_training_set(client: "MlflowClient", run_id: str, training_set: Mapping[str, Any]) -> None:
    """The training set as a dataset input, so that the UI shows and filters by it; the digest is its DVC hash."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    if not training_set.get("version"):
        return
    dataset = Dataset(
        name="training_set",
        digest=str(training_set["version"])[:36],
        source_type="local",
        source=json.dumps({"uri": f"dvc:{training_set['version']}"}),
        profile=json.dumps({k: v for k, v in training_set.items() if k != "version"}, default=str),
    )
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def _log_params(client: "MlflowClient", run_id: str, params: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    entries = [Param(key, value) for key, value in _cut(params, _PARAM_LIMIT).items()]
    for start in range(0, len(entries), 100):
        client.log_batch(run_id, params=entries[start : start + 100])


def _log_curves(client: "MlflowClient", run_id: str, curves: Mapping[str, Sequence[float]]) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    points = [
        Metric(name, float(value), now, step)
        for name, series in curves.items()
        for step, value in enumerate(series, start=1)
    ]
    for start in range(0, len(points), _BATCH):
        client.log_batch(run_id, metrics=points[start : start + _BATCH])


def _log_artifact(client: "MlflowClient", run_id: str, name: str, path: Path) -> None:
    if path.is_dir():
        client.log_artifacts(run_id, str(path), name)
    else:
        client.log_artifact(run_id, str(path), name)


def _log_model(
    client: "MlflowClient",
    run_id: str,
    kind: str,
    model_dir: Path,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    labels: Mapping[str, str],
) -> str:
    """Log the model with its metrics and link it to the run; returns its id (`m-...`)."""
    from mlflow.entities import LoggedModelOutput, Metric

    from serving.packaging import save_pyfunc

    experiment_id = client.get_run(run_id).info.experiment_id
    logged = client.create_logged_model(
        experiment_id,
        name=LOGGED_NAME,
        source_run_id=run_id,
        tags=_cut(labels, _TAG_LIMIT),
        params=_cut(params, _PARAM_LIMIT),
        model_type=kind,
    )
    try:
        with tempfile.TemporaryDirectory(prefix="reelgraph-model-") as scratch:
            folder = save_pyfunc(Path(scratch) / "model", model_dir, run_id=run_id, model_id=logged.model_id)
            client.log_model_artifacts(logged.model_id, str(folder))
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        now = int(time.time() * 1000)
        client.log_batch(
            run_id,
            metrics=[Metric(k, float(v), now, 0, model_id=logged.model_id) for k, v in metrics.items()],
        )
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")
    return logged.model_id

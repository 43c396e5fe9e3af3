"""What an MLflow run of ours holds: training set, parameters, curves, artifacts, the model with its metrics."""

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.packaging import save_pyfunc

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOGGED_NAME = "model"
PARAM_LIMIT, TAG_LIMIT, VERSION_TAG_LIMIT = 6000, 5000, 100_000  # characters, of MLflow

_BATCH = 1000  # MLflow refuses more metrics in one call, and more than 100 parameters


def describe(kind: str, metrics: Mapping[str, float], training_set: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items())[:6])
    version, rows = training_set.get("version", "unknown"), training_set.get("rows", "?")
    return f"{kind}, trained on training set {version} ({rows} rows). {shown}".strip()


def cut(values: Mapping[str, Any], limit: int) -> dict[str, str]:
    return {key: str(value)[:limit] for key, value in values.items()}


def experiment_id(client: "MlflowClient", name: str) -> str:
    """The id of the experiment of this name, made if it is not there."""
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


def log_training_set(client: "MlflowClient", run_id: str, training_set: Mapping[str, Any]) -> None:
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


def log_params(client: "MlflowClient", run_id: str, params: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    entries = [Param(key, value) for key, value in cut(params, PARAM_LIMIT).items()]
    for start in range(0, len(entries), 100):
        client.log_batch(run_id, params=entries[start : start + 100])


def log_curves(client: "MlflowClient", run_id: str, curves: Mapping[str, Sequence[float]]) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    points = [
        Metric(name, float(value), now, step)
        for name, series in curves.items()
        for step, value in enumerate(series, start=1)
    ]
    for start in range(0, len(points), _BATCH):
        client.log_batch(run_id, metrics=points[start : start + _BATCH])


def log_artifact(client: "MlflowClient", run_id: str, name: str, path: Path) -> None:
    if path.is_dir():
        client.log_artifacts(run_id, str(path), name)
    else:
        client.log_artifact(run_id, str(path), name)


def log_model(
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

    experiment_id = client.get_run(run_id).info.experiment_id
    logged = client.create_logged_model(
        experiment_id,
        name=LOGGED_NAME,
        source_run_id=run_id,
        tags=cut(labels, TAG_LIMIT),
        params=cut(params, PARAM_LIMIT),
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

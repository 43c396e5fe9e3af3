"""A study and its trials on a real MLflow server: nested, whole, each once, whatever happened in between."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from ml.tuning_study import TrialRecord
from serving.registry.access import RegistryUnavailableError
from serving.trials import StudyLog
from stack.settings import Settings
from tests.serving.conftest import free_port

PARAMS = {"learning_rate": 0.005, "n_epochs": 20}
COMPLETE = TrialRecord(
    *(0, 0, "complete", PARAMS, 0.25, {1: 0.125, 2: 0.25}, 1.5, "", 1_700_000_000_000, 1_700_000_001_500),
    {"epochs": 2},
)
PRUNED = TrialRecord(1, 1, "pruned", PARAMS, None, {1: 0.0625}, 0.5, "", 1_700_000_002_000, 1_700_000_002_500)
FAILED = TrialRecord(
    2, 2, "failed", PARAMS, None, {}, 0.25, "DivergedError: nan", 1_700_000_003_000, 1_700_000_003_250
)
INTERRUPTED = TrialRecord(3, 3, "interrupted", {}, None, {}, 0.0, "", 1_700_000_004_000, 1_700_000_004_000)


@pytest.fixture
def log(home: Settings, mlflow_uri: str) -> StudyLog:
    settings = home.model_copy(update={"mlflow_tracking_uri_override": mlflow_uri})
    return StudyLog(settings, "tuning", f"svd-{uuid4().hex[:12]}", "ndcg_at_10")


@pytest.fixture
def client(mlflow_uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=mlflow_uri)


def opened(log: StudyLog, *trials: TrialRecord, **changes: Any) -> str:
    options: dict[str, Any] = {
        "run_name": "svd",
        "params": {"present.learning_rate": 0.005},
        "tags": {"algorithm": "svd"},
        "training_set": {"version": "abc.dir", "rows": 10},
        **changes,
    }
    return log.open(trials, **options)


def children(client: MlflowClient, log: StudyLog, run_id: str) -> dict[str, Run]:
    experiment = client.get_experiment_by_name(log.experiment)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'")
    numbered = {run.data.tags["trial"]: run for run in found}
    assert len(numbered) == len(found), "a trial was logged twice"
    return numbered


def test_every_trial_is_a_nested_run_that_says_how_it_ended(log: StudyLog, client: MlflowClient) -> None:
    run_id = opened(log)
    for trial in (COMPLETE, PRUNED, FAILED, INTERRUPTED):
        log.trial(run_id, trial)
    runs = children(client, log, run_id)
    assert [runs[n].info.status for n in "0123"] == ["FINISHED", "KILLED", "FAILED", "KILLED"]
    assert [runs[n].data.tags["state"] for n in "0123"] == ["complete", "pruned", "failed", "interrupted"]
    first = runs["0"]
    assert first.data.params == {"learning_rate": "0.005", "n_epochs": "20"}
    assert first.data.metrics == {"seconds": 1.5, "ndcg_at_10": 0.25, "ndcg_at_10_by_epoch": 0.25}
    assert first.data.tags["found_epochs"] == "2"
    assert (first.info.start_time, first.info.end_time) == (1_700_000_000_000, 1_700_000_001_500)
    curve = client.get_metric_history(first.info.run_id, "ndcg_at_10_by_epoch")
    assert [(point.step, point.value) for point in curve] == [(1, 0.125), (2, 0.25)]
    assert "ndcg_at_10" not in runs["1"].data.metrics
    assert runs["2"].data.tags["reason"] == "DivergedError: nan"


def test_a_study_has_one_run_however_often_it_is_opened(
    log: StudyLog, client: MlflowClient, tmp_path: Path
) -> None:
    run_id = opened(log, tags={"algorithm": "svd", "dagster_run_id": "first"})
    log.trial(run_id, COMPLETE)
    log.close(run_id, interrupted=True)
    assert client.get_run(run_id).info.status == "KILLED"

    assert opened(log, COMPLETE, tags={"dagster_run_id": "second"}) == run_id
    assert client.get_run(run_id).info.status == "RUNNING"
    (tmp_path / "parameters.json").write_text("{}")
    log.close(run_id, metrics={"lead": 0.5})
    log.annotate(run_id, tags={"parameters_version": "def.dir"}, files=[tmp_path / "parameters.json"])
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"lead": 0.5}
    assert run.data.params == {"present.learning_rate": "0.005"}
    assert {"algorithm": "svd", "dagster_run_id": "second", "parameters_version": "def.dir"}.items() <= (
        run.data.tags.items()
    )
    assert run.inputs.dataset_inputs[0].dataset.digest == "abc.dir"
    assert [each.path for each in client.list_artifacts(run_id)] == ["parameters.json"]


def test_trials_that_were_not_logged_when_they_ended_are_logged_later_each_once(
    log: StudyLog, client: MlflowClient
) -> None:
    run_id = opened(log)
    log.trial(run_id, COMPLETE)
    assert opened(log, COMPLETE, PRUNED) == run_id
    log.close(run_id, [COMPLETE, PRUNED, FAILED])
    assert sorted(children(client, log, run_id)) == ["0", "1", "2"]


def test_a_trial_logged_halfway_is_logged_anew(log: StudyLog, client: MlflowClient) -> None:
    run_id = opened(log)
    half = client.create_run(
        client.get_run(run_id).info.experiment_id,
        tags={"mlflow.parentRunId": run_id, "trial": "0", "study": log.study},
    )
    opened(log, COMPLETE)
    runs = children(client, log, run_id)
    assert runs["0"].info.run_id != half.info.run_id
    assert runs["0"].data.metrics["ndcg_at_10"] == 0.25


def test_without_a_server_the_cause_is_named(home: Settings) -> None:
    nowhere = home.model_copy(update={"mlflow_tracking_uri_override": f"http://127.0.0.1:{free_port()}"})
    with pytest.raises(RegistryUnavailableError):
        opened(StudyLog(nowhere, "tuning", "svd-1", "ndcg_at_10"))

"""The tuning asset on planted data: what it writes to disk, DVC, MLflow and the log, and what it never does."""

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from mlflow import MlflowClient

from ml import tuning_objective as objective
from ml.config import TrainConfig
from ml.fitting import Fitted
from ml.training_set import TrainingSet as MlTrainingSet
from ml.tuning import Tuning
from ml.tuning_parameters import load, save
from orchestration.defs.tuning import TUNING, tuned_parameters, tuning_job
from orchestration.io_managers import RecordIOManager
from orchestration.records import TrainingSet
from orchestration.resources import Stores
from orchestration.tuning import TunedParameters, present_config
from stack import data_versions
from stack.settings import Settings
from tests.conftest import free_ports, settings_at
from tests.ml.planted import catalogue, taste_videos, tastes, write_folder
from tests.serving import conftest as servers

mlflow_uri = servers.mlflow_uri  # a real server, the fixture of the serving tests

POOR = {"svd": {"n_factors": 8, "n_epochs": 2, "learning_rate": 0.001}}


@dg.asset_check(asset="training_set", blocking=True)
def training_set_is_valid() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False)


@dataclass
class Place:
    """A home with a planted training set in it."""

    settings: Settings
    instance: dg.DagsterInstance

    @property
    def parameters(self) -> Path:
        return self.settings.home / "parameters" / "parameters.json"

    def tune(self, config: dict | None = None, **changes: object) -> dg.ExecuteInProcessResult:
        config = config or {"minutes": 5, "kinds": ["svd"]}
        settings = self.settings.model_copy(update=changes)

        class StoresAt(Stores):
            @property
            def settings(self) -> Settings:
                return settings

        return dg.materialize(
            [tuned_parameters, training_set_of(settings)],
            selection=TUNING,
            resources={"io_manager": RecordIOManager(settings.home / "records"), "stores": StoresAt()},
            run_config={"ops": {"tuned_parameters": {"config": config}}},
            instance=self.instance,
            raise_on_error=False,
        )


def training_set_of(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset
    def training_set() -> TrainingSet:
        folder = write_folder(settings.training_set_dir, tastes(), catalogue(taste_videos()))
        return TrainingSet(path=folder, dvc_hash="0.dir", meta={"rows": 940})

    return training_set


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    settings = settings_at(
        tmp_path / "home", mlflow_tracking_uri_override=f"http://127.0.0.1:{free_ports(1)[0]}"
    )
    monkeypatch.setattr("ml.tuning.TRIALS_PER_FIELD", 2)
    settings.home.mkdir()
    save(settings.home / "parameters", POOR, {})
    with dg.instance_for_test() as instance:
        dg.materialize(
            [training_set_of(settings)],
            resources={"io_manager": RecordIOManager(settings.home / "records")},
            instance=instance,
        )
        yield Place(settings, instance)


def materialization(result: dg.ExecuteInProcessResult) -> dg.AssetMaterialization:
    assert result.success
    [event] = result.asset_materializations_for_node("tuned_parameters")
    return event


def logged(place: Place, result: dg.ExecuteInProcessResult) -> str:
    return "\n".join(entry.user_message for entry in place.instance.all_logs(result.run_id))


def test_the_winner_is_on_disk_in_dvc_in_mlflow_and_in_the_next_training(
    place: Place, mlflow_uri: str
) -> None:
    result = place.tune(mlflow_tracking_uri_override=mlflow_uri)
    event = materialization(result)

    tuned = load(place.parameters)
    assert tuned["svd"]["n_epochs"] > 2
    assert tuned["svd"]["n_factors"] == 8
    assert present_config(place.settings).svd.n_epochs == tuned["svd"]["n_epochs"]
    evidence = json.loads((place.parameters.parent / "evidence.json").read_text())
    assert evidence["svd"]["difference"]["low"] > 0

    version = str(event.metadata["dvc hash"].value)
    assert event.tags is not None
    assert event.tags["dagster/data_version"] == version
    record = result.output_for_node("tuned_parameters")
    assert record == TunedParameters(
        path=place.parameters, dvc_hash=version, replaced=["svd"], training_set_hash="0.dir"
    )
    elsewhere = data_versions.checkout(place.settings, version, place.settings.home / "checked out")
    assert load(elsewhere / "parameters.json") == tuned
    assert data_versions.provenance_of(place.parameters.parent) == {"dagster_run_id": result.run_id}

    client = MlflowClient(tracking_uri=mlflow_uri)
    experiment = client.get_experiment_by_name("tuning")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], f"tags.dagster_run_id = '{result.run_id}'")
    [study] = runs
    assert study.info.status == "FINISHED"
    assert study.data.tags["parameters_version"] == version
    assert study.data.tags["replaced"] == "true"
    assert study.data.metrics["confirmed_lead_low"] > 0
    assert [item.path for item in client.list_artifacts(study.info.run_id)] == [
        "evidence.json",
        "parameters.json",
    ]
    children = client.search_runs(
        [experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{study.info.run_id}'"
    )
    assert sorted(run.data.tags["trial"] for run in children) == list("012345")
    assert study.info.run_id in str(event.metadata["MLflow run of svd"].value)


def test_the_log_says_how_far_it_is(place: Place) -> None:
    said = logged(place, place.tune())
    assert "svd: trial 0 complete ndcg_at_10 0." in said
    assert "best 0." in said
    assert "minutes left" in said
    assert "replaces the present parameters: ndcg_at_10 +0." in said


def test_without_mlflow_the_search_goes_on_and_is_logged_the_next_time(
    place: Place,
    mlflow_uri: str,
) -> None:
    began = time.time()
    first = place.tune()
    materialization(first)
    assert "trials are not in MLflow yet" in logged(place, first)

    second = place.tune(mlflow_tracking_uri_override=mlflow_uri)
    materialization(second)
    client = MlflowClient(tracking_uri=mlflow_uri)
    experiment = client.get_experiment_by_name("tuning")
    assert experiment is not None
    children = client.search_runs([experiment.experiment_id], "tags.trial != ''")
    [journal] = (place.settings.home / "tuning").glob("*.journal")
    mine = [
        run
        for run in children
        if run.data.tags["study"].startswith(journal.stem) and run.info.start_time / 1000 > began
    ]
    assert sorted(run.data.tags["trial"] for run in mine) == list("012345")


def test_a_run_that_is_terminated_goes_on_with_the_next(
    place: Place,
    mlflow_uri: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, fits = objective.fit, []

    def terminated(kind: str, *arguments: Any, **options: Any) -> Fitted:
        fits.append(kind)
        if fits.count("svd") == 3:
            os.kill(os.getpid(), signal.SIGINT)  # what Dagster makes of a SIGTERM, too
        return real(kind, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(objective, "fit", terminated)
        assert not place.tune(mlflow_tracking_uri_override=mlflow_uri).success
    assert load(place.parameters) == POOR

    result = place.tune(mlflow_tracking_uri_override=mlflow_uri)
    materialization(result)
    assert "svd: goes on after 3 trials" in logged(place, result)
    client = MlflowClient(tracking_uri=mlflow_uri)
    experiment = client.get_experiment_by_name("tuning")
    assert experiment is not None
    [study] = client.search_runs([experiment.experiment_id], f"tags.dagster_run_id = '{result.run_id}'")
    children = client.search_runs(
        [experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{study.info.run_id}'"
    )
    states = {run.data.tags["trial"]: run.data.tags["state"] for run in children}
    assert states == {"2": "interrupted", **dict.fromkeys("013456", "complete")}


def test_parameters_that_nobody_beats_keep_their_version(place: Place) -> None:
    first = materialization(place.tune())
    before = place.parameters.read_bytes()
    second = materialization(place.tune())
    assert second.metadata["replaced"].value == "nothing"
    assert second.metadata["dvc hash"].value == first.metadata["dvc hash"].value
    assert place.parameters.read_bytes() == before


def test_the_first_tuning_leaves_a_file_even_if_it_finds_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.parameters.unlink()
    monkeypatch.setattr("ml.tuning_search.CONFIRM_SHARE", 1.0)  # no time for any but the present parameters
    materialization(place.tune())
    assert load(place.parameters) == {}
    assert place.parameters.is_file()


def test_a_training_set_that_failed_its_validation_is_not_tuned_on(place: Place) -> None:
    dg.materialize(
        [training_set_of(place.settings), training_set_is_valid],
        resources={"io_manager": RecordIOManager(place.settings.home / "records")},
        instance=place.instance,
        raise_on_error=False,
    )
    assert not place.tune().success
    assert load(place.parameters) == POOR


@pytest.mark.parametrize(
    ("named", "tuned"),
    [
        ([], ["popularity", "als", "item-item", "content", "two-tower", "hybrid"]),
        (["svd"], ["svd"]),
    ],
)
def test_svd_is_tuned_only_where_it_is_named(
    named: list[str], tuned: list[str], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def nothing_found(data: MlTrainingSet, config: TrainConfig, *_: object, **options: Any) -> Tuning:
        asked.append(options["kinds"])
        return Tuning({}, config, data.sha256)

    monkeypatch.setattr("ml.tuning.tune", nothing_found)
    materialization(place.tune(config={"minutes": 5, "kinds": named}))
    assert asked == [tuned]


def job() -> dg.JobDefinition:
    assets = [tuned_parameters, training_set_of(settings_at(Path("nowhere")))]
    definitions = dg.Definitions(assets=assets, jobs=[tuning_job], resources={"stores": Stores()})
    return definitions.resolve_job_def("tuning_job")


@pytest.mark.parametrize("config", [{"minutes": 0}, {"kinds": ["magic"]}])
def test_what_makes_no_sense_is_refused(config: dict, place: Place) -> None:
    assert not place.tune(config=config).success
    assert load(place.parameters) == POOR


def test_the_job_tunes_and_does_nothing_else() -> None:
    assert [key.to_user_string() for key in job().asset_layer.executable_asset_keys] == ["tuned_parameters"]

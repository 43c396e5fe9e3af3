"""The registry against a real MLflow server: what a data scientist finds there, and what comes back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from ml.recommender import Recommender
from ml.saved import load
from serving.registry import registry
from stack.settings import Settings

from ..conftest import free_port, tiny_model


@pytest.fixture
def settings(mlflow_uri: str, tmp_path: Path) -> Settings:
    return Settings(_env_file=None, home=tmp_path / "home", MLFLOW_TRACKING_URI=mlflow_uri)


def save(model: Recommender, folder: Path) -> Path:
    model.save(folder)
    return folder


def register(
    settings: Settings, tmp_path: Path, kind: str = "svd", dagster_run_id: str | None = None, **more
):
    return registry.register(
        settings,
        kind=kind,
        model_dir=save(tiny_model(kind), tmp_path / f"model-{kind}"),
        experiment="recommender",
        run_name=f"{kind} test",
        params={"n_factors": 1, "lr": 0.005},
        metrics={"ndcg_at_10": 0.25, "precision_at_10": 0.125},
        dagster_run_id=dagster_run_id,
        training_set={"version": "0123456789abcdef0123456789abcdef.dir", "rows": 42},
        **more,
    )


def test_a_registered_model_shows_everything_a_data_scientist_looks_for(settings, tmp_path):
    report = tmp_path / "report.json"
    report.write_text('{"a": 1}')
    version = register(
        settings,
        tmp_path,
        dagster_run_id="run-shows",
        tags={"git_commit": "abc"},
        curves={"loss": [3.0, 2.0, 1.5]},
        artifacts={"reports": report, "factors_copy": tmp_path / "model-svd"},
    )
    client = MlflowClient(settings.mlflow_tracking_uri)
    run = client.get_run(version.run_id)

    assert version.kind == "svd"
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "svd test"
    assert run.data.params == {"n_factors": "1", "lr": "0.005"}
    assert run.data.metrics == {"loss": 1.5, "ndcg_at_10": 0.25, "precision_at_10": 0.125}
    assert [(m.step, m.value) for m in client.get_metric_history(version.run_id, "loss")] == [
        (1, 3.0),
        (2, 2.0),
        (3, 1.5),
    ]
    assert {k: run.data.tags[k] for k in ("algorithm", "dagster_run_id", "git_commit", "training_set")} == {
        "algorithm": "svd",
        "dagster_run_id": "run-shows",
        "git_commit": "abc",
        "training_set": "0123456789abcdef0123456789abcdef.dir",
    }
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.digest == "0123456789abcdef0123456789abcdef.dir"
    assert json.loads(dataset.dataset.profile) == {"rows": 42}
    assert [f.path for f in client.list_artifacts(version.run_id, "reports")] == ["reports/report.json"]
    assert len(client.list_artifacts(version.run_id, "factors_copy")) == 2

    (logged,) = client.search_logged_models([run.info.experiment_id], f"source_run_id='{version.run_id}'")
    assert version.source == f"models:/{logged.model_id}"
    assert logged.status == "READY"
    assert {m.key: m.value for m in logged.metrics} == {"ndcg_at_10": 0.25, "precision_at_10": 0.125}

    stored = client.get_model_version("recommender", str(version.version))
    assert stored.run_id == version.run_id
    assert stored.tags["algorithm"] == "svd"
    assert "42 rows" in stored.description
    assert "ndcg_at_10 0.25" in stored.description
    assert "champion" in client.get_registered_model("recommender").description
    assert registry.metrics_of(settings, version) == run.data.metrics


def test_the_same_dagster_run_registers_a_kind_once(settings, tmp_path):
    first = register(settings, tmp_path, "svd", "run-once")
    again = register(settings, tmp_path, "svd", "run-once")
    other = register(settings, tmp_path, "two-tower", "run-once")
    later = register(settings, tmp_path, "svd", "run-twice")

    assert again == first
    assert len({first.version, other.version, later.version}) == 3
    of_kind = [v.version for v in registry.versions(settings, "svd")]
    assert of_kind == sorted(of_kind, reverse=True)
    assert {first.version, later.version} <= set(of_kind)
    assert other.version not in of_kind
    assert {v.version for v in registry.versions(settings)} >= {first.version, other.version, later.version}


def test_an_alias_moves_between_versions(settings, tmp_path):
    svd = register(settings, tmp_path, "svd")
    tower = register(settings, tmp_path, "two-tower")
    assert registry.by_alias(settings, "nobody-has-set-this") is None

    registry.set_alias(settings, "champion", svd.version)
    assert registry.by_alias(settings, "champion") == svd
    registry.set_alias(settings, "champion", tower.version)
    assert registry.by_alias(settings, "champion") == tower
    assert registry.by_alias(settings, "champion").kind == "two-tower"


def test_a_downloaded_version_is_the_model_that_was_registered(settings, tmp_path):
    version = register(settings, tmp_path)
    folder = registry.download(settings, version, tmp_path / "down")
    assert registry.download(settings, version.version, tmp_path / "down") == folder  # again, in place

    model = load(folder)
    np.testing.assert_array_equal(model.video_factors, tiny_model().video_factors)
    assert model.info == {"made": "by hand"}
    assert [p.name for p in (tmp_path / "down").iterdir()] == [f"v{version.version}"]


LOAD_ELSEWHERE = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in repr(f)]  # as if reelgraph were not installed
sys.path[:] = [p for p in sys.path if p != sys.argv[3]]
try:
    import ml
    raise SystemExit("ml must not be importable here")
except ImportError:
    pass
import mlflow, pandas as pd
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
assert model.metadata.get_input_schema().input_names() == ["user_id", "k"]
print(model.predict(pd.DataFrame({"user_id": ["bob", "stranger"], "k": [2, 1]})).to_json(orient="values"))
"""


def test_the_logged_model_loads_anywhere_without_unpickling(settings, tmp_path):
    version = register(settings, tmp_path)
    root = str(Path(registry.__file__).parents[2])
    done = subprocess.run(
        [
            *(sys.executable, "-c", LOAD_ELSEWHERE, settings.mlflow_tracking_uri),
            *(f"models:/recommender/{version.version}", root),
        ],
        env={**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    ranked = json.loads(done.stdout.splitlines()[-1])
    assert [(user, rank, video) for user, rank, video, _ in ranked] == [
        ("bob", 1, "v5"),
        ("bob", 2, "v4"),
        ("stranger", 1, "v0"),
    ]
    assert ranked[0][3] == pytest.approx(1.0)


def test_missing_things_are_named(settings, tmp_path):
    with pytest.raises(registry.VersionNotFoundError, match="no version 99999"):
        registry.set_alias(settings, "champion", 99999)
    with pytest.raises(registry.VersionNotFoundError, match="version 99999"):
        registry.download(settings, 99999, tmp_path / "down")
    with pytest.raises(registry.RegistryError, match="deadbeef"):
        registry.run_url(settings, "deadbeef")


def test_a_version_registered_by_hand_without_algorithm_is_refused_by_name(settings, tmp_path):
    version = register(settings, tmp_path)
    client = MlflowClient(settings.mlflow_tracking_uri)
    by_hand = client.create_model_version(
        "recommender", version.source, version.run_id, model_id=version.source.removeprefix("models:/")
    )
    client.set_registered_model_alias("recommender", "odd", by_hand.version)
    try:
        with pytest.raises(registry.RegistryError, match=f"version {by_hand.version} has no tag `algorithm`"):
            registry.by_alias(settings, "odd")
    finally:
        client.delete_model_version("recommender", by_hand.version)


def test_a_model_that_cannot_be_read_leaves_a_failed_run_and_no_version(settings, tmp_path):
    before = len(registry.versions(settings))
    (tmp_path / "empty").mkdir()
    with pytest.raises(Exception, match="not a saved model"):
        registry.register(
            settings,
            kind="svd",
            model_dir=tmp_path / "empty",
            experiment="broken",
            run_name="broken",
            params={},
            metrics={},
        )
    client = MlflowClient(settings.mlflow_tracking_uri)
    (run,) = client.search_runs([client.get_experiment_by_name("broken").experiment_id])
    assert run.info.status == "FAILED"
    assert len(registry.versions(settings)) == before


def test_links_lead_into_the_ui(settings, tmp_path):
    version = register(settings, tmp_path)
    shown = settings.model_copy(update={"public_mlflow_url": "https://mlflow.public"})
    for given, uri in ((settings, settings.mlflow_tracking_uri), (shown, "https://mlflow.public")):
        assert registry.run_url(given, version.run_id).startswith(f"{uri}/#/experiments/")
        assert registry.run_url(given, version.run_id).endswith(f"/runs/{version.run_id}")
        assert registry.model_url(given) == f"{uri}/#/models/recommender"
        assert registry.model_url(given, 3) == f"{uri}/#/models/recommender/versions/3"


def test_a_server_that_is_down_is_said_at_once():
    port = free_port()
    gone = Settings(_env_file=None, MLFLOW_TRACKING_URI=f"http://user:secret@127.0.0.1:{port}")
    with pytest.raises(
        registry.RegistryUnavailableError, match=f"http://127.0.0.1:{port} does not answer"
    ) as error:
        registry.by_alias(gone, "champion")
    assert "secret" not in str(error.value)

"""What the endpoint asks of Dagster for each kind of training fits the real job: its assets, its steps, its config."""

import json
import subprocess
import sys
from typing import get_args

import pytest

from serving.trainings.runs import JOB, TRAINING_JOBS, ModelType, TrainingRequest
from stack.settings import PROJECT_ROOT, Settings, child_environment

PROBE = """
import json, sys
import dagster as dg
from orchestration.definitions import definitions
asked = json.load(sys.stdin)
repository = definitions().get_repository_def()
found = {"jobs": [job.name for job in repository.get_all_jobs()]}
job = repository.get_job("training_job")
for name, request in asked.items():
    keys = {dg.AssetKey(asset) for asset in request["assets"]}
    part = job.get_subset(asset_selection=keys) if keys else job
    dg.validate_run_config(part, request["config"])
    found[name] = sorted(key.to_user_string() for key in part.asset_layer.executable_asset_keys)
try:
    dg.validate_run_config(job, {"ops": {"training_models": {"config": {"begin": "2022-05-01"}}}})
except dg.DagsterInvalidConfigError:
    found["wrong config"] = "refused"
print(json.dumps(found))
"""
AFTERWARDS = ["model_evaluation", "promotion_decision", "registered_models", "serving_bundle"]
KINDS = [kind for kind in get_args(ModelType) if kind != "all"]


@pytest.fixture(scope="module")
def found(settings: Settings) -> dict:
    requests = {kind: TrainingRequest(model_type=kind) for kind in get_args(ModelType)}
    requests["dates"] = TrainingRequest.model_validate({"start_date": "2022-05-01", "end_date": "2022-05-31"})
    asked = {name: {"assets": r.assets, "config": r.run_config} for name, r in requests.items()}
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        input=json.dumps(asked),
        env=child_environment(settings),
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_trains_that_model_and_what_follows_it(found: dict, kind: str) -> None:
    assert found[kind] == sorted([f"{kind.replace('-', '_')}_model", *AFTERWARDS])


def test_everything_makes_the_set_and_trains_all(found: dict) -> None:
    models = {f"{kind.replace('-', '_')}_model" for kind in KINDS}
    assert {"training_interactions", "training_set", *models, *AFTERWARDS} <= set(found["all"])
    assert found["dates"] == found["all"]


def test_the_jobs_are_the_graphs_and_a_config_it_does_not_know_is_refused(found: dict) -> None:
    assert {JOB, *TRAINING_JOBS} <= set(found["jobs"])
    assert found["wrong config"] == "refused"

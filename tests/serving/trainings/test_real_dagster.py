"""The training routes over a real Dagster: webserver, code location and runs, with assets that take no time."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from stack.settings import PROJECT_ROOT, telemetry_off
from tests.serving.conftest import free_port, stop, wait_for
from tests.serving.trainings.conftest import Make

pytestmark = [pytest.mark.slow, pytest.mark.stack]
TRAIN = "/api/v1/recs/train"

LOCATION = """
import time
from pathlib import Path
import dagster as dg

HERE = Path(__file__).parent

class Window(dg.Config):
    start_date: str | None = None
    end_date: str | None = None

def done(what):
    with (HERE / "done").open("a") as file:
        file.write(what + "\\n")
    while (HERE / "hold").exists():
        time.sleep(0.05)

@dg.multi_asset(name="training_models", specs=[dg.AssetSpec("training_interactions")])
def training_models(config: Window):
    done(f"training_interactions {config.start_date} {config.end_date}")

def asset(name, deps):
    @dg.asset(name=name, deps=deps)
    def made():
        done(name)
    return made

svd, als = asset("svd_model", ["training_interactions"]), asset("als_model", ["training_interactions"])
rest = [asset("model_evaluation", [svd, als]), asset("registered_models", ["model_evaluation"]),
        asset("promotion_decision", ["registered_models"]), asset("serving_bundle", ["promotion_decision"])]
assets = [training_models, svd, als, *rest]
definitions = dg.Definitions(assets=assets, jobs=[dg.define_asset_job("training_job", selection="*")],
                             executor=dg.in_process_executor)
"""


@dataclass(frozen=True)
class Dagster:
    port: int
    folder: Path

    def done(self) -> list[str]:
        file = self.folder / "done"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    folder = tmp_path_factory.mktemp("dagster")
    (folder / "location.py").write_text(LOCATION)
    (folder / "workspace.yaml").write_text(
        "load_from: [{python_file: {relative_path: location.py, location_name: reelgraph}}]"
    )
    (folder / "dagster.yaml").write_text(  # launched at once: no daemon takes runs from a queue here
        "telemetry: {enabled: false}\n"
        "run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}\n"
    )
    port = free_port()
    command = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-w", str(folder / "workspace.yaml")],
            env={
                **os.environ,
                **telemetry_off(),
                "DAGSTER_HOME": str(folder),
                "PYTHONPATH": str(PROJECT_ROOT),
            },
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        wait_for(lambda: _up(port), f"Dagster: {(folder / 'log').read_text()}", timeout=120)
        yield Dagster(port, folder)
    finally:
        stop(process)


def _up(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/server_info", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def ended(client: TestClient, run_id: str) -> dict:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        body = client.get(f"{TRAIN}/{run_id}").json()
        if body["status"] not in ("queued", "running"):
            return body
        time.sleep(0.2)
    raise TimeoutError(body)


@pytest.fixture
def client(make_client: Make, dagster: Dagster) -> Iterator[TestClient]:
    (dagster.folder / "done").unlink(missing_ok=True)
    yield make_client(dagster.port, read_budget_s=20)
    (dagster.folder / "hold").unlink(missing_ok=True)


def test_a_training_of_dates_runs_and_no_other_beside_it(client: TestClient, dagster: Dagster) -> None:
    (dagster.folder / "hold").touch()
    dates = {"start_date": "2022-05-01", "end_date": "2022-05-31"}
    first = client.post(TRAIN, json=dates, headers={"Idempotency-Key": "may"})
    assert first.status_code == 202, first.text
    run_id = first.json()["run_id"]
    wait_for(lambda: bool(dagster.done()), "the run", timeout=60)
    second = client.post(TRAIN, json={})
    assert (second.status_code, second.json()["run_id"]) == (409, run_id)
    assert client.get(f"{TRAIN}/{run_id}").json()["status"] == "running"
    (dagster.folder / "hold").unlink()
    body = ended(client, run_id)
    assert (body["status"], body["start_date"], body["end_date"]) == ("succeeded", *dates.values())
    assert body["duration_s"] > 0
    assert dagster.done()[0] == "training_interactions 2022-05-01 2022-05-31"
    assert {"svd_model", "als_model", "serving_bundle"} <= set(dagster.done())
    again = client.post(TRAIN, json=dates, headers={"Idempotency-Key": "may"}).json()
    assert (again["run_id"], again["replayed"]) == (run_id, True)


def test_one_kind_trains_alone(client: TestClient, dagster: Dagster) -> None:
    response = client.post(TRAIN, json={"model_type": "svd"})
    assert response.status_code == 202, response.text
    assert ended(client, response.json()["run_id"])["status"] == "succeeded"
    assert sorted(dagster.done()) == [
        "model_evaluation",
        "promotion_decision",
        "registered_models",
        "serving_bundle",
        "svd_model",
    ]


def test_a_run_nobody_knows_is_a_404(client: TestClient) -> None:
    assert client.get(f"{TRAIN}/3f1f8d3e-6f0a-4c59-9f5e-0c1f2b7b9a11").status_code == 404

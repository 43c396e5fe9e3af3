"""What the endpoint says of its experiments."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from serving.api import experiments
from serving.api.app import create_app
from serving.api.experiments_schemas import ExperimentsAnswer
from serving.api.state import State
from serving.experiments.running import Experiments
from serving.gateway import Gateway
from serving.schemas import Problem
from tests.serving.experiments.declared import experiment, plain, text

ROUTE = "/api/v1/recs/experiments"


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def client(state: State) -> TestClient:
    return TestClient(Gateway(create_app(state), state.metrics), raise_server_exceptions=False)


@pytest.fixture
def path(state: State, tmp_path: Path) -> Path:
    found = tmp_path / "experiments.yaml"
    found.write_text(text(experiment(description="More variety?"), plain("later", 0.5, 0.5, status="paused")))
    state.experiments = Experiments(found, state.metrics.registry)
    state.experiments.refresh()
    return found


def test_every_experiment_is_told_with_its_variants(client: TestClient, path: Path) -> None:
    body = client.get(ROUTE).json()
    ExperimentsAnswer.model_validate(body)
    assert (body["user"], body["problem"]) == (None, None)
    first, second = body["experiments"]
    assert first == {
        "id": "diversity",
        "description": "More variety?",
        "status": "running",
        "running": True,
        "start": None,
        "end": None,
        "traffic": 1.0,
        "group": None,
        "slot": None,
        "control": "today",
        "variants": [
            {"name": "today", "share": 0.5, "parameters": {}},
            {"name": "more", "share": 0.5, "parameters": {"diversity": 0.4}},
        ],
    }
    assert (second["id"], second["running"]) == ("later", False)


def test_what_a_user_gets_is_told_and_not_counted(client: TestClient, state: State, path: Path) -> None:
    body = client.get(ROUTE, params={"user_id": "ann"}).json()
    ExperimentsAnswer.model_validate(body)
    assert body["user"] == {
        "user_id": "ann",
        "variants": {"diversity": "more"},
        "parameters": {"diversity": 0.4},
    }
    assert b"reelgraph_experiment_assignments_total{" not in state.metrics.render()


def test_a_broken_file_is_seen_from_outside_without_its_path(
    client: TestClient, state: State, path: Path
) -> None:
    path.write_text("experiments: [")
    assert state.experiments is not None
    state.experiments.refresh()
    body = client.get(ROUTE).json()
    assert body["problem"] == "experiments.yaml: is not YAML at line 1"
    assert len(body["experiments"]) == 2


@pytest.mark.parametrize("query", ["?user_id=", "?colour=red", "?user_id=a%00b"])
def test_bad_input_is_named(client: TestClient, path: Path, query: str) -> None:
    response = client.get(ROUTE + query)
    assert response.status_code == 422
    Problem.model_validate(response.json())


def test_what_another_user_gets_is_nobodys_business(client: TestClient, state: State, path: Path) -> None:
    class Gate:
        """Stands for the security, which has tests of its own."""

        def may_act_for(self, request: object, user_id: str) -> bool:
            return user_id == "ann"

        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"not asked for: {name}")

    state.security = Gate()  # type: ignore[assignment]
    client = TestClient(_unguarded(state), raise_server_exceptions=False)
    assert client.get(ROUTE).status_code == 200
    assert client.get(ROUTE, params={"user_id": "ann"}).status_code == 200
    response = client.get(ROUTE, params={"user_id": "bob"})
    assert response.status_code == 403
    Problem.model_validate(response.json())


def _unguarded(state: State) -> Gateway:
    """The route alone: the guard in front of all routes would ask the security for more."""
    app = FastAPI()
    experiments.add(app, state)
    return Gateway(app, state.metrics)


def test_without_the_part_the_route_says_so(client: TestClient) -> None:
    response = client.get(ROUTE)
    assert response.status_code == 503
    assert response.json()["detail"] == "experiments are not available"

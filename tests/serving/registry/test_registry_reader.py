"""The model routes against a real MLflow server, and against one that is down, slow or no MLflow at all."""

from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serving.api.app import create_app
from serving.api.state import State
from serving.gateway import Gateway
from serving.registry import registry
from serving.registry.answers import ModelAnswer, ModelsAnswer, run_of
from serving.registry.lineage import Lineage
from serving.registry.reader import RegistryReader
from stack.settings import Settings
from tests.serving.conftest import free_port, tiny_model
from tests.serving.registry.double import GOOD, Registry

MODELS = "/api/v1/recs/models"
TRAINING_SET = "0123456789abcdef0123456789abcdef.dir"


@pytest.fixture
def make_client() -> Iterator[Callable[..., TestClient]]:
    opened: list[TestClient] = []

    def make(uri: str, **options: Any) -> TestClient:
        state = State()
        client = TestClient(Gateway(create_app(state), state.metrics), raise_server_exceptions=False)
        client.__enter__()
        opened.append(client)
        settings = Settings(_env_file=None, MLFLOW_TRACKING_URI=uri)

        async def assemble() -> None:
            state.registry = RegistryReader(settings, state.metrics, **options)

        assert client.portal is not None
        client.portal.call(assemble)
        client.state = state  # type: ignore[attr-defined]
        return client

    yield make
    for client in opened:
        assert client.portal is not None
        client.portal.call(client.state.registry.close)  # type: ignore[attr-defined]
        client.__exit__(None, None, None)


@pytest.fixture(scope="module")
def registered(
    mlflow_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, registry.RegisteredVersion]:
    """Two versions of `svd`, one of `als`; `champion` is the first, `svd` the second."""
    folder: Path = tmp_path_factory.mktemp("reader")
    settings = Settings(_env_file=None, home=folder, MLFLOW_TRACKING_URI=mlflow_uri)
    made = {}
    for name, kind, ndcg in (("old", "svd", 0.25), ("new", "svd", 0.5), ("other", "als", 0.125)):
        tiny_model(kind).save(folder / name)
        made[name] = registry.register(
            settings,
            kind=kind,
            model_dir=folder / name,
            experiment="reader",
            run_name=name,
            params={},
            metrics={"ndcg_at_10": ndcg},
            dagster_run_id=f"reader-{name}",
            training_set={"version": TRAINING_SET, "rows": 42},
            lineage=Lineage(git_commit="abc", dbt_invocation_id="dbt-1", trained_up_to_ms=1_652_000_000_000),
        )
    registry.set_alias(settings, "champion", made["old"].version)
    registry.set_alias(settings, "svd", made["new"].version)
    return made


def test_a_version_is_shown_with_its_aliases_metrics_and_lineage(
    make_client: Callable[..., TestClient], registered: dict, mlflow_uri: str
) -> None:
    version = registered["old"]
    client = make_client(mlflow_uri)
    response = client.get(f"{MODELS}/champion")
    ModelAnswer.model_validate_json(response.content)
    body = response.json()
    assert (body["name"], body["degraded"], body["degraded_because"]) == ("recommender", False, [])
    model = body["model"]
    assert model.pop("created_at").endswith("Z")
    url = model["lineage"].pop("mlflow_run_url")
    assert url.startswith(f"{mlflow_uri}/#/experiments/")
    assert url.endswith(f"/runs/{version.run_id}")
    assert model == {
        "version": version.version,
        "algorithm": "svd",
        "aliases": ["champion"],
        "status": "ready",
        "in_service": False,
        "description": f"svd, trained on training set {TRAINING_SET} (42 rows). ndcg_at_10 0.25",
        "metrics": {"ndcg_at_10": 0.25},
        "lineage": {
            "mlflow_run_id": version.run_id,
            "dagster_run_id": "reader-old",
            "training_set": TRAINING_SET,
            "trained_up_to": "2022-05-08T08:53:20Z",
            "git_commit": "abc",
            "dbt_invocation_id": "dbt-1",
        },
    }
    assert client.get(f"{MODELS}/{version.version}").json()["model"]["version"] == version.version


def test_the_list_is_newest_first_paged_and_of_one_kind(
    make_client: Callable[..., TestClient], registered: dict, mlflow_uri: str
) -> None:
    client = make_client(mlflow_uri)
    everything = client.get(MODELS, params={"limit": 100})
    ModelsAnswer.model_validate_json(everything.content)
    numbers = [model["version"] for model in everything.json()["models"]]
    assert numbers == sorted(numbers, reverse=True)
    assert {v.version for v in registered.values()} <= set(numbers)
    assert everything.json()["total"] == len(numbers)
    svd = client.get(MODELS, params={"algorithm": "svd", "limit": 100}).json()
    assert {model["algorithm"] for model in svd["models"]} == {"svd"}
    page = client.get(MODELS, params={"limit": 1, "offset": 1}).json()
    assert [model["version"] for model in page["models"]] == numbers[1:2]
    assert client.get(MODELS, params={"offset": 5000}).json()["models"] == []


@pytest.mark.parametrize("name", ["no-such-alias", "999999"])
def test_what_is_not_registered_is_a_404(
    make_client: Callable[..., TestClient], registered: dict, mlflow_uri: str, name: str
) -> None:
    response = make_client(mlflow_uri).get(f"{MODELS}/{name}")
    assert response.status_code == 404
    assert response.json()["detail"] == f"recommender has no version and no alias {name}"


@pytest.mark.parametrize("bad", [f"{MODELS}?limit=0", f"{MODELS}?algorithm=a%20b", f"{MODELS}/a%20b"])
def test_bad_input_is_named(make_client: Callable[..., TestClient], bad: str) -> None:
    assert make_client(f"http://127.0.0.1:{free_port()}").get(bad).status_code == 422


def test_mlflow_down_from_the_start_is_a_503(make_client: Callable[..., TestClient]) -> None:
    client = make_client(f"http://127.0.0.1:{free_port()}")
    for path in (MODELS, f"{MODELS}/champion"):
        response = client.get(path)
        assert response.status_code == 503
        assert response.headers["retry-after"] == "5"
        assert response.json()["detail"] == "MLflow does not answer now"


@pytest.fixture
def fake() -> Iterator[tuple[str, type[Registry]]]:
    Registry.asked, Registry.answers = [], {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Registry
    server.shutdown()
    server.server_close()


def test_nothing_registered_yet_is_an_empty_list(make_client: Callable[..., TestClient], fake: Any) -> None:
    body = make_client(fake[0]).get(MODELS).json()
    assert (body["total"], body["models"], body["degraded"]) == (0, [], False)


def test_mlflow_is_asked_once_in_half_a_minute_and_for_a_finished_run_once(
    make_client: Callable[..., TestClient], fake: Any
) -> None:
    url, server = fake
    server.answers = GOOD
    client = make_client(url)
    assert client.get(MODELS).json() | {"request_id": ""} == client.get(MODELS).json() | {"request_id": ""}
    assert server.asked == ["registered-models/get", "model-versions/search", "runs/get"]
    eager = make_client(url, fresh_s=0.0)
    eager.get(MODELS)
    eager.get(MODELS)
    assert server.asked.count("model-versions/search") == 3
    assert server.asked.count("runs/get") == 2


@pytest.mark.parametrize(
    "broken",
    [
        (500, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"registered_model": {"aliases": [{}]}}'),
        (302, b""),
    ],
)
def test_an_mlflow_that_breaks_later_is_answered_for_and_marked(
    make_client: Callable[..., TestClient], fake: Any, broken: tuple[int, bytes]
) -> None:
    url, server = fake
    server.answers = GOOD
    client = make_client(url, fresh_s=0.0)
    before = client.get(f"{MODELS}/champion").json()
    server.answers = {**GOOD, "registered-models/get": broken}
    after = client.get(f"{MODELS}/champion").json()
    assert before["degraded"] is False
    assert after["degraded"] is True
    assert after["degraded_because"] == ["MLflow does not answer; this is 0 s old"]
    assert after["model"] == before["model"]


def test_metrics_that_cannot_be_read_are_null_and_said(
    make_client: Callable[..., TestClient], fake: Any
) -> None:
    url, server = fake
    server.answers = {**GOOD, "runs/get": (500, b"")}
    body = make_client(url).get(MODELS).json()
    assert body["models"][0]["metrics"] is None
    assert body["degraded_because"] == ["the metrics of 1 versions cannot be read now"]


def test_a_metric_that_json_cannot_carry_is_left_out() -> None:
    metrics = [{"key": "a", "value": 0.5}, {"key": "b", "value": "NaN"}, {"key": "c", "value": float("inf")}]
    run = run_of({"info": {"experiment_id": 7}, "data": {"metrics": metrics}})
    assert (run.experiment_id, run.metrics, run.finished) == ("7", {"a": 0.5}, False)

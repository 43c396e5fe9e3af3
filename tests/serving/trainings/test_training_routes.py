"""What the training routes ask of Dagster and answer, also when it is down, slow, refuses or is asked twice at once."""

import ast
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

import serving.trainings.dagster_api as module
from serving.api.training import TrainingAnswer
from tests.serving.conftest import free_port
from tests.serving.trainings.conftest import Make
from tests.serving.trainings.double import Dagster

TRAIN = "/api/v1/recs/train"


@pytest.fixture
def dagster() -> Iterator[Dagster]:
    double = Dagster()
    yield double
    double.server.shutdown()
    double.server.server_close()


def queries() -> list[str]:
    tree = ast.parse(Path(module.__file__).read_text())
    texts = (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))
    return [text for text in texts if "__typename" in text and text.rstrip().endswith("}")]


def test_every_query_fits_dagsters_schema() -> None:
    from dagster_graphql.schema import create_schema
    from graphql import parse, validate

    schema = create_schema().graphql_schema
    assert len(queries()) == 3
    assert [validate(schema, parse(query)) for query in queries()] == [[], [], []]


def test_a_training_of_everything_is_asked_for_and_told_of(make_client: Make, dagster: Dagster) -> None:
    client = make_client(dagster.port)
    response = client.post(TRAIN, json={"start_date": "2022-05-01", "end_date": "2022-05-31"})
    assert response.status_code == 202, response.text
    TrainingAnswer.model_validate_json(response.content)
    body = response.json()
    run_id = dagster.runs[0]["runId"]
    assert body == {
        "request_id": response.headers["x-request-id"],
        "run_id": run_id,
        "status": "queued",
        "dagster_status": "QUEUED",
        "url": f"http://127.0.0.1:{dagster.port}/runs/{run_id}",
        "status_url": f"{TRAIN}/{run_id}",
        "model_type": "all",
        "start_date": "2022-05-01",
        "end_date": "2022-05-31",
        "trigger": "request",
        "started_at": None,
        "ended_at": None,
        "duration_s": None,
        "replayed": False,
    }
    assert response.headers["location"] == body["status_url"]
    [params] = dagster.launched
    assert params["selector"] == {
        "repositoryLocationName": "reelgraph",
        "repositoryName": "__repository__",
        "jobName": "training_job",
    }
    window = {"start_date": "2022-05-01", "end_date": "2022-05-31"}
    assert params["runConfigData"] == {"ops": {"training_models": {"config": window}}}
    [event] = client.published  # type: ignore[attr-defined]
    assert event.type == "ModelTrainingStarted"
    assert event.payload.model_dump() == {
        "run_id": run_id,
        "job": "training_job",
        "model_type": "all",
        "trigger": "request",
    }


def test_one_kind_is_trained_alone_and_judged(make_client: Make, dagster: Dagster) -> None:
    response = make_client(dagster.port).post(TRAIN, json={"model_type": "two-tower"})
    assert response.status_code == 202
    [params] = dagster.launched
    assert [asset["path"] for asset in params["selector"]["assetSelection"]] == [
        ["two_tower_model"],
        ["model_evaluation"],
        ["registered_models"],
        ["promotion_decision"],
        ["serving_bundle"],
    ]
    assert params["runConfigData"] == {}


@pytest.mark.parametrize("job", ["training_job", "everything_job"])
@pytest.mark.parametrize("status", ["QUEUED", "STARTING", "STARTED", "CANCELING"])
def test_a_training_under_way_is_named(make_client: Make, dagster: Dagster, job: str, status: str) -> None:
    under_way = dagster.run(job, status)["runId"]
    response = make_client(dagster.port).post(TRAIN, json={})
    assert response.status_code == 409
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.json()["run_id"], response.json()["status_url"]) == (under_way, f"{TRAIN}/{under_way}")
    assert dagster.launched == []


def test_other_jobs_and_trainings_that_ended_hinder_nobody(make_client: Make, dagster: Dagster) -> None:
    dagster.run("features_job", "STARTED")
    dagster.run("training_job", "FAILURE")
    dagster.run("training_job", "NOT_STARTED")  # left behind by a launch that broke half-way
    assert make_client(dagster.port).post(TRAIN, json={}).status_code == 202


def test_of_two_at_once_one_starts_a_training(make_client: Make, dagster: Dagster) -> None:
    dagster.delay_s = 0.05
    client = make_client(dagster.port)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.post(TRAIN, json={}), range(4)))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409]
    assert len(dagster.launched) == 1


def test_of_two_replicas_at_once_the_first_stays(make_client: Make, dagster: Dagster) -> None:
    dagster.before_launch = ["QUEUED"]  # by another replica, between our look and our launch
    client = make_client(dagster.port)
    response = client.post(TRAIN, json={})
    ours, theirs = (run["runId"] for run in dagster.runs)
    assert (response.status_code, response.json()["run_id"]) == (409, theirs)
    assert dagster.cancelled == [ours]
    assert client.published == []  # type: ignore[attr-defined]
    dagster.runs.clear()
    dagster.before_launch = ["FAILURE"]  # over already
    assert client.post(TRAIN, json={}).status_code == 202
    assert dagster.cancelled == [ours]


def test_a_key_starts_one_training_that_is_not_canceled(make_client: Make, dagster: Dagster) -> None:
    first = make_client(dagster.port).post(TRAIN, json={}, headers={"Idempotency-Key": "nightly-1"})
    dagster.runs[0]["status"] = "SUCCESS"
    again = make_client(dagster.port).post(TRAIN, json={}, headers={"Idempotency-Key": "nightly-1"})
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["run_id"] == first.json()["run_id"]
    assert (again.json()["replayed"], again.json()["status"]) == (True, "succeeded")
    other = make_client(dagster.port).post(
        TRAIN, json={"model_type": "svd"}, headers={"Idempotency-Key": "nightly-1"}
    )
    assert other.status_code == 422
    assert len(dagster.launched) == 1
    dagster.runs[0]["status"] = "CANCELED"
    anew = make_client(dagster.port).post(TRAIN, json={}, headers={"Idempotency-Key": "nightly-1"})
    assert (anew.status_code, anew.json()["replayed"]) == (202, False)


def test_a_launch_that_broke_half_way_holds_its_key_for_as_long_as_it_may_take(
    make_client: Make, dagster: Dagster
) -> None:
    """Dagster makes the run, fails to enqueue it and answers with an error: the run stays NOT_STARTED for ever."""

    def ask(**body: str) -> tuple[int, dict]:
        response = make_client(dagster.port).post(TRAIN, json=body, headers={"Idempotency-Key": "nightly-1"})
        return response.status_code, response.json()

    assert ask()[0] == 202
    dagster.runs[0]["status"] = "NOT_STARTED"
    status, told = ask()  # it may still be enqueued
    assert (status, told["status"], told["replayed"]) == (202, "queued", True)
    dagster.runs[0]["creationTime"] -= 60
    status, again = ask()
    assert (status, again["replayed"], len(dagster.launched)) == (202, False, 2)
    assert again["run_id"] != told["run_id"]
    assert ask()[1]["run_id"] == again["run_id"]  # the new one, though the old one has the key too
    assert len(dagster.launched) == 2


@pytest.mark.parametrize(
    ("status", "ours"),
    [
        ("QUEUED", "queued"),
        ("STARTED", "running"),
        ("SUCCESS", "succeeded"),
        ("FAILURE", "failed"),
        ("CANCELED", "canceled"),
        ("SOMETHING_NEW", "running"),
    ],
)
def test_a_training_says_how_it_goes(make_client: Make, dagster: Dagster, status: str, ours: str) -> None:
    tags = [{"key": "reelgraph/trigger", "value": "drift"}]
    run = dagster.run("training_job", status, tags=tags, startTime=1_652_000_000.5, endTime=1_652_000_060.75)
    response = make_client(dagster.port).get(f"{TRAIN}/{run['runId']}")
    body = TrainingAnswer.model_validate_json(response.content)
    assert (response.status_code, body.status, body.trigger) == (200, ours, "drift")
    assert body.started_at == datetime(2022, 5, 8, 8, 53, 20, 500_000, UTC)
    assert body.duration_s == 60.25


def test_what_is_no_training_is_a_404(make_client: Make, dagster: Dagster) -> None:
    client = make_client(dagster.port)
    assert client.get(f"{TRAIN}/{uuid4()}").status_code == 404
    assert client.get(f"{TRAIN}/{dagster.run('features_job', 'SUCCESS')['runId']}").status_code == 404
    assert client.get(f"{TRAIN}/no-run-id").status_code == 422


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"model_type": "bert"}, "model_type"),
        ({"start_date": "soon"}, "start_date"),
        ({"start_date": 19000}, "start_date"),
        ({"start_date": "1901-01-01"}, "start_date"),
        ({"start_date": "2022-05-02", "end_date": "2022-05-01"}, "body"),
        ({"model_type": "svd", "end_date": "2022-05-01"}, "body"),
        ({"model": "svd"}, "model"),
    ],
)
def test_a_request_that_makes_no_sense_is_named(
    make_client: Make, dagster: Dagster, body: dict, field: str
) -> None:
    response = make_client(dagster.port).post(TRAIN, json=body)
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]
    assert dagster.launched == []


@pytest.mark.parametrize(
    "error",
    [
        {"errors": [{"message": "DagsterUserCodeUnreachableError: secret place"}]},
        {"data": {"launchRun": {"__typename": "PythonError", "message": "secret"}}},
        {"data": {"launchRun": {"__typename": "RunConfigValidationInvalid"}}},
        {"nonsense": 1},
    ],
)
def test_a_dagster_that_fails_or_refuses_is_a_503_that_leaks_nothing(
    make_client: Make, dagster: Dagster, error: dict
) -> None:
    dagster.error = error
    client = make_client(dagster.port)
    for response in (client.post(TRAIN, json={}), client.get(f"{TRAIN}/{uuid4()}")):
        assert response.status_code == 503
        assert response.headers["retry-after"] == "10"
        assert "secret" not in response.text
    assert client.published == []  # type: ignore[attr-defined]


def test_dagster_down_or_slow_is_a_503_in_time(make_client: Make, dagster: Dagster) -> None:
    for client in (make_client(free_port()), make_client(dagster.port, read_budget_s=0.2)):
        dagster.delay_s = 2.0
        began = time.monotonic()
        assert client.post(TRAIN, json={}).status_code == 503
        assert client.get(f"{TRAIN}/{uuid4()}").status_code == 503
        assert time.monotonic() - began < 1.5

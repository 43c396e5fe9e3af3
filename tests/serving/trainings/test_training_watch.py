"""What the alert on failed training goes by: Dagster's newest run that ended, or that nothing is known."""

import asyncio
import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from serving.trainings.watch import JOB, TrainingWatch
from stack.settings import Settings


class Dagster:
    """Answers GraphQL as the webserver does, with whatever `answer` holds."""

    def __init__(self) -> None:
        self.answer: Any = None
        self.status = 200
        self.asked: list[dict] = []
        dagster = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                dagster.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                body = json.dumps(dagster.answer).encode()
                self.send_response(dagster.status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port


@pytest.fixture
def dagster() -> Iterator[Dagster]:
    double = Dagster()
    thread = threading.Thread(target=double.server.serve_forever, args=(0.05,))
    thread.start()
    yield double
    double.server.shutdown()
    thread.join()
    double.server.server_close()


def watched(port: int) -> float:
    registry = CollectorRegistry()

    async def run() -> None:
        watch = TrainingWatch(Settings(_env_file=None, dagster_port=port), registry)
        watch.start()
        await asyncio.sleep(0.5)
        await watch.close()

    asyncio.run(run())
    found = registry.get_sample_value("reelgraph_training_failed")
    assert found is not None
    return found


def runs(*statuses: str) -> dict:
    return {"data": {"runsOrError": {"__typename": "Runs", "results": [{"status": s} for s in statuses]}}}


@pytest.mark.parametrize(("status", "failed"), [("FAILURE", 1.0), ("SUCCESS", 0.0)])
def test_the_newest_run_says_it(dagster, status, failed):
    dagster.answer = runs(status)
    assert watched(dagster.port) == failed
    assert dagster.asked[0]["variables"] == {"job": JOB}


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (runs(), 200),
        (runs("FAILURE"), 500),
        ({"errors": [{"message": "no"}], "data": None}, 200),
        ({"data": {"runsOrError": {"__typename": "PythonError"}}}, 200),
        ([], 200),
    ],
)
def test_what_is_no_answer_is_not_known(dagster, answer, status):
    dagster.answer, dagster.status = answer, status
    assert math.isnan(watched(dagster.port))
    assert dagster.asked


def test_without_dagster_it_is_not_known():
    assert math.isnan(watched(1))


def test_the_query_is_one_that_dagster_answers(tmp_path):
    """Against Dagster's own schema, on an instance with a run of the job that failed."""
    from dagster import DagsterInstance, DagsterRunStatus, job
    from dagster._core.test_utils import create_run_for_test
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import EmptyWorkspaceTarget
    from dagster_graphql.schema import create_schema

    from serving.trainings.watch import _QUERY

    @job(name=JOB)
    def training() -> None:
        """Never runs."""

    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        for status in (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.STARTED):
            create_run_for_test(instance, job_name=JOB, status=status)
        create_run_for_test(instance, job_name="another_job", status=DagsterRunStatus.SUCCESS)
        with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as process:
            done = create_schema().execute(
                _QUERY, context_value=process.create_request_context(), variable_values={"job": JOB}
            )
    assert done.errors is None
    assert done.data["runsOrError"]["results"] == [{"status": "FAILURE"}]


def test_the_job_is_the_one_that_trains():
    from orchestration.defs.automation import training_job

    assert training_job.name == JOB

"""The routes over PeerTube, Dagster and MLflow, whose doubles are up: any request is answered as described."""

import copy
from collections.abc import Iterator
from contextlib import closing
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import hypothesis
import psycopg2
import pytest
import schemathesis
from hypothesis import HealthCheck
from pydantic import SecretStr
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from ingestion.postgres_schema import connect, upgrade
from serving.api.app import create_app
from serving.api.state import State
from stack.settings import Settings

from .peertube.double import PeerTubeDouble, running
from .registry.double import GOOD, Registry
from .running_app import running_app
from .trainings.double import Dagster

pytestmark = pytest.mark.stack
DATABASE = "described_tests"
PROFILE = hypothesis.settings(
    max_examples=25, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)


def _routes() -> schemathesis.BaseSchema:
    content: dict[str, Any] = copy.deepcopy(create_app(State()).openapi())
    content["components"].pop("securitySchemes")  # the development switch is on
    for operations in content["paths"].values():
        for operation in operations.values():
            operation.pop("security", None)
    config = SchemathesisConfig()
    config.projects.default.generation.with_security_parameters = False
    schema = schemathesis.openapi.from_dict(content, config=config)
    return schema.include(path_regex=r"^/api/v1/(videos|recs/models|recs/train)")


routes = _routes()


@pytest.fixture(scope="module")
def url(postgres: Settings, redis: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home: Path = tmp_path_factory.mktemp("described")
    with closing(
        psycopg2.connect(host="127.0.0.1", port=postgres.postgres_port, user="reelgraph", dbname="postgres")
    ) as server:
        server.autocommit = True
        server.cursor().execute(f"CREATE DATABASE {DATABASE}")
    Registry.answers, Registry.asked = GOOD, []
    mlflow, dagster = ThreadingHTTPServer(("127.0.0.1", 0), Registry), Dagster()
    Thread(target=mlflow.serve_forever, daemon=True).start()
    try:
        with running(PeerTubeDouble()) as peertube:
            settings = redis.model_copy(
                update={
                    "home": home,
                    "database_url_override": f"postgresql://reelgraph@127.0.0.1:{postgres.postgres_port}/{DATABASE}",
                    "mlflow_tracking_uri_override": f"http://127.0.0.1:{mlflow.server_port}",
                    "dagster_port": dagster.port,
                    "peertube_url": peertube.url,
                    "peertube_username": peertube.user,
                    "peertube_password": SecretStr(peertube.password),
                }
            )
            with connect(settings) as connection:
                upgrade(connection)
            with running_app(settings, with_bundle=False) as (address, _):
                yield address
    finally:
        for double in (mlflow, dagster.server):
            double.shutdown()
            double.server_close()


@routes.parametrize()
@PROFILE
def test_every_answer_is_as_described(case: schemathesis.Case, url: str) -> None:
    # A file of random bytes is no video, and some dates exclude each other: 4xx of well-formed requests.
    meant = [positive_data_acceptance] if case.method == "POST" else []
    answer = case.call_and_validate(base_url=url, headers={"X-Reelgraph-Test": "1"}, excluded_checks=meant)
    assert answer.status_code < 500

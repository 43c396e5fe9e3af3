"""Whatever is sent, valid or not, every route answers as its description says and never fails.

`--hypothesis-profile=deep` asks every route twenty times as often.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import hypothesis
import psycopg2
import pytest
import schemathesis
from hypothesis import HealthCheck
from pydantic import SecretStr
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from sqlalchemy.engine import make_url

from ingestion.postgres_schema import connect, upgrade
from serving import bento
from serving.api.app import create_app
from serving.api.state import State
from serving.security import gate
from serving.security.api_keys import create_key, keys_file
from serving.security.principal import Role
from stack.settings import Settings

from .conftest import shelve, tiny_pack
from .peertube.double import PeerTubeDouble, running
from .running_app import running_app

DEEP = hypothesis.settings.get_current_profile_name() == "deep"
PROFILE = hypothesis.settings(
    max_examples=400 if DEEP else 20,
    derandomize=not DEEP,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

# Of schemathesis itself: its strategies draw from `random`, which Hypothesis seeds.
_NOT_OURS = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
pytestmark = [pytest.mark.slow, pytest.mark.stack, _NOT_OURS]

# What this needs is not there in this test: without Dagster, 503 is the true answer.
NEEDS_ANOTHER_SERVER = ("/api/v1/recs/train",)

# The examples of the description, with ids that the bundle of this test has: most answers are good ones then.
_KNOWN = {'"1042"': '"v1"', '"0"': '"ann"'}


def _routes(*, secured: bool) -> schemathesis.BaseSchema:
    """The description of all routes; with the development switch on, none asks for a credential."""
    text = json.dumps(create_app(State()).openapi())
    for example, known in _KNOWN.items():
        text = text.replace(example, known)
    content = json.loads(text)
    if not secured:
        content["components"].pop("securitySchemes")
        for operations in content["paths"].values():
            for operation in operations.values():
                operation.pop("security", None)
    config = SchemathesisConfig()
    config.projects.default.generation.with_security_parameters = False  # the tests bring the credential
    return schemathesis.openapi.from_dict(content, config=config)


routes, secured_routes = _routes(secured=False), _routes(secured=True)


@pytest.fixture(scope="module")
def servers(redis: Settings, postgres: Settings, mlflow_uri: str) -> Iterator[Settings]:
    """Settings of all that the routes ask but Dagster (and ClickHouse, which they never wait for)."""
    with closing(psycopg2.connect(postgres.database_url.replace("+psycopg2", ""))) as server:
        server.autocommit = True
        server.cursor().execute("CREATE DATABASE described")  # the others find theirs empty
    url = make_url(postgres.database_url).set(database="described").render_as_string(hide_password=False)
    with connect(postgres.model_copy(update={"database_url_override": url})) as connection:
        upgrade(connection)
    with running(PeerTubeDouble()) as peertube:
        changes = {
            "database_url_override": url,
            "mlflow_tracking_uri_override": mlflow_uri,
            "peertube_url": peertube.url,
            "peertube_username": PeerTubeDouble.user,
            "peertube_password": SecretStr(PeerTubeDouble.password),
        }
        yield redis.model_copy(update=changes)


def _settings(folder: Path, servers: Settings, **changes: Any) -> Settings:
    settings = servers.model_copy(update={"home": folder / "home", **changes})
    tiny_pack(folder / "bundle")
    bento.publish(settings, shelve(settings, folder / "bundle"))
    return settings


@pytest.fixture(scope="module")
def open_to_all(tmp_path_factory: pytest.TempPathFactory, servers: Settings) -> Iterator[str]:
    settings = _settings(tmp_path_factory.mktemp("open"), servers)
    with running_app(settings) as (url, _):
        yield url


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory, servers: Settings) -> Iterator[tuple[str, str]]:
    """The address of an endpoint that asks for a credential, and an admin's key."""
    settings = _settings(
        tmp_path_factory.mktemp("closed"), servers, development=False, rate_limit_per_minute=1_000_000
    )
    keys_file(settings).parent.mkdir(parents=True, exist_ok=True)
    _, key = create_key(keys_file(settings), "tester", [Role.ADMIN])
    with pytest.MonkeyPatch.context() as patch, running_app(settings) as (url, _):
        patch.setattr(gate, "FAILURES_PER_MINUTE", 10**9)  # they are many, from one address
        yield url, key


def _may_be_refused_for_its_meaning(case: schemathesis.Case) -> bool:
    """Well-formed, and yet refused: an experiment that nobody declared, an event of the future, days that end before
    they begin, a file that is no video."""
    parts = (case.query, case.body)
    if case.path in ("/api/v1/recs/train", "/api/v1/videos"):
        return True
    if case.path.startswith("/api/v1/events/"):
        return "impression_timestamp" in repr(case.body)
    return any(isinstance(part, dict) and part.get("experiment_id") is not None for part in parts)


def _checked(case: schemathesis.Case, url: str, key: str = "") -> None:
    excused = case.path.startswith(NEEDS_ANOTHER_SERVER)
    excluded: list[CheckFunction] = [not_a_server_error] if excused else []
    if _may_be_refused_for_its_meaning(case):
        excluded.append(positive_data_acceptance)
    if case.path == "/api/v1/events/batch":  # the good events of a batch are taken: 207 names the others
        excluded.append(negative_data_rejection)
    headers = {"X-API-Key": key} if key else {}
    answer = case.call_and_validate(base_url=url, headers=headers, excluded_checks=excluded)
    assert answer.status_code < 500 or (excused and answer.status_code == 503)


@routes.parametrize()
@PROFILE
def test_without_authentication_every_answer_is_as_described(case, open_to_all):
    _checked(case, open_to_all)


@secured_routes.parametrize()
@PROFILE
def test_with_a_key_every_answer_is_as_described(case, closed):
    url, key = closed
    _checked(case, url, key=key)

"""Settings: defaults that work alone, a URL that turns its embedded server off, and errors that name the variable."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stack.settings import (
    PROJECT_ROOT,
    Settings,
    SettingsError,
    child_environment,
    load_settings,
    telemetry_off,
    variables,
)


@pytest.fixture(autouse=True)
def _no_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    monkeypatch.delenv("REELGRAPH_TEST_DATA", raising=False)


def test_defaults_are_the_documented_ports_with_everything_embedded() -> None:
    settings = load_settings()
    assert settings.home == PROJECT_ROOT / ".reelgraph"
    ports = (settings.dagster_port, settings.mlflow_port, settings.endpoint_port)
    stores = (settings.clickhouse_port, settings.postgres_port, settings.redis_port)
    assert (ports, stores) == ((3000, 5000, 8000), (8123, 55432, 56379))
    embedded = [
        settings.clickhouse_embedded,
        settings.postgres_embedded,
        settings.redis_embedded,
        settings.mlflow_embedded,
    ]
    assert embedded == [True] * 4
    assert settings.clickhouse_url == "http://default@127.0.0.1:8123/reelgraph"
    assert settings.database_url == "postgresql+psycopg2://reelgraph@127.0.0.1:55432/reelgraph"
    assert settings.redis_url == "redis://127.0.0.1:56379/0"
    assert settings.mlflow_tracking_uri == "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("variable", "value", "embedded", "url"),
    [
        ("CLICKHOUSE_URL", "https://u:p@ch:8443/reels", "clickhouse_embedded", "clickhouse_url"),
        ("REDIS_URL", "rediss://:p@cache:6380/2", "redis_embedded", "redis_url"),
        ("MLFLOW_TRACKING_URI", "https://mlflow.example", "mlflow_embedded", "mlflow_tracking_uri"),
    ],
)
def test_a_url_turns_the_embedded_server_off(
    variable: str, value: str, embedded: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    settings = load_settings()
    assert getattr(settings, embedded) is False
    assert getattr(settings, url) == value


def test_dagster_and_mlflow_get_databases_of_their_own_on_the_server_of_database_url(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:s%40cret@db:5433/reels")
    settings = load_settings()
    assert settings.postgres_embedded is False
    assert settings.database_url == "postgresql+psycopg2://me:s%40cret@db:5433/reels"
    assert settings.dagster_database_url == "postgresql+psycopg2://me:s%40cret@db:5433/dagster"
    assert settings.mlflow_database_url == "postgresql+psycopg2://me:s%40cret@db:5433/mlflow"
    monkeypatch.setenv("MLFLOW_DATABASE_URL", "postgresql://other@elsewhere/ml")
    assert load_settings().mlflow_database_url == "postgresql+psycopg2://other@elsewhere/ml"


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("REELGRAPH_REDIS_PORT", "0", "greater than or equal to 1 (got '0')"),
        ("REELGRAPH_REDIS_PORT", "many", "unable to parse string as an integer (got 'many')"),
        ("REELGRAPH_EXECUTOR", "celery", "'in_process' or 'multiprocess' (got 'celery')"),
        ("REELGRAPH_TEST_FRACTION", "1", "less than 1 (got '1')"),
        ("CLICKHOUSE_URL", "clickhouse:8123", "must look like http://user:password@host:8123/database"),
        ("DATABASE_URL", "mysql://root:hunter2@db/x", "must look like postgresql://"),
        ("DATABASE_URL", "nonsense", "must look like postgresql://"),
        ("REDIS_URL", "http://cache", "must look like redis://"),
        ("MLFLOW_TRACKING_URI", "./mlruns", "a tracking server, not a folder"),
    ],
)
def test_a_bad_value_is_named_with_what_it_must_be(
    variable: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert message.startswith(f"{variable}: ")
    assert words in message
    assert "\n" not in message
    assert "hunter2" not in message  # a password is never shown


def test_two_services_on_one_port_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELGRAPH_MLFLOW_PORT", "3000")
    with pytest.raises(SettingsError, match=r"REELGRAPH_DAGSTER_PORT and REELGRAPH_MLFLOW_PORT are both 3000"):
        load_settings()


def test_a_misspelt_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELGRAPH_DAGSTER_PROT", "3001")
    with pytest.raises(SettingsError, match="REELGRAPH_DAGSTER_PROT: no such setting"):
        load_settings()


def test_an_empty_value_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELGRAPH_MLFLOW_PORT", "")
    monkeypatch.setenv("REDIS_URL", "")
    settings = load_settings()
    assert (settings.mlflow_port, settings.redis_embedded) == (5000, True)


def test_a_relative_home_is_made_absolute_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REELGRAPH_HOME", "state")
    assert load_settings().home == tmp_path / "state"


def test_a_child_sees_the_same_settings(new_settings: Callable[..., Settings]) -> None:
    settings = new_settings("a home", two_tower_epochs=3, seed=7)
    code = "from stack.settings import load_settings; print(load_settings().model_dump_json())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=child_environment(settings),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == json.loads(settings.model_dump_json())


def test_children_are_silent_and_find_their_homes(settings: Settings) -> None:
    environment = child_environment(settings)
    assert telemetry_off().items() <= environment.items()
    assert environment["DAGSTER_HOME"] == str(settings.home / "dagster")
    assert environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert environment["PATH"] == os.environ["PATH"]
    assert set(variables()) >= {"CLICKHOUSE_URL", "DATABASE_URL", "REDIS_URL", "REELGRAPH_HOME"}

"""docker-compose.yml and the Dockerfile, checked without Docker: their schema, settings, commands and files.

`data/compose_spec.json` is the Compose Specification's schema as docker-compose 1.29.2 (Apache-2.0, on PyPI) ships it.
"""

import importlib.util
import json
import os
import re
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
import yaml
from redis import Redis

from stack.container import find_service
from stack.health import RedisProbe, TcpProbe
from stack.redis_server import redis_binary
from stack.settings import PROJECT_ROOT, Settings, load_settings, variables

SECRETS = {
    "CLICKHOUSE_PASSWORD": "ch-secret",
    "POSTGRES_PASSWORD": "pg-secret",
    "REDIS_PASSWORD": "redis-secret",
}
STORES = ("clickhouse", "postgres", "redis")
OURS = ("bootstrap", "mlflow", "endpoint", "dagster-code", "dagster-webserver", "dagster-daemon")


class MissingVariableError(Exception):
    """As `docker compose` says it: a variable that must be set is not."""


def interpolate(text: str, environment: dict[str, str]) -> str:
    """`${NAME}` with `:-default`, `:+instead` and `:?message`, and `$$`, as Compose replaces them."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name, operator, word = match["name"], match["operator"], match["word"]
        value = environment.get(name, "")
        if operator == ":?" and not value:
            raise MissingVariableError(f"{name}: {word}")
        if operator == ":-":
            return value or word
        if operator == ":+":
            return word if value else ""
        return value

    return re.sub(r"\$\$|\$\{(?P<name>\w+)(?:(?P<operator>:[-+?])(?P<word>[^}]*))?\}", replace, text)


def compose(**environment: str) -> dict[str, Any]:
    """The file as Compose sees it: parsed, then every text in it interpolated."""

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [filled(item) for item in value]
        return interpolate(value, {**SECRETS, **environment}) if isinstance(value, str) else value

    return filled(yaml.safe_load((PROJECT_ROOT / "docker-compose.yml").read_text()))


def settings_of(service: dict[str, Any], patch: pytest.MonkeyPatch) -> Settings:
    """What the service's process reads from its environment and nothing else."""
    for name in variables():
        patch.delenv(name, raising=False)
    for name, value in service["environment"].items():
        patch.setenv(name, value)
    patch.setitem(Settings.model_config, "env_file", None)
    return load_settings()


def test_it_is_valid_by_the_compose_schema() -> None:
    schema = json.loads((PROJECT_ROOT / "tests" / "data" / "compose_spec.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    assert [error.message for error in validator.iter_errors(compose())] == []
    broken = compose()
    broken["services"]["redis"]["healthchek"] = {}
    [error] = validator.iter_errors(broken)
    assert "'healthchek' does not match" in error.message


def test_it_has_the_stores_and_our_services() -> None:
    assert set(compose()["services"]) == {*STORES, *OURS}


@pytest.mark.parametrize("missing", SECRETS)
def test_a_secret_must_be_given_and_none_is_in_the_file(missing: str) -> None:
    with pytest.raises(MissingVariableError, match=f"{missing}: set {missing}"):
        compose(**{missing: ""})
    assert not re.search(r"(?i)password\s*[:=]\s*[\"']?\w", (PROJECT_ROOT / "docker-compose.yml").read_text())


@pytest.mark.parametrize("name", OURS)
def test_the_environment_of_each_service_turns_every_embedded_server_off(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(compose()["services"][name], monkeypatch)
    assert not any([settings.clickhouse_embedded, settings.postgres_embedded, settings.redis_embedded])
    assert settings.mlflow_embedded == (name == "mlflow")  # which is the MLflow server
    assert settings.clickhouse_url == "http://reelgraph:ch-secret@clickhouse:8123/reelgraph"
    assert settings.database_url == "postgresql+psycopg2://reelgraph:pg-secret@postgres:5432/reelgraph"
    assert settings.dagster_database_url.endswith("@postgres:5432/dagster")
    assert settings.mlflow_database_url.endswith("@postgres:5432/mlflow")
    assert settings.redis_url == "redis://:redis-secret@redis:6379/0"
    assert settings.endpoint_url == "http://endpoint:8000"
    assert settings.mlflow_ui_url == "http://127.0.0.1:5000"
    assert settings.home == Path("/var/lib/reelgraph")
    assert settings.data is None
    assert settings.code_server_host == ("0.0.0.0" if name == "dagster-code" else "dagster-code")


@pytest.mark.parametrize("name", OURS)
def test_each_command_runs_a_service_that_is_declared_for_its_settings(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = compose()["services"][name]
    declared = find_service(settings_of(service, monkeypatch), name)
    assert service["command"] == ["run", name]
    module = declared.command[declared.command.index("-m") + 1]
    assert importlib.util.find_spec(module) is not None
    # What must be up before it when we supervise it ourselves must be up before it here.
    waits_for = set(service.get("depends_on", {}))
    assert set(declared.requires) <= waits_for
    if declared.port is not None and name != "dagster-code":
        assert service["ports"] == [f"127.0.0.1:{declared.port}:{declared.port}"]
        assert declared.command[
            max(i for i, word in enumerate(declared.command) if word in ("--host", "-h")) + 1
        ] == ("0.0.0.0")


@pytest.mark.parametrize("name", OURS)
def test_no_password_is_an_argument_of_a_process(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = compose()["services"]
    assert not [s for s in SECRETS.values() for each in content.values() if s in str(each.get("command"))]
    assert not [
        s
        for s in SECRETS.values()
        if s in str(find_service(settings_of(content[name], monkeypatch), name).command)
    ]


def test_redis_takes_its_password_from_stdin(tmp_path: Path, new_settings: Callable[..., Settings]) -> None:
    """The command as Compose runs it, with the server of the wheel and on a port of its own."""
    redis = compose()["services"]["redis"]
    port = new_settings().redis_port
    shell, flag, script = redis["command"]
    script = script.replace("EOF\nrequirepass", f"EOF\nport {port}\nbind 127.0.0.1\nrequirepass")
    path = f"{redis_binary().parent}:{os.environ['PATH']}"
    server = subprocess.Popen(
        [shell, flag, script],
        cwd=tmp_path,
        env={**redis["environment"], "PATH": path},
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while TcpProbe(port).check() is not None:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert "redis-secret" not in Path(f"/proc/{server.pid}/cmdline").read_text()
        assert "NOAUTH" in str(RedisProbe(port).check())
        client = Redis(port=port, password="redis-secret")
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        server.terminate()  # the shell is gone: the server itself gets it, and ends in order
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait()


def test_nothing_is_published_beyond_loopback() -> None:
    ports = [port for service in compose()["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 6
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_every_service_is_waited_for_by_its_health_and_has_one() -> None:
    services = compose()["services"]
    for name, service in services.items():
        one_shot = name == "bootstrap"
        assert service["restart"] == ("no" if one_shot else "unless-stopped")
        assert service["healthcheck"] == {"disable": True} if one_shot else service["healthcheck"]["test"]
        for other, how in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if other == "bootstrap" else "service_healthy"
            assert how == {"condition": expected}, (name, other)


def test_images_are_pinned_to_exact_versions() -> None:
    services = compose()["services"]
    for store in STORES:
        assert re.fullmatch(r"[\w/-]+:\d+\.\d+[\w.-]*", services[store]["image"])
    dockerfile = (PROJECT_ROOT / "deploy" / "Dockerfile").read_text()
    assert re.search(r"^FROM python:3\.11\.\d+-slim-bookworm$", dockerfile, re.MULTILINE)


def test_state_is_in_named_volumes_and_mounted_files_are_there() -> None:
    content = compose()
    for service in content["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source.startswith("./"):
                mounted = PROJECT_ROOT / source
                assert mounted.is_file()
                assert mounted.stat().st_mode & stat.S_IROTH, "the server's user must be able to read it"
            else:
                assert source in content["volumes"]


def test_data_to_import_are_mounted_only_when_named(monkeypatch: pytest.MonkeyPatch) -> None:
    service = compose(REELGRAPH_DATA_FOLDER="/somewhere/KuaiRand-Pure")["services"]["dagster-code"]
    assert "/somewhere/KuaiRand-Pure:/data:ro" in service["volumes"]
    assert settings_of(service, monkeypatch).data == Path("/data")


def test_the_endpoint_is_closed_unless_the_environment_opens_it(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(compose()["services"]["endpoint"], monkeypatch)
    assert (settings.development, settings.jwt_secret, settings.jwt_public_key_file) == (False, None, None)
    given = {"REELGRAPH_DEVELOPMENT": "true", "REELGRAPH_JWT_PUBLIC_KEY_FILE": "/run/secrets/jwt.pem"}
    settings = settings_of(compose(**given)["services"]["endpoint"], monkeypatch)
    assert (settings.development, settings.jwt_public_key_file) == (True, Path("/run/secrets/jwt.pem"))


def test_mlflow_answers_to_the_name_the_others_call_it_by() -> None:
    from mlflow.server.security_utils import is_allowed_host_header

    allowed = compose()["services"]["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert is_allowed_host_header(allowed, "mlflow:5000")
    assert is_allowed_host_header(allowed, "127.0.0.1:5000")
    assert not is_allowed_host_header(allowed, "evil.example:5000")


def test_the_clickhouse_user_may_define_named_collections() -> None:
    rights = ElementTree.parse(PROJECT_ROOT / "deploy" / "clickhouse" / "users.xml").getroot()
    user = compose()["services"]["clickhouse"]["environment"]["CLICKHOUSE_USER"]
    assert rights.findtext(f"users/{user}/named_collection_control") == "1"


def test_the_databases_of_dagster_and_mlflow_are_created() -> None:
    script = (PROJECT_ROOT / "deploy" / "postgres" / "create-databases.sql").read_text()
    assert re.findall(r"^CREATE DATABASE (\w+);$", script, re.MULTILINE) == ["dagster", "mlflow"]


def test_the_image_is_built_from_the_pinned_packages_and_runs_as_no_root() -> None:
    build = compose()["services"]["endpoint"]["build"]
    dockerfile = (PROJECT_ROOT / build["context"] / build["dockerfile"]).read_text()
    lines = dockerfile.splitlines()
    for copied in (line.split()[1:-1] for line in lines if line.startswith("COPY ")):
        assert all((PROJECT_ROOT / name).exists() for name in copied)
    assert "-r constraints.txt" in dockerfile
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users == ["reelgraph"]
    assert lines.index("USER reelgraph") < next(
        i for i, line in enumerate(lines) if line.startswith("ENTRYPOINT")
    )
    assert 'ENTRYPOINT ["python", "-m", "stack.container"]' in dockerfile
    assert "HEALTHCHECK" in dockerfile


def test_state_secrets_and_history_stay_out_of_the_image() -> None:
    ignored = (PROJECT_ROOT / ".dockerignore").read_text().splitlines()
    assert {".git", ".venv", ".reelgraph", ".env", ".dvc/config.local"} <= set(ignored)

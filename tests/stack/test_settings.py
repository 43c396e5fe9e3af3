"""Settings: defaults that work alone, a URL that turns its embedded server off, and errors that name the variable."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stack.process_environment import no_proxy
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
        (
            "CLICKHOUSE_URL",
            "http://ch:hunter2/reels",
            "must look like http://user:password@host:8123/database",
        ),
        ("DATABASE_URL", "postgresql://u:hunter2@db:port/x", "must look like postgresql://"),
        ("REDIS_URL", "redis://", "must look like redis://:password@host:6379/0"),
        ("REDIS_URL", "redis://:hunter2@cache/first", "must look like redis://:password@host:6379/0"),
        ("MLFLOW_TRACKING_URI", "./mlruns", "a tracking server, not a folder"),
        ("MLFLOW_TRACKING_URI", "http://", "must look like http://host:5000"),
        ("MLFLOW_TRACKING_URI", "http://me:hunter2@/x", "must look like http://host:5000"),
        ("REELGRAPH_ENDPOINT_URL", "endpoint:8000", "must look like http://host:8000"),
        ("REELGRAPH_PUBLIC_MLFLOW_URL", "http:///x", "must look like http://host:8000"),
        ("REELGRAPH_BIND_HOST", "every where", "must be an IP address or a host name"),
        ("REELGRAPH_BIND_HOST", "999.1.1.1", "like 127.0.0.1, ::1 or db.example (got '999.1.1.1')"),
        ("REELGRAPH_CODE_SERVER_HOST", "http://code", "must be an IP address or a host name"),
        ("REELGRAPH_POSTGRES_FROM_CLICKHOUSE", "postgres", "must look like host:5432"),
        ("REELGRAPH_POSTGRES_FROM_CLICKHOUSE", "postgres:70000", "must look like host:5432"),
        ("REELGRAPH_POSTGRES_FROM_CLICKHOUSE", "postgres:", "must look like host:5432"),
        ("REELGRAPH_POSTGRES_FROM_CLICKHOUSE", "::1:5432", "must look like host:5432"),
        ("REELGRAPH_SEED", "-1", "greater than or equal to 0 (got '-1')"),
        ("REELGRAPH_JWT_SECRET", "hunter2", "must have at least 32 bytes"),
        ("REELGRAPH_JWT_ALGORITHM", "none", "'HS256' or 'RS256' (got 'none')"),
        ("REELGRAPH_CORS_ORIGINS", "*", "no path, and no * (got '*')"),
        ("REELGRAPH_CORS_ORIGINS", "https://*.example", "must look like https://app.example"),
        ("REELGRAPH_CORS_ORIGINS", "https://app.example/", "must look like https://app.example"),
        ("REELGRAPH_CORS_ORIGINS", "app.example", "must look like https://app.example"),
        ("REELGRAPH_CORS_ORIGINS", "https://a.example,null", "must look like https://app.example"),
        ("REELGRAPH_CORS_ORIGINS", "https://a.example:x", "must look like https://app.example"),
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
    with pytest.raises(
        SettingsError, match=r"REELGRAPH_DAGSTER_PORT and REELGRAPH_MLFLOW_PORT are both 3000"
    ):
        load_settings()


@pytest.mark.parametrize("alone", ["REELGRAPH_TLS_CERTIFICATE_FILE", "REELGRAPH_TLS_KEY_FILE"])
def test_a_certificate_without_its_key_is_named(alone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(alone, "/etc/reelgraph/tls.pem")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == (
        "REELGRAPH_TLS_CERTIFICATE_FILE and REELGRAPH_TLS_KEY_FILE: set both, or neither"
    )


def test_with_a_certificate_the_endpoint_is_reached_by_https(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELGRAPH_TLS_CERTIFICATE_FILE", "/etc/reelgraph/tls.crt")
    monkeypatch.setenv("REELGRAPH_TLS_KEY_FILE", "/etc/reelgraph/tls.key")
    settings = load_settings()
    assert settings.endpoint_url == "https://127.0.0.1:8000"
    assert settings.dagster_url == "http://127.0.0.1:3000"


def test_origins_may_be_several_with_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    origins = "https://app.example, http://localhost:5173"
    monkeypatch.setenv("REELGRAPH_CORS_ORIGINS", origins)
    assert load_settings().cors_origins == origins


def test_a_misspelt_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELGRAPH_DAGSTER_PROT", "3001")
    with pytest.raises(SettingsError, match="REELGRAPH_DAGSTER_PROT: no such setting"):
        load_settings()


def in_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | bytes) -> None:
    (tmp_path / ".env").write_bytes(text if isinstance(text, bytes) else text.encode())
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")


def test_a_misspelt_setting_in_the_env_file_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_env_file(tmp_path, monkeypatch, "REELGRAPH_SEED=3\nexport REELGRAPH_SEEED='4'\nOTHER=1\n")
    with pytest.raises(
        SettingsError, match=r"^REELGRAPH_SEEED: no such setting in \.env \(see \.env\.example\)$"
    ):
        load_settings()
    in_env_file(tmp_path, monkeypatch, "REELGRAPH_SEED=3\nOTHER=1\n#REELGRAPH_NOT=1\n")
    assert load_settings().seed == 3
    in_env_file(tmp_path, monkeypatch, b"REELGRAPH_SEED=\xff\xfe\n")
    with pytest.raises(SettingsError, match=r"^\.env: cannot be read: 'utf-8' codec"):
        load_settings()


def test_what_only_compose_reads_may_be_in_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_compose = re.findall(r"\$\{(REELGRAPH_\w+)", (PROJECT_ROOT / "docker-compose.yml").read_text())
    assert "REELGRAPH_DATA_FOLDER" in of_compose
    lines = {f"{name}={'INFO' if name.endswith('LEVEL') else ''}" for name in of_compose}
    in_env_file(tmp_path, monkeypatch, "\n".join([*lines, "POSTGRES_PASSWORD=hunter2"]))
    assert load_settings().log_level == "INFO"


def test_the_example_names_every_setting_a_person_needs_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (PROJECT_ROOT / ".env.example").read_text()
    named = set(re.findall(r"^#([A-Z_]+)=", text, re.MULTILINE))
    assert named <= set(variables())
    tests_or_containers = {
        "REELGRAPH_TEST_DATA",
        "REELGRAPH_CODE_SERVER_HOST",
        "REELGRAPH_FEATURE_WINDOW_DAYS",
    }
    assert set(variables()) - named == tests_or_containers
    in_env_file(
        tmp_path, monkeypatch, re.sub(r"^#(?=[A-Z_]+=)", "", text.replace("...", "me@db/x"), flags=re.M)
    )
    assert load_settings().redis_url == "redis://:password@redis.example:6379/0"


@pytest.mark.parametrize("value", ["postgres:5432", "10.0.0.3:5432", "[::1]:5432"])
def test_postgres_may_have_another_address_for_clickhouse(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REELGRAPH_POSTGRES_FROM_CLICKHOUSE", value)
    assert load_settings().postgres_from_clickhouse == value


@pytest.mark.parametrize(
    ("bind_host", "reached"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("192.0.2.7", "192.0.2.7"), ("fd00::7", "[fd00::7]")],
)
def test_our_urls_follow_the_address_that_is_bound(
    bind_host: str, reached: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REELGRAPH_BIND_HOST", bind_host)
    settings = load_settings()
    assert settings.endpoint_url == f"http://{reached}:8000"
    assert settings.dagster_url == f"http://{reached}:3000"
    assert settings.mlflow_tracking_uri == settings.mlflow_ui_url == f"http://{reached}:5000"


def test_links_to_mlflow_open_in_a_browser_and_hold_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:hunter2@mlflow.example:5001/ui/")
    assert load_settings().mlflow_tracking_uri == "https://me:hunter2@mlflow.example:5001/ui"
    assert load_settings().mlflow_ui_url == "https://mlflow.example:5001/ui"
    monkeypatch.setenv("REELGRAPH_PUBLIC_MLFLOW_URL", "https://mlflow.public/")
    assert load_settings().mlflow_ui_url == "https://mlflow.public"


def test_the_endpoint_may_be_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELGRAPH_ENDPOINT_URL", "http://endpoint:8000/")
    assert load_settings().endpoint_url == "http://endpoint:8000"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "corp.example"}, "corp.example,127.0.0.1,localhost,::1"),
        ({"no_proxy": "a, localhost", "NO_PROXY": "b"}, "a,localhost,b,127.0.0.1,::1"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_loopback_is_exempt_from_proxies_and_so_stays_what_was(given: dict[str, str], expected: str) -> None:
    assert no_proxy(given) == {"NO_PROXY": expected, "no_proxy": expected}


CALLS_LOOPBACK = """
import sys, httpx, requests
from stack.settings import reach_loopback_directly
if sys.argv[2] == "early":
    reach_loopback_directly()
print(httpx.get(sys.argv[1]).text, requests.get(sys.argv[1], timeout=5).text)
"""


@pytest.mark.parametrize("how", ["early", "child"])
def test_clients_reach_loopback_although_a_proxy_is_named(
    how: str, new_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"here")

        def log_message(self, *_: object) -> None:
            pass

    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # nobody listens there
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    environment = child_environment(new_settings()) if how == "child" else dict(os.environ)
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        command = [sys.executable, "-c", CALLS_LOOPBACK, url, how]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        server.shutdown()
    assert (done.stdout, done.returncode) == ("here here\n", 0), done.stderr[-500:]


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

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stack import container
from stack.container import check, find_service, main
from stack.service import UnknownServiceError
from stack.settings import PROJECT_ROOT, Settings, child_environment


class BecameError(Exception):
    """Instead of an exec: what the process would have become."""


@pytest.fixture
def exec_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def become(program: str, command: list[str], environment: dict[str, str]) -> None:
        raise BecameError(program, command, environment)

    monkeypatch.setattr(os, "execvpe", become)


def test_run_becomes_the_declared_service_with_its_environment(
    new_settings: Callable[..., Settings], exec_is_caught: None
) -> None:
    settings = new_settings()
    service = find_service(settings, "mlflow")
    with pytest.raises(BecameError) as became:
        container.run(settings, "mlflow")
    program, command, environment = became.value.args
    assert program == sys.executable
    assert tuple(command) == service.command
    assert environment["DAGSTER_HOME"] == str(settings.dagster_home)
    assert service.environment.items() <= environment.items()
    assert (settings.objects_dir / "mlflow").is_dir()  # prepared


def test_run_starts_in_the_services_folder(
    new_settings: Callable[..., Settings],
    exec_is_caught: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    settings = new_settings()
    (tmp_path / "here").mkdir()
    service = find_service(settings, "bootstrap")
    monkeypatch.setattr(
        container, "find_service", lambda *_: container.Service("x", service.command, cwd=tmp_path / "here")
    )
    before = Path.cwd()
    try:
        with pytest.raises(BecameError):
            container.run(settings, "x")
        assert Path.cwd() == tmp_path / "here"
    finally:
        os.chdir(before)


def test_check_says_what_is_wrong(redis: Settings, new_settings: Callable[..., Settings]) -> None:
    assert check(redis, "redis") is None
    assert check(new_settings(), "redis") == "Connection refused"


def test_a_service_that_is_not_declared_names_those_that_are(new_settings: Callable[..., Settings]) -> None:
    with pytest.raises(
        UnknownServiceError, match=r"no service 'kafka' with these settings; there are: .*endpoint"
    ):
        find_service(new_settings(), "kafka")
    external = new_settings(MLFLOW_TRACKING_URI="http://elsewhere:5000")
    with pytest.raises(UnknownServiceError, match="no service 'mlflow'"):
        find_service(external, "mlflow")


def in_container(settings: Settings, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "stack.container", *arguments]
    environment = child_environment(settings)
    return subprocess.run(
        command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_exec_gives_any_command_the_environment_of_a_service(new_settings: Callable[..., Settings]) -> None:
    settings = new_settings()
    done = in_container(settings, "exec", "sh", "-c", 'echo "$DAGSTER_HOME"; exit 7')
    assert (done.returncode, done.stdout) == (7, f"{settings.dagster_home}\n")


def test_an_unhealthy_service_and_wrong_usage_have_their_own_exit_codes(
    new_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = new_settings()
    monkeypatch.setattr(container, "load_settings", lambda: settings)
    assert main(["check", "endpoint"]) == 1
    assert capsys.readouterr().err == "endpoint: Connection refused\n"
    assert main(["check", "bootstrap"]) == 0  # nothing to ask
    for wrong in ([], ["run"], ["start", "endpoint"], ["check", "kafka"]):
        assert main(wrong) == 2
    assert "no service 'kafka'" in capsys.readouterr().err
    assert main(["exec", "no-such-command"]) == 2
    assert "No such file" in capsys.readouterr().err

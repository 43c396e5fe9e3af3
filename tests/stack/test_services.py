"""The declared services: order, what is left out when it runs elsewhere, and the files between the commands."""

import errno
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from stack.atomic_folder import replace_folder
from stack.log_files import trim_log, trim_logs
from stack.preflight import holder_of, port_problem, problems
from stack.run_files import (
    MARKER,
    AlreadyRunningError,
    HomeNotOursError,
    claim_home,
    hold_supervisor_lock,
    read_state,
    run_dir,
    supervisor_pid,
    want_services,
    wanted_services,
    write_state,
)
from stack.service import (
    CircularServicesError,
    Service,
    UnknownServiceError,
    all_requirements,
    in_start_order,
    with_requirements,
)
from stack.services import declared_services
from stack.settings import Settings


def service(name: str, *requires: str) -> Service:
    return Service(name=name, command=("true",), requires=requires)


def names(services: list[Service]) -> list[str]:
    return [service.name for service in services]


def test_services_start_after_what_they_require_else_as_declared() -> None:
    given = [service("c", "b"), service("a"), service("b", "a"), service("d")]
    assert names(in_start_order(given)) == ["a", "b", "c", "d"]
    assert all_requirements(given) == {"a": set(), "b": {"a"}, "c": {"a", "b"}, "d": set()}


def test_a_circle_is_named() -> None:
    with pytest.raises(CircularServicesError, match="require each other: a, b"):
        in_start_order([service("a", "b"), service("b", "a"), service("c")])


def test_named_services_bring_what_they_require() -> None:
    given = [service("a"), service("b", "a"), service("c", "b"), service("d")]
    assert names(with_requirements(given, ["c"])) == ["a", "b", "c"]
    with pytest.raises(UnknownServiceError, match="no service 'x'; there are: a, b, c, d"):
        with_requirements(given, ["x"])


def test_everything_embedded_is_declared_and_stores_come_first(new_settings: Callable[..., Settings]) -> None:
    ordered = names(in_start_order(declared_services(new_settings())))
    assert set(ordered[:3]) == {"clickhouse", "postgres", "redis"}
    assert set(ordered[3:]) == {
        "bootstrap",
        "mlflow",
        "endpoint",
        "dagster-code",
        "dagster-webserver",
        "dagster-daemon",
    }


def test_what_runs_elsewhere_is_not_started(new_settings: Callable[..., Settings]) -> None:
    settings = new_settings(
        CLICKHOUSE_URL="http://ch:8123/reelgraph",
        DATABASE_URL="postgresql://me@db/reelgraph",
        REDIS_URL="redis://cache",
        MLFLOW_TRACKING_URI="http://mlflow:5000",
    )
    services = {each.name: each for each in declared_services(settings)}
    assert sorted(services) == [
        "bootstrap",
        "dagster-code",
        "dagster-daemon",
        "dagster-webserver",
        "endpoint",
    ]
    assert services["bootstrap"].requires == ()


def test_what_keeps_its_records_in_postgres_waits_for_it(new_settings: Callable[..., Settings]) -> None:
    services = {each.name: each for each in declared_services(new_settings())}
    needing = {name for name, each in services.items() if "postgres" in each.requires}
    assert needing == {"bootstrap", "mlflow", "dagster-code", "dagster-webserver", "dagster-daemon"}
    assert "redis" in services["endpoint"].requires


def test_probes_and_urls_follow_the_bound_address(new_settings: Callable[..., Settings]) -> None:
    settings = new_settings(bind_host="::", code_server_host="192.0.2.7")
    services = {each.name: each for each in declared_services(settings)}
    for name in ("mlflow", "endpoint", "dagster-webserver", "dagster-daemon"):
        assert services[name].probe.host == "::1"  # type: ignore[attr-defined]
    assert services["dagster-webserver"].url == f"http://[::1]:{settings.dagster_port}"
    assert services["dagster-code"].probe.host == "192.0.2.7"  # type: ignore[attr-defined]
    assert services["dagster-code"].host == "192.0.2.7"
    assert port_problem(services["endpoint"], settings.endpoint_port) == []


def test_with_a_certificate_the_endpoint_serves_https_and_its_probe_asks_so(
    new_settings: Callable[..., Settings],
) -> None:
    settings = new_settings(tls_certificate_file="/etc/tls.crt", tls_key_file="/etc/tls.key")
    (endpoint,) = [each for each in declared_services(settings) if each.name == "endpoint"]
    assert endpoint.command[-4:] == ("--ssl-certfile", "/etc/tls.crt", "--ssl-keyfile", "/etc/tls.key")
    assert endpoint.probe.tls is True  # type: ignore[attr-defined]
    assert endpoint.url == f"https://127.0.0.1:{settings.endpoint_port}"
    (plain,) = [each for each in declared_services(new_settings("plain")) if each.name == "endpoint"]
    assert "--ssl-certfile" not in plain.command
    assert plain.probe.tls is False  # type: ignore[attr-defined]


def test_a_password_is_in_no_argument_and_no_url_that_is_shown(new_settings: Callable[..., Settings]) -> None:
    settings = new_settings(
        CLICKHOUSE_URL="http://me:hunter2@ch:8123/reelgraph",
        DATABASE_URL="postgresql://me:hunter2@db/reelgraph",
        REDIS_URL="redis://:hunter2@cache",
        REELGRAPH_ENDPOINT_URL="http://me:hunter2@endpoint:8000",
    )
    services = {each.name: each for each in declared_services(settings)}
    assert [s.name for s in services.values() if "hunter2" in " ".join(s.command) + s.url] == []
    assert services["endpoint"].url == "http://endpoint:8000"
    kept = services["mlflow"].environment["MLFLOW_BACKEND_STORE_URI"]
    assert kept == "postgresql+psycopg2://me:hunter2@db/mlflow"


def test_every_port_of_the_settings_is_a_services_own(new_settings: Callable[..., Settings]) -> None:
    settings = new_settings()
    declared = {s.port_variable: s.port for s in declared_services(settings) if s.port}
    ports = {f for f in Settings.model_fields if f.endswith("_port")}
    assert declared == {f"REELGRAPH_{field.upper()}": getattr(settings, field) for field in ports}


def test_preflight_names_a_missing_program_and_an_unusable_address(tmp_path: Path) -> None:
    broken = Service(
        name="it", command=("/no/such/program",), port=80, host="192.0.2.1", port_variable="IT_PORT"
    )
    assert port_problem(broken, 80) == [
        "port 80 (it) can't be used on 192.0.2.1: Cannot assign requested address; choose another with IT_PORT"
    ]
    settings = Settings(_env_file=None, home=tmp_path)  # type: ignore[call-arg]
    assert problems(settings, [broken])[1:] == ["it: program not found: /no/such/program"]


def test_a_port_held_by_an_outgoing_connection_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.connect(server.getsockname())
        port = client.getsockname()[1]
        assert holder_of(port).startswith("an outgoing connection of ")
        assert holder_of(port).endswith(f"(pid {os.getpid()})")
        taken = server.getsockname()[1]
        assert holder_of(taken).endswith(f"(pid {os.getpid()})")
        assert "outgoing" not in holder_of(taken)


def test_a_new_or_empty_home_is_claimed_and_a_used_one_is_not(
    tmp_path: Path, new_settings: Callable[..., Settings]
) -> None:
    settings = new_settings("new")
    claim_home(settings)
    (settings.home / "data").touch()
    claim_home(settings)  # ours already
    used = Settings(_env_file=None, home=tmp_path)  # type: ignore[call-arg]
    (tmp_path / "logs").mkdir()
    (tmp_path / "thesis").touch()
    with pytest.raises(HomeNotOursError, match=r"has other files in it \(thesis\); name an empty or new"):
        claim_home(used)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "thesis"]


def test_a_home_that_other_commands_of_ours_have_written_into_is_claimed(
    new_settings: Callable[..., Settings],
) -> None:
    settings = new_settings()
    for name in ("dbt", "dagster", "run", "scratch", "models", "reports"):
        (settings.home / name).mkdir(parents=True)
    (settings.home / "source.json").touch()
    with replace_folder(settings.training_set_dir) as fresh:
        (fresh / "meta.json").touch()
    assert (settings.home / ".training_set.lock").exists()
    claim_home(settings)
    assert (settings.home / MARKER).exists()


def test_one_supervisor_holds_the_home_and_only_its_word_counts(
    new_settings: Callable[..., Settings],
) -> None:
    settings = new_settings()
    run_dir(settings).mkdir(parents=True)
    assert supervisor_pid(settings) is None
    assert wanted_services(settings) == []
    want_services(settings, ["redis"])
    assert wanted_services(settings) == ["redis"]
    with hold_supervisor_lock(settings):
        assert supervisor_pid(settings) == os.getpid()
        assert read_state(settings) is None
        write_state(settings, {"supervisor_pid": 1, "services": []})
        assert read_state(settings) is None  # a dead one's
        mine = {"supervisor_pid": os.getpid(), "services": []}
        write_state(settings, mine)
        assert read_state(settings) == mine
        with pytest.raises(AlreadyRunningError, match="a supervisor already serves"):
            hold_supervisor_lock(settings)
    assert supervisor_pid(settings) is None
    assert read_state(settings) is None


def test_a_log_over_its_limit_keeps_one_older_copy_and_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "it.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 100)
        trim_log(log, 100)
        assert log.stat().st_size == 100
        writer.write(b"y")
        trim_log(log, 100)
        writer.write(b"after")
    assert log.read_bytes() == b"after"
    assert (tmp_path / "it.log.1").read_bytes() == b"x" * 100 + b"y"


def test_a_log_whose_copy_finds_no_room_is_emptied_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(_: Path, target: Path) -> None:
        target.write_bytes(b"x")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", half)
    log = tmp_path / "it.log"
    log.write_bytes(b"x" * 101)
    trim_log(log, 100)
    assert log.read_bytes() == b""
    assert [path.name for path in tmp_path.iterdir()] == ["it.log"]


def test_a_log_that_cannot_be_trimmed_or_is_gone_leaves_the_others_their_turn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.log").symlink_to(tmp_path / "deleted meanwhile")
    (tmp_path / "b.log").mkdir()
    (tmp_path / "c.log").write_bytes(b"x" * 101)
    trim_logs(tmp_path, 10)
    assert (tmp_path / "c.log").read_bytes() == b""
    assert [r.getMessage() for r in caplog.records if "cannot trim" in r.getMessage()] == [
        f"cannot trim {tmp_path}/b.log: [Errno 21] Is a directory: '{tmp_path}/b.log'"
    ]

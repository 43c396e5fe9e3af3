"""Servers for the whole test session: each starts when first asked for, on its own port and folder, once."""

import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import hypothesis
import pytest

from stack.health import HttpProbe, PostgresProbe, Probe, RedisProbe
from stack.postgres import ensure_databases, postgres_command, prepare_postgres
from stack.postgres_user import postgres_identity
from stack.processes import Identity, owned, spawn, stop, sweep
from stack.redis_server import redis_command
from stack.settings import PROJECT_ROOT, Settings, child_environment, variables

_KEPT = {"REELGRAPH_TEST_DATA"}

# Files are handed to workers whole, in order: one that takes minutes must not be the last, alone on the machine.
_LONG = (
    "tests/integration/",
    "tests/dbt_project/test_property.py",
    "tests/ml/test_kuairand.py",
    "tests/orchestration/test_promotion.py",
    "tests/orchestration/test_bench_data.py",
    "tests/orchestration/test_backfill.py",
    "tests/data_quality/test_planted_future.py",
    "tests/dbt_project/",
    "tests/orchestration/",
    "tests/serving/test_endpoint.py",
    "tests/data_quality/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        path = item.nodeid
        return next((i for i, begin in enumerate(_LONG) if path.startswith(begin)), len(_LONG))

    items.sort(key=place)


# For `--hypothesis-profile=deep`: a night's worth of examples where a test asks for no number of its own.
hypothesis.settings.register_profile("deep", max_examples=2_000, deadline=None)


# Below those that the OS gives to outgoing connections; a stretch for each of four workers.
_STRETCH = 3000
_FIRST = 20_000 + _STRETCH * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4)
_PORTS = cycle(range(_FIRST, _FIRST + _STRETCH))
for _ in range(random.SystemRandom().randrange(_STRETCH)):  # two sessions at once seldom ask for the same
    next(_PORTS)


def free_ports(count: int) -> list[int]:
    """Distinct ports on loopback that nothing listens on, and that no other test was given."""
    found: list[int] = []
    while len(found) < count:
        port = next(_PORTS)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                found.append(port)
    return found


def settings_at(home: Path, **changes: object) -> Settings:
    """Settings of an embedded stack in `home` on free ports, whatever `.env` says."""
    names = [name for name in Settings.model_fields if name.endswith("_port")]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    return Settings(_env_file=None, **{"home": home, "development": True, **ports, **changes})  # type: ignore[arg-type,call-arg]


@pytest.fixture(scope="session", autouse=True)
def _own_environment() -> Iterator[None]:
    """The tests see no setting of the person who runs them (except where the real data is)."""
    with pytest.MonkeyPatch.context() as patch:
        for name in variables():
            if name not in _KEPT:
                patch.delenv(name, raising=False)
        yield


def _fast_place() -> Path:
    """Memory, where there is plenty: every stack of a test makes, fills and deletes a thousand files."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 8e9
    return memory if roomy else Path(tempfile.gettempdir())


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder with a space in its path, gone afterwards.

    Not below pytest's tmp_path: as root Postgres runs as another user, and each pytest that starts closes
    the root of all tmp_paths to others, also to the servers of a session that is running.
    """
    folder = Path(tempfile.mkdtemp(prefix="reelgraph test ", dir=_fast_place()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def settings() -> Iterator[Settings]:
    """One stack's settings for the session: a home (with a space in its path), free ports."""
    with _folder() as folder:
        (folder / "home").mkdir()
        yield settings_at(folder / "home")


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """One quick folder for the session, for what is too large or too busy for `tmp_path`."""
    with _folder() as folder:
        yield folder


@pytest.fixture
def new_settings() -> Iterator[Callable[..., Settings]]:
    """Make settings for a test's own stack: `new_settings("a home", redis_port=...)`; the home isn't made."""
    with _folder() as folder:

        def make(name: str = "home", **changes: object) -> Settings:
            return settings_at(folder / name, **changes)

        yield make


@pytest.fixture(scope="session")
def real_data(settings: Settings) -> Path:
    """Folder of the public data sets (`REELGRAPH_TEST_DATA`, else `../shared/data`); skips without it."""
    folder = settings.test_data or PROJECT_ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data here: set REELGRAPH_TEST_DATA")
    return folder


def _serve(
    settings: Settings,
    name: str,
    command: list[str],
    probe: Probe,
    *,
    number: signal.Signals = signal.SIGTERM,
    identity: Identity | None = None,
    timeout_s: float = 60,
) -> Iterator[None]:
    log = settings.logs_dir / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = spawn(
            command,
            environment=child_environment(settings),
            output=output,
            owner=settings.home,
            service=name,
            cwd=PROJECT_ROOT if identity is None else None,
            identity=identity,
            death_signal=number,
        )
    try:
        deadline = time.monotonic() + timeout_s
        while (trouble := probe.check()) is not None:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{name} did not start ({trouble}):\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.05)
        yield
    finally:
        stop(process, number, 20)
        sweep(lambda: owned(settings.home, name), 0)


@pytest.fixture(scope="session")
def clickhouse(settings: Settings) -> Iterator[Settings]:
    """The embedded ClickHouse is up at `settings.clickhouse_url`; no database but `default` in it yet."""
    command = [sys.executable, "-m", "stack.clickhouse", "--path", str(settings.home / "clickhouse")]
    command += ["--host", "127.0.0.1", "--port", str(settings.clickhouse_port)]
    probe = HttpProbe("127.0.0.1", settings.clickhouse_port, "/ping")
    for _ in _serve(settings, "clickhouse", command, probe):
        yield settings


@pytest.fixture(scope="session")
def postgres(settings: Settings) -> Iterator[Settings]:
    """The embedded Postgres is up with its three databases, all empty."""
    data = settings.home / "postgres"
    prepare_postgres(data)
    command = postgres_command(data, settings.postgres_port)
    probe = PostgresProbe(settings.postgres_port)
    identity = postgres_identity()
    for _ in _serve(settings, "postgres", command, probe, number=signal.SIGINT, identity=identity):
        ensure_databases(settings)
        yield settings


@pytest.fixture(scope="session")
def redis(settings: Settings) -> Iterator[Settings]:
    """The embedded Redis is up at `settings.redis_url`."""
    data = settings.home / "redis"
    data.mkdir(exist_ok=True)
    command = redis_command(data, settings.redis_port)
    for _ in _serve(settings, "redis", command, RedisProbe(settings.redis_port)):
        yield settings

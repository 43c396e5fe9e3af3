"""The services of the stack, declared: what runs, on what, in which order, and how we know that it is well."""

import signal
import sys
from pathlib import Path

from stack.health import DagsterDaemonProbe, Http2Probe, HttpProbe, PostgresProbe, RedisProbe
from stack.postgres import ensure_databases, postgres_command, prepare_postgres
from stack.postgres_user import postgres_identity
from stack.redis_server import redis_command
from stack.service import Service
from stack.setting_values import without_credentials
from stack.settings import LOOPBACK, PROJECT_ROOT, Settings, reached_at

# The BentoML service, as `bentoml serve` takes it.
ENDPOINT_SERVICE = "serving.service:RecommenderService"

# Threads of numeric libraries cost memory in processes that only wait and answer.
_SMALL = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def declared_services(settings: Settings) -> list[Service]:
    """All that `up` starts with these settings, in no particular order (see `in_start_order`).

    Raises `PostgresBinariesMissingError` or `RedisBinaryMissingError` for a wheel that is not there.
    """
    stores = []
    if settings.clickhouse_embedded:
        stores.append(_clickhouse(settings))
    if settings.postgres_embedded:
        stores.append(_postgres(settings))
    if settings.redis_embedded:
        stores.append(_redis(settings))
    here = {store.name for store in stores}
    services = [*stores, _bootstrap(here)]
    if settings.mlflow_embedded:
        services.append(_mlflow(settings, here))
    return [*services, _endpoint(settings, here), *_dagster(settings, here)]


def _python(*arguments: str) -> tuple[str, ...]:
    """Run a module with this interpreter: a script's first line can't hold a path with a space."""
    return (sys.executable, "-m", *arguments)


def _clickhouse(settings: Settings) -> Service:
    data = settings.home / "clickhouse"
    address = ("--host", LOOPBACK, "--port", str(settings.clickhouse_port))
    memory = ("--max-memory", str(settings.clickhouse_max_memory))
    return Service(
        name="clickhouse",
        command=_python("stack.clickhouse", "--path", str(data), *address, *memory),
        probe=HttpProbe(LOOPBACK, settings.clickhouse_port, "/ping"),
        port=settings.clickhouse_port,
        port_variable="REELGRAPH_CLICKHOUSE_PORT",
        url=f"http://{LOOPBACK}:{settings.clickhouse_port}",
        stop_grace_s=30,
    )


def _postgres(settings: Settings) -> Service:
    data = settings.home / "postgres"
    return Service(
        name="postgres",
        command=tuple(postgres_command(data, settings.postgres_port)),
        probe=PostgresProbe(settings.postgres_port),
        port=settings.postgres_port,
        port_variable="REELGRAPH_POSTGRES_PORT",
        url=f"postgresql://reelgraph@{LOOPBACK}:{settings.postgres_port}",
        cwd=Path("/"),
        identity=postgres_identity,
        prepare=lambda: prepare_postgres(data),
        on_healthy=lambda: ensure_databases(settings),
        stop_signal=signal.SIGINT,  # SIGTERM waits for every client to leave
        stop_grace_s=30,
    )


def _redis(settings: Settings) -> Service:
    data = settings.home / "redis"
    return Service(
        name="redis",
        command=tuple(redis_command(data, settings.redis_port)),
        probe=RedisProbe(settings.redis_port),
        port=settings.redis_port,
        port_variable="REELGRAPH_REDIS_PORT",
        url=f"redis://{LOOPBACK}:{settings.redis_port}",
        prepare=lambda: data.mkdir(parents=True, exist_ok=True),
    )


def _bootstrap(here: set[str]) -> Service:
    return Service(
        name="bootstrap",
        command=_python("ingestion.schema", "bootstrap"),
        requires=_among(here, "clickhouse", "postgres"),
        one_shot=True,
        environment=_SMALL,
    )


def _mlflow(settings: Settings, here: set[str]) -> Service:
    artifacts = settings.objects_dir / "mlflow"
    address = ("--host", settings.bind_host, "--port", str(settings.mlflow_port), "--workers", "1")
    return Service(
        name="mlflow",
        command=_python("mlflow", "server", *address, "--artifacts-destination", str(artifacts)),
        requires=_among(here, "postgres"),
        probe=HttpProbe(settings.local_host, settings.mlflow_port, "/health"),
        port=settings.mlflow_port,
        host=settings.bind_host,
        port_variable="REELGRAPH_MLFLOW_PORT",
        url=settings.mlflow_ui_url,
        environment={
            **_SMALL,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            # Not as an argument: everybody on the machine sees those.
            "MLFLOW_BACKEND_STORE_URI": settings.mlflow_database_url,
        },
        prepare=lambda: artifacts.mkdir(parents=True, exist_ok=True),
    )


def _endpoint(settings: Settings, here: set[str]) -> Service:
    address = ("--host", settings.bind_host, "--port", str(settings.endpoint_port))
    certificate, key = settings.tls_certificate_file, settings.tls_key_file
    tls = ("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key)) if certificate and key else ()
    return Service(
        name="endpoint",
        command=_python("bentoml", "serve", ENDPOINT_SERVICE, *address, *tls),
        requires=("bootstrap", *_among(here, "redis")),
        probe=HttpProbe(settings.local_host, settings.endpoint_port, "/health", tls=bool(tls)),
        port=settings.endpoint_port,
        host=settings.bind_host,
        port_variable="REELGRAPH_ENDPOINT_PORT",
        url=without_credentials(settings.endpoint_url),
        environment=_SMALL,
        prepare=lambda: settings.bentoml_home.mkdir(parents=True, exist_ok=True),
    )


def _dagster(settings: Settings, here: set[str]) -> list[Service]:
    """One process holds the code; the webserver and the daemon ask it, and runs are its children.

    All three keep their records in Postgres and end without it: they wait for it rather than die of it.
    """
    storage = _among(here, "postgres")
    workspace = ("-w", str(PROJECT_ROOT / "workspace.yaml"))
    code_address = ("--host", settings.code_server_host, "--port", str(settings.code_server_port))
    code = Service(
        name="dagster-code",
        command=_python(
            *("orchestration.code_server", "--module-name", "orchestration.definitions", *code_address),
            *("--location-name", "reelgraph", "--working-directory", str(PROJECT_ROOT)),
            # Runs start as this interpreter's `-m dagster`, whatever PATH says.
            "--use-python-environment-entry-point",
        ),
        requires=("bootstrap", *storage),
        probe=Http2Probe(settings.code_server_port, reached_at(settings.code_server_host)),
        port=settings.code_server_port,
        host=settings.code_server_host,
        port_variable="REELGRAPH_CODE_SERVER_PORT",
        url=f"grpc://{reached_at(settings.code_server_host)}:{settings.code_server_port}",
        prepare=lambda: _write_dagster_yaml(settings),
        stop_children=True,  # the runs: they end as interrupted, and say so to Dagster
        stop_grace_s=30,
    )
    web_address = ("-h", settings.bind_host, "-p", str(settings.dagster_port))
    web = Service(
        name="dagster-webserver",
        command=_python("dagster_webserver", *web_address, *workspace),
        requires=("dagster-code", *storage),
        probe=HttpProbe(settings.local_host, settings.dagster_port, "/server_info"),
        port=settings.dagster_port,
        host=settings.bind_host,
        port_variable="REELGRAPH_DAGSTER_PORT",
        url=settings.dagster_url,
        environment=_SMALL,
        prepare=lambda: _write_dagster_yaml(settings),
    )
    daemon = Service(
        name="dagster-daemon",
        command=_python("dagster._daemon", "run", *workspace),
        # After the webserver: both create Dagster's tables when there are none, and can't at once.
        requires=("dagster-webserver", *storage),
        probe=DagsterDaemonProbe(settings.dagster_port, host=settings.local_host),
        environment=_SMALL,
        prepare=lambda: _write_dagster_yaml(settings),
    )
    return [code, web, daemon]


def _write_dagster_yaml(settings: Settings) -> None:
    from stack.dagster_home import write_dagster_yaml

    write_dagster_yaml(settings)


def _among(here: set[str], *names: str) -> tuple[str, ...]:
    return tuple(name for name in names if name in here)

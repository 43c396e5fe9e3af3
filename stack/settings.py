"""Every setting of the product, read from the environment here and nowhere else.

A store's URL is unset by default, which means: the embedded server of that store, on loopback. Setting the URL
turns the embedded server off and is the only thing that differs between a laptop and a cluster.
"""

import os
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

from dotenv import dotenv_values
from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import URL, make_url

from stack import setting_values as values
from stack.process_environment import no_proxy
from stack.process_environment import reach_loopback_directly as reach_loopback_directly
from stack.process_environment import telemetry_off as telemetry_off
from stack.setting_values import reached_at as reached_at

PROJECT_ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"

Port = Annotated[int, Field(ge=1, le=65535)]
Host = Annotated[str, AfterValidator(values.address)]

# What docker-compose.yml takes from the same `.env`; not settings.
_OF_COMPOSE = {"REELGRAPH_VERSION", "REELGRAPH_DATA_FOLDER"}


class SettingsError(Exception):
    """A setting has a value that cannot work; the message names the variable and what it must be."""


def _env(name: str) -> AliasChoices:
    return AliasChoices(name, name.lower())


class Settings(BaseSettings):
    """Values come from the environment, then from `.env` in the project root, then from the defaults here."""

    model_config = SettingsConfigDict(
        env_prefix="REELGRAPH_",
        env_file=PROJECT_ROOT / ".env",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
    )

    # Where everything that is not code lives.
    home: Path = Field(PROJECT_ROOT / ".reelgraph", description="folder of all state")
    data: Path | None = Field(None, description="folder of a public data set; the simulator if unset")
    test_data: Path | None = Field(None, description="folder of the real data, for tests")

    # The stores. Unset: the embedded server.
    clickhouse_url_override: Annotated[str | None, AfterValidator(values.clickhouse_url)] = Field(
        None, validation_alias=_env("CLICKHOUSE_URL")
    )
    database_url_override: Annotated[str | None, AfterValidator(values.postgres_url)] = Field(
        None, validation_alias=_env("DATABASE_URL")
    )
    dagster_database_url_override: Annotated[str | None, AfterValidator(values.postgres_url)] = Field(
        None, validation_alias=_env("DAGSTER_DATABASE_URL")
    )
    mlflow_database_url_override: Annotated[str | None, AfterValidator(values.postgres_url)] = Field(
        None, validation_alias=_env("MLFLOW_DATABASE_URL")
    )
    redis_url_override: Annotated[str | None, AfterValidator(values.redis_url)] = Field(
        None, validation_alias=_env("REDIS_URL")
    )
    mlflow_tracking_uri_override: Annotated[str | None, AfterValidator(values.tracking_uri)] = Field(
        None, validation_alias=_env("MLFLOW_TRACKING_URI")
    )
    postgres_from_clickhouse: Annotated[str | None, AfterValidator(values.host_and_port)] = Field(
        None, description="host:port of Postgres as ClickHouse reaches it; DATABASE_URL's if unset"
    )

    # Where the endpoint, Dagster and MLflow are reached, if not at `bind_host`.
    endpoint_url_override: Annotated[str | None, AfterValidator(values.page_url)] = Field(
        None, validation_alias=_env("REELGRAPH_ENDPOINT_URL")
    )
    dagster_url_override: Annotated[str | None, AfterValidator(values.page_url)] = Field(
        None, validation_alias=_env("REELGRAPH_DAGSTER_URL"), description="its webserver, for our programs"
    )
    public_mlflow_url: Annotated[str | None, AfterValidator(values.page_url)] = Field(
        None, description="MLflow as a browser opens it; MLFLOW_TRACKING_URI if unset"
    )

    # Ports of what we start, all on loopback.
    bind_host: Host = LOOPBACK
    code_server_host: Host = Field(
        LOOPBACK, description="where the webserver and daemon find the code server"
    )
    dagster_port: Port = 3000
    code_server_port: Port = 4000
    mlflow_port: Port = 5000
    endpoint_port: Port = 8000
    clickhouse_port: Port = 8123
    postgres_port: Port = 55432
    redis_port: Port = 56379

    # How much the embedded ClickHouse may use, in bytes.
    clickhouse_max_memory: int = Field(2_000_000_000, ge=100_000_000)

    # The pipeline.
    executor: Literal["in_process", "multiprocess"] = "in_process"
    training_window_days: int = Field(90, ge=1)
    feature_window_days: int = Field(30, ge=2)
    first_day: date = Field(date(2022, 1, 1), description="first day (UTC) that can be chosen to be rebuilt")
    test_fraction: float = Field(0.2, gt=0, lt=1, description="share of the newest interactions held out")
    seed: int = Field(0, ge=0, le=2**32 - 1)
    two_tower_epochs: int | None = Field(
        None, ge=1, description="of the learning-rate schedule; the model's own (or tuned) if unset"
    )
    tuning_minutes: float = Field(10.0, gt=0, description="how long one run of the tuning job looks")

    # What a model must reach to be promoted, besides winning (ml/gate.py has the rest, with reasons).
    gate_precision_floor: float = Field(0.005, ge=0, le=1, description="precision@10, absolute")
    gate_max_size_mb: float = Field(500.0, gt=0, description="of the model's files")
    gate_max_latency_ms: float = Field(50.0, gt=0, description="p95 of ranking one user's top 100")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text"] | None = Field(None, description="unset: text on a terminal")

    # The endpoint: who may call it (serving/security).
    development: bool = Field(
        False,
        description="the one switch that turns authentication and rate limits off; the endpoint says so",
    )
    jwt_algorithm: Literal["HS256", "RS256"] = "RS256"
    jwt_secret: Annotated[SecretStr | None, AfterValidator(values.signing_secret)] = Field(
        None, description="of HS256, at least 32 bytes"
    )
    jwt_public_key_file: Path | None = Field(None, description="of RS256, PEM")
    jwt_issuer: str | None = Field(None, description="what `iss` must be; not checked if unset")
    jwt_audience: str = Field("reelgraph", description="what `aud` must hold")
    api_keys_file: Path | None = Field(None, description="hashes of the services' keys; in the home if unset")
    rate_limit_per_minute: int = Field(500, ge=1, description="requests of one user")
    cors_origins: Annotated[str, AfterValidator(values.origins)] = Field(
        "", description="origins that browsers may call from, with commas between"
    )
    max_body_bytes: int = Field(1_000_000, ge=1_000, description="of a request, uploads aside")
    tls_certificate_file: Path | None = Field(None, description="PEM; the endpoint speaks HTTPS with it")
    tls_key_file: Path | None = Field(None, description="PEM")

    # The endpoint: how it answers.
    feed_cache_s: float = Field(600.0, ge=0, description="how long a list may be answered from; 0: never")
    keep_previous_bundle: bool = Field(True, description="in memory, so that a rollback loads nothing")
    experiments_file_override: Path | None = Field(None, validation_alias=_env("REELGRAPH_EXPERIMENTS_FILE"))
    otel_endpoint: Annotated[str | None, AfterValidator(values.page_url)] = Field(
        None,
        validation_alias=_env("OTEL_EXPORTER_OTLP_ENDPOINT"),
        description="traces go there; off if unset",
    )
    trace_share: float = Field(1.0, ge=0, le=1, description="share of requests that are traced")

    # PeerTube: where videos are uploaded to and streamed from.
    peertube_url: Annotated[str | None, AfterValidator(values.page_url)] = None
    peertube_username: str | None = None
    peertube_password: SecretStr | None = None
    peertube_channel_id: int = Field(1, ge=1)
    max_upload_bytes: int = Field(2_000_000_000, ge=1_000_000)

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        seen: dict[int, str] = {}
        for name in type(self).model_fields:
            if name.endswith("_port"):
                port = getattr(self, name)
                if port in seen:
                    names = f"{_variable_of(seen[port])} and {_variable_of(name)}"
                    raise ValueError(f"{names} are both {port}")
                seen[port] = name
        return self

    @model_validator(mode="after")
    def _certificate_with_key(self) -> Self:
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError(
                "REELGRAPH_TLS_CERTIFICATE_FILE and REELGRAPH_TLS_KEY_FILE: set both, or neither"
            )
        return self

    # --- Stores, as the code reaches them -------------------------------------------------------------------

    @property
    def clickhouse_embedded(self) -> bool:
        return self.clickhouse_url_override is None

    @property
    def postgres_embedded(self) -> bool:
        return self.database_url_override is None

    @property
    def redis_embedded(self) -> bool:
        return self.redis_url_override is None

    @property
    def mlflow_embedded(self) -> bool:
        return self.mlflow_tracking_uri_override is None

    @property
    def clickhouse_url(self) -> str:
        """`http://user:password@host:port/database`."""
        return self.clickhouse_url_override or f"http://default@{LOOPBACK}:{self.clickhouse_port}/reelgraph"

    @property
    def database_url(self) -> str:
        """Of `users` and `videos`, naming its driver (SQLAlchemy 2.1 reads a bare `postgresql://` as psycopg 3)."""
        return self._postgres(self.database_url_override, "reelgraph")

    @property
    def dagster_database_url(self) -> str:
        """`postgresql://...` for dagster-postgres, a database of its own."""
        return self._postgres(self.dagster_database_url_override, "dagster")

    @property
    def mlflow_database_url(self) -> str:
        return self._postgres(self.mlflow_database_url_override, "mlflow")

    @property
    def redis_url(self) -> str:
        return self.redis_url_override or f"redis://{LOOPBACK}:{self.redis_port}/0"

    @property
    def mlflow_tracking_uri(self) -> str:
        """For MLflow's clients; may hold a user and password."""
        return self.mlflow_tracking_uri_override or self._here(self.mlflow_port)

    @property
    def mlflow_ui_url(self) -> str:
        """For people: what a browser opens, without credentials."""
        return values.without_credentials(self.public_mlflow_url or self.mlflow_tracking_uri)

    @property
    def dagster_url(self) -> str:
        """For people: what a browser opens."""
        return self._here(self.dagster_port)

    @property
    def dagster_api_url(self) -> str:
        """Dagster's GraphQL, for our programs."""
        return f"{self.dagster_url_override or self.dagster_url}/graphql"

    @property
    def endpoint_url(self) -> str:
        scheme = "https" if self.tls_certificate_file else "http"
        return self.endpoint_url_override or self._here(self.endpoint_port, scheme)

    @property
    def experiments_file(self) -> Path:
        """Where experiments are declared; read again when it changes. Need not exist."""
        return self.experiments_file_override or self.home / "experiments.yaml"

    @property
    def blocked_videos_file(self) -> Path:
        """Videos nobody may be shown, an id a line; read again when it changes. Need not exist."""
        return self.home / "blocked_videos.txt"

    @property
    def spool_dir(self) -> Path:
        """What the endpoint accepted and ClickHouse has not yet: a folder a stream."""
        return self.home / "spool"

    @property
    def local_host(self) -> str:
        """The address at which this machine reaches what listens on `bind_host`."""
        return reached_at(self.bind_host)

    def _here(self, port: int, scheme: str = "http") -> str:
        host = f"[{self.local_host}]" if ":" in self.local_host else self.local_host
        return f"{scheme}://{host}:{port}"

    def _postgres(self, explicit: str | None, database: str) -> str:
        if explicit:
            url = make_url(explicit)
        elif self.database_url_override:  # same server, another database
            url = make_url(self.database_url_override).set(database=database)
        else:
            url = URL.create("postgresql", "reelgraph", None, LOOPBACK, self.postgres_port, database)
        return url.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)

    # --- Folders --------------------------------------------------------------------------------------------

    @property
    def logs_dir(self) -> Path:
        return self.home / "logs"

    @property
    def objects_dir(self) -> Path:
        """The local object store: MLflow artifacts, the DVC remote, bundles."""
        return self.home / "objects"

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    @property
    def bentoml_home(self) -> Path:
        return self.home / "bentoml"

    @property
    def training_set_dir(self) -> Path:
        """One DVC-tracked folder: interactions, videos, users and pairs met as parquet, and `meta.json`."""
        return self.home / "training_set"

    @property
    def parameters_dir(self) -> Path:
        """One DVC-tracked folder: what tuning found, `parameters.json`, and why, `evidence.json`."""
        return self.home / "parameters"

    @property
    def current_bundle_pointer(self) -> Path:
        """A file holding the tag of the bundle in service; replaced atomically, watched by the endpoint."""
        return self.home / "bundles" / "current"


def explain(error: ValidationError) -> str:
    """Name each bad variable, its value and what it must be, a line each."""
    lines = []
    for item in error.errors():
        place = str(item["loc"][0]) if item["loc"] else ""
        field = next((name for name in Settings.model_fields if place.lower() in _names_of(name)), place)
        message = item["msg"].removeprefix("Value error, ")
        if not field:  # about several of them: the message names them
            lines.append(message)
            continue
        variable = _variable_of(field)
        secret = variable.endswith(
            ("_URL", "_URI", "_SECRET", "_PASSWORD", "_ENDPOINT")
        )  # it may hold a password
        value = "" if secret else f" (got {item['input']!r})"
        lines.append(f"{variable}: {message}{value}")
    return "\n".join(lines)


def _names_of(field: str) -> set[str]:
    return {field, _variable_of(field).lower()}


def _variable_of(field: str) -> str:
    alias = Settings.model_fields[field].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else f"REELGRAPH_{field.upper()}"


def variables() -> list[str]:
    """The environment variables that are read, in the order of the fields."""
    return [_variable_of(name) for name in Settings.model_fields]


def load_settings() -> Settings:
    """Read the settings now; raises `SettingsError` that names the variable."""
    env_file = Settings.model_config.get("env_file")
    places = {"": list(os.environ)}
    if isinstance(env_file, Path) and env_file.is_file():
        places[f" in {env_file.name}"] = _names_in(env_file)
    for place, names in places.items():
        for name in sorted(names):
            if name.upper().startswith("REELGRAPH_") and name.upper() not in {*variables(), *_OF_COMPOSE}:
                raise SettingsError(f"{name}: no such setting{place} (see .env.example)")
    try:
        settings = Settings()
    except ValidationError as error:
        raise SettingsError(explain(error)) from error
    return settings.model_copy(update={"home": settings.home.expanduser().absolute()})


def _names_in(env_file: Path) -> list[str]:
    try:
        return list(dotenv_values(env_file))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{env_file.name}: cannot be read: {error}") from error


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()


def child_environment(settings: Settings) -> dict[str, str]:
    """What a child process needs to see the same settings, wherever it runs: the inherited environment, every
    value of `settings` spelled out."""
    env = {**os.environ, **no_proxy(os.environ), **telemetry_off()}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if value is not None:
            plain = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            env[_variable_of(name)] = plain
    env["DAGSTER_HOME"] = str(settings.dagster_home)
    env["BENTOML_HOME"] = str(settings.bentoml_home)
    env["DAGSTER_POSTGRES_URL"] = settings.dagster_database_url
    # Model files are data, never code: nothing we serve may need unpickling.
    env["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    env["PYTHONUNBUFFERED"] = "1"
    return env

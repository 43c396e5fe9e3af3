"""A client on the settings' MLflow server, and its errors named after their cause."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

from stack.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

_HEALTH_TIMEOUT_S = 5.0


class RegistryError(Exception):
    """MLflow refused what was asked; the message says what and why."""


class RegistryUnavailableError(RegistryError):
    """The MLflow server does not answer."""


class VersionNotFoundError(RegistryError):
    """No such version of the registered model, or its files are gone."""


@contextmanager
def client_of(settings: Settings) -> Iterator["MlflowClient"]:
    """A client on the settings' server. Asks first whether it is there: MLflow's own retries take minutes."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    uri = settings.mlflow_tracking_uri
    try:
        httpx.get(f"{uri}/health", timeout=_HEALTH_TIMEOUT_S)
    except httpx.HTTPError as error:
        raise RegistryUnavailableError(
            f"the MLflow server at {shown(uri)} does not answer: {error}"
        ) from error
    try:
        yield MlflowClient(tracking_uri=uri, registry_uri=uri)
    except MlflowException as error:
        raise RegistryError(f"MLflow at {shown(uri)}: {error}") from error


def shown(uri: str) -> str:
    """A URI without its password."""
    url = httpx.URL(uri)
    return f"{url.scheme}://{url.host}" + (f":{url.port}" if url.port else "")


@contextmanager
def missing_is(kind: type[RegistryError], message: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise kind(message) from error
        raise

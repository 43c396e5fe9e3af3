"""A closed endpoint in process: real keys, real tokens, the real app."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serving.api.app import create_app
from serving.api.state import State
from serving.gateway import Gateway
from serving.security.gate import Security
from stack.settings import Settings
from tests.serving.security.issuer import ISSUER, public_pem, write


@pytest.fixture
def closed(home: Settings) -> Settings:
    """Settings of an endpoint that takes RS256 tokens of our issuer."""
    key = write(home.home / "jwt.pem", public_pem())
    changes = {"development": False, "jwt_public_key_file": key, "jwt_issuer": ISSUER}
    return home.model_copy(update=changes)


@pytest.fixture
def app_of() -> Callable[..., tuple[TestClient, State]]:
    """An app with these settings and security, and nothing else; the address it is called from can be chosen."""

    def make(settings: Settings, address: str = "192.0.2.1", **options: Any) -> tuple[TestClient, State]:
        state = State()
        state.security = Security(settings, state.metrics)
        state.security.keys.refresh()
        state.settings = settings
        app = Gateway(create_app(state), state.metrics)
        return TestClient(app, raise_server_exceptions=False, client=(address, 50000), **options), state

    return make

"""The training routes over a Dagster of the test's choice."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from serving.api.app import create_app
from serving.api.state import State
from serving.gateway import Gateway
from serving.trainings.dagster_api import DagsterApi
from serving.trainings.runs import TrainingRuns
from stack.settings import Settings

Make = Callable[..., TestClient]


@pytest.fixture
def make_client() -> Iterator[Make]:
    """`make(port)`: the app over the Dagster at that port; `client.published` are the events it told of."""
    opened: list[TestClient] = []

    def make(port: int, **options: Any) -> TestClient:
        state = State()
        client = TestClient(Gateway(create_app(state), state.metrics), raise_server_exceptions=False)
        client.__enter__()
        opened.append(client)
        published: list[Any] = []
        settings = Settings(_env_file=None, dagster_port=port)  # type: ignore[call-arg]

        async def assemble() -> None:
            api = DagsterApi(settings, state.metrics, **options)
            state.training = TrainingRuns(settings, state.metrics, published.append, api=api)

        assert client.portal is not None
        client.portal.call(assemble)
        client.state, client.published = state, published  # type: ignore[attr-defined]
        return client

    yield make
    for client in opened:
        assert client.portal is not None
        client.portal.call(client.state.training.close)  # type: ignore[attr-defined]
        client.__exit__(None, None, None)

"""The gateway: one id a request, made here; the client's own goes to the log lines and nowhere else."""

import asyncio
import logging
from typing import Any
from uuid import UUID

import pytest

from serving.gateway import Gateway
from serving.telemetry.logs import _request
from serving.telemetry.metrics import Metrics

Message = dict[str, Any]


class App:
    """Answers with what it was told to, and remembers what it saw."""

    def __init__(self, status: int = 200, error: Exception | None = None) -> None:
        self.status, self.error = status, error
        self.logged: dict[str, str] = {}
        self.state: dict[str, Any] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        active = _request.get()
        assert active is not None
        self.logged = active.fields()
        self.state = dict(scope["state"])
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        if self.error:
            raise self.error
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def ask(app: Any, metrics: Metrics | None = None, **scope: Any) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    asked = {"type": "http", "method": "GET", "path": "/users/ann", "headers": [], **scope}
    asyncio.run(Gateway(app, metrics or Metrics())(asked, None, send))  # type: ignore[arg-type]
    return sent


def id_of(sent: list[Message]) -> str:
    (value,) = [value for name, value in sent[0]["headers"] if name == b"x-request-id"]
    return value.decode()


def test_every_request_has_an_id_of_its_own_and_the_client_cannot_choose_it() -> None:
    app = App()
    wanted = b"5a1c7d4e-0000-4000-8000-000000000000"
    first, second = (id_of(ask(app, headers=[(b"x-request-id", wanted)])) for _ in range(2))
    assert len({first, second, wanted.decode()}) == 3
    assert UUID(first).version == 4
    assert app.state["request_id"] == second
    assert app.logged == {"request_id": second, "correlation_id": wanted.decode()}


@pytest.mark.parametrize("value", [b"", b"x" * 101, b"a\nb", b"\xff\xfe", b"a\x00", "ü".encode()])
def test_what_a_log_line_cannot_hold_is_no_correlation_id(value: bytes) -> None:
    app = App()
    ask(app, headers=[(b"x-request-id", value)])
    assert "correlation_id" not in app.logged


def test_lines_after_a_request_have_no_id_of_it() -> None:
    ask(App())
    assert _request.get() is None


def test_a_fault_that_was_answered_is_logged_and_goes_no_further(caplog: pytest.LogCaptureFixture) -> None:
    sent = ask(App(500, RuntimeError("boom")))
    assert sent[0]["status"] == 500
    assert "boom" in caplog.text
    assert id_of(sent) in caplog.text


def test_an_answer_that_breaks_off_is_cut() -> None:
    with pytest.raises(RuntimeError, match="boom"):
        ask(App(200, RuntimeError("boom")))


def test_requests_are_counted_by_pattern_and_an_odd_method_has_no_series_of_its_own() -> None:
    metrics = Metrics()
    ask(App(404), metrics, method="BREW")
    ask(App(401), metrics, state={"refused_route": "/users/{user_id}"})
    text = metrics.render().decode()
    assert 'reelgraph_requests_total{method="other",route="unmatched",status="404"} 1.0' in text
    assert 'reelgraph_requests_total{method="GET",route="/users/{user_id}",status="401"} 1.0' in text
    assert "ann" not in text
    assert "BREW" not in text


def test_only_what_failed_has_a_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        ask(App(200))
        assert caplog.records == []
        ask(App(503))
    (record,) = caplog.records
    assert record.message.startswith("GET unmatched answered 503 in ")

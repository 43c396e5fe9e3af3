"""What a flood of one line leaves of itself in the log."""

import io
import json
import logging
from types import SimpleNamespace

import pytest

from serving.telemetry import flood, logs
from serving.telemetry.flood import LINES, FloodFilter
from stack.settings import Settings


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(flood, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.fixture
def lines():
    """Lines of a logger of its own behind the filter: `(message, left_out)`."""
    found: list[tuple[str, int]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append((record.getMessage(), getattr(record, "left_out", 0)))

    handler, logger = Keep(), logging.getLogger("test.flood")
    handler.addFilter(FloodFilter())
    logger.addHandler(handler)
    logger.propagate = False
    yield found
    logger.removeHandler(handler)
    logger.propagate = True


def flooding(times: int, **extra: object) -> None:
    for i in range(times):
        logging.getLogger("test.flood").warning("line %d", i, extra=extra)


def test_the_first_lines_of_a_flood_come_and_the_next_says_how_many_did_not(clock, lines):
    flooding(500)
    assert lines == [(f"line {i}", 0) for i in range(LINES)]
    clock[0] += flood.EVERY_S
    flooding(1)
    assert lines[LINES:] == [("line 0", 500 - LINES)]


def test_lines_now_and_then_are_all_there(clock, lines):
    for _ in range(200):
        flooding(1)
        clock[0] += 1.0
    assert lines == [("line 0", 0)] * 200


def test_a_flood_hides_neither_another_line_nor_another_status(clock, lines):
    flooding(100, status=503)
    flooding(1, status=500)
    logging.getLogger("test.flood").error("something else")
    assert lines[LINES:] == [("line 0", 0), ("something else", 0)]


@pytest.mark.parametrize("kind", ["json", "text"])
def test_the_endpoints_own_log_says_what_it_left_out(clock, kind, restored_logging):
    stream = io.StringIO()
    logs.configure(Settings(_env_file=None, log_format=kind), stream)
    for _ in range(2):
        for _ in range(100):
            logs.note_answer("/feed", "GET", 503, 0.01)
        clock[0] += flood.EVERY_S
    written = stream.getvalue().splitlines()
    assert len(written) == 2 * LINES
    first_again = written[LINES]
    said = (
        json.loads(first_again)["left_out"] == 80 if kind == "json" else first_again.endswith("left_out=80")
    )
    assert said
